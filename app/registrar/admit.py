"""Decide what becomes of a request: a new export, a part in a running one, an answer, a refusal."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256

from app.domain.decision import Decision, Send, Store
from app.domain.layer_record import LayerRecord
from app.domain.package_facts import PackagePlan
from app.domain.records import (
    RedeliveryAsked,
    RequestAdmitted,
    RequestRefused,
)
from app.domain.rows import AreaRow, BodyRow, ExportRow, RequestRow
from app.domain.topic_names import EXPORT_SETTLEMENTS
from app.registrar import sends
from app.registrar.allowance import estimated_bytes, refuse_new_export, refuse_request
from app.registrar.attempts import start
from app.registrar.cancel import aborted_before, came_too_late
from app.registrar.removals import left_by
from app.registrar.rules import Moment, RegistrarRules, changed
from app.registrar.state import (
    CANCELLED,
    COMPLETED,
    CONFIRMED,
    LIVE,
    OPEN,
    RUNNING,
    SETTLED,
    WAITING,
    RegistrarState,
)

OFFER_GRACE_MS = 60_000
"""A package that admission did not see may have been finished while it looked (rule 14), ms."""


def admit(
    state: RegistrarState, rules: RegistrarRules, record: RequestAdmitted, moment: Moment
) -> Decision:
    """Judge an admitted request.

    A replay finds its row and is told again what the rows say; the same id with another
    body leaves the first alone and goes to the dead letters.
    """
    decision = _admit(state, rules, record, moment)
    starts = any(store.table == "exports" for store in decision.stores)
    if starts or record.export_id in state.exports:
        return decision
    # It has no export, though it may have had one: a broker that died can forget the row of an
    # export and keep what was told of it, and then nothing else ends that.
    return replace(decision, sends=(*decision.sends, sends.forgotten(record.export_id)))


def _admit(
    state: RegistrarState, rules: RegistrarRules, record: RequestAdmitted, moment: Moment
) -> Decision:
    known = state.requests.get(record.request_id)
    if known is not None and came_too_late(record, known):
        return aborted_before(record, moment)
    # Open with an export that is over, or settled with one that is not: rows of two coordinators,
    # each of which thought the other dead, or what a dying broker has left. The record that asked
    # is at hand, so it is judged as if for the first time.
    is_stranded = known is not None and known.state == OPEN and not state.is_live(record.export_id)
    is_torn = (is_stranded or state.may_have_lost(record.request_id)) and (
        known is not None and known.request_digest == record.request_digest
    )
    if known is not None and known.state != CANCELLED and not is_torn:
        return _seen_before(state, rules, record, known, moment)
    if is_torn:
        urls = (*record.callback_urls, *state.body_of(record.request_id).callback_urls)
        record = replace(record, callback_urls=tuple(dict.fromkeys(urls)))  # repeats joined it
    return _judge(state, rules, _Asked(record, _repeat_key(record), moment))


def refuse(
    state: RegistrarState, rules: RegistrarRules, record: RequestRefused, moment: Moment
) -> Decision:
    """Settle a request that can never succeed; a replay is told again."""
    known = state.requests.get(record.request_id)
    if known is not None and known.state != CANCELLED:
        return _seen_before(state, rules, record, known, moment)
    return _settled_refusal(record, record.reason, record.http_status, moment)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that is judged for the first time."""

    record: RequestAdmitted
    repeat_key: str | None
    moment: Moment

    def row(self, state: str, verdict: str, repeats: str | None = None) -> RequestRow:
        """The request's row, as far as it is the same for every verdict."""
        return RequestRow(
            request_digest=self.record.request_digest,
            client=self.record.client,
            layer_id=self.record.layer_id,
            state=state,
            accepted_at_ms=self.moment.now_ms,
            verdict=verdict,
            http_status=200,
            export_id=self.record.export_id,
            repeats=repeats,
            repeat_key=self.repeat_key,
            retry_of=self.record.retry_of,
        )

    def body(self, callback_urls: tuple[str, ...]) -> BodyRow:
        """The request's bulk."""
        return replace(sends.body_of(self.record), callback_urls=callback_urls)


def _judge(state: RegistrarState, rules: RegistrarRules, asked: _Asked) -> Decision:
    """Judge a request for the first time."""
    record, moment = asked.record, asked.moment
    refusal = refuse_request(state, rules, record, moment)
    if refusal is not None:
        return _settled_refusal(record, refusal.reason, refusal.http_status, moment)
    export = state.exports.get(record.export_id)
    if export is not None and export.state in LIVE:
        return _join(state, asked, export)
    if export is not None and _offered(export, record):
        return _answer(state, rules, asked, export)
    refusal = refuse_new_export(state, rules, record)
    if refusal is not None:
        return _settled_refusal(record, refusal.reason, refusal.http_status, moment)
    return _begin(state, rules, asked)


def _repeat_key(record: RequestAdmitted) -> str | None:
    """Name what makes two HTTP requests the same question; None on Kafka, where ids do."""
    if not record.via_http:
        return None
    parts = (record.client, record.export_id, _written(record.bbox_json))
    return sha256("\0".join(parts).encode()).hexdigest()


def _written(bbox_json: str | None) -> str:
    """An area as it is written; a box by its numbers, which may be written as 50 or 50.0.

    >>> _written("[50,10.0,52,12]") == _written("[50.0,10,52,12]"), _written(None)
    (True, 'null')
    """
    if bbox_json is None or not bbox_json.startswith("["):
        return bbox_json or "null"
    return json.dumps(json.loads(bbox_json, parse_int=float))


def _seen_before(
    state: RegistrarState,
    rules: RegistrarRules,
    record: RequestAdmitted | RequestRefused,
    known: RequestRow,
    moment: Moment,
) -> Decision:
    """Send again what an earlier run of this record may not have sent; store what got lost."""
    if known.request_digest != record.request_digest:
        return Decision(
            dead_letter=f"requestId {record.request_id} was used before with another body"
        )
    stores: list[Store] = []
    body = state.bodies.get(record.request_id)
    joined = body.callback_urls if body is not None else ()
    if body is None or (known.repeats is None and not {*record.callback_urls} <= {*joined}):
        # A broker that died has forgotten it, or a repeat came since and knew its own alone.
        urls = (*record.callback_urls, *joined) if known.repeats is None else ()
        body = replace(sends.body_of(record), callback_urls=tuple(dict.fromkeys(urls)))
        if known.state != CONFIRMED:
            stores.append(Store("bodies", record.request_id, body))
    # A large area is not kept for long.
    body = replace(body, bbox_json=record.bbox_json, area_omitted=False)
    again = [sends.request_progress(record.request_id, known, body, moment.now_ms)]
    export = state.exports.get(known.export_id or "")
    same_attempt = export is not None and export.attempt == known.attempt
    if known.state == SETTLED or (known.state == CONFIRMED and (known.reason or same_attempt)):
        # Confirmed or not: a broker that died may have forgotten the result.
        again.append(sends.settled(record.request_id, known, body, export, rules))
    if known.repeats is not None:
        again += _redeliveries(known.repeats, record.callback_urls, moment)
    if export is not None and known.export_id is not None:
        again.append(sends.export_progress(known.export_id, export, moment.now_ms))
        area = state.areas.get(known.export_id)
        if area is None and export.state in LIVE and isinstance(record, RequestAdmitted):
            mean_bytes = max(1, export.estimated_bytes // max(1, export.tile_count))
            area = _area(record, rules, mean_bytes, export)
            stores.append(Store("areas", known.export_id, area))
        if export.state == RUNNING and area is not None:
            again.append(sends.started(known.export_id, export, area, moment.now_ms))
    return Decision(tuple(stores), tuple(again))


def _settled_refusal(
    record: RequestAdmitted | RequestRefused, reason: str, http_status: int, moment: Moment
) -> Decision:
    row = RequestRow(
        request_digest=record.request_digest,
        client=record.client,
        layer_id=record.layer_id,
        state=SETTLED,
        accepted_at_ms=moment.now_ms,
        verdict="Refused",
        http_status=http_status,
        reason=reason,
        settled_at_ms=moment.now_ms,
        told_at_ms=moment.now_ms,
        retry_of=record.retry_of if isinstance(record, RequestAdmitted) else None,
    )
    body = sends.body_of(record)
    key = record.request_id
    return Decision(
        stores=(Store("bodies", key, body), Store("requests", key, row)),
        sends=(
            sends.request_progress(key, row, body, moment.now_ms),
            sends.failure(key, row, body),
        ),
    )


def _first_asked(state: RegistrarState, asked: _Asked) -> tuple[str, RequestRow] | None:
    """The earlier request over HTTP that this one repeats, while that one can answer."""
    first_id = state.first_by_repeat_key.get(asked.repeat_key or "")
    first = state.requests.get(first_id or "")
    if first_id is None or first is None or first.reason is not None:
        return None
    return (first_id, first) if first_id != asked.record.request_id else None


def _join(state: RegistrarState, asked: _Asked, export: ExportRow) -> Decision:
    """Take part in an export that waits or runs."""
    record, moment = asked.record, asked.moment
    stores: list[Store] = []
    told: list[Send] = []
    first = _first_asked(state, asked)
    if first is not None and first[1].state == OPEN:
        first_id = first[0]
        row = asked.row(OPEN, "Repeated", repeats=first_id)
        body = asked.body(callback_urls=())
        first_body = state.body_of(first_id)
        urls = tuple(dict.fromkeys((*first_body.callback_urls, *record.callback_urls)))
        if urls != first_body.callback_urls:
            stores.append(Store("bodies", first_id, replace(first_body, callback_urls=urls)))
    else:
        row = asked.row(OPEN, "Joined")
        body = asked.body(record.callback_urls)
    if record.priority > export.priority:
        export = replace(export, priority=record.priority)
        stores.append(Store("exports", record.export_id, export))
    stores += (Store("bodies", record.request_id, body), Store("requests", record.request_id, row))
    told += (
        sends.request_progress(record.request_id, row, body, moment.now_ms),
        sends.export_progress(record.export_id, export, moment.now_ms),
    )
    return Decision(tuple(stores), tuple(told))


def _offered(export: ExportRow, record: RequestAdmitted) -> bool:
    """Whether the finished package can be handed out: seen, or too young to have been seen."""
    if export.state != COMPLETED:
        return False
    young = export.finished_at_ms > record.looked_at_ms - OFFER_GRACE_MS
    return young or export.attempt in record.packages


def _answer(
    state: RegistrarState, rules: RegistrarRules, asked: _Asked, export: ExportRow
) -> Decision:
    """Settle a request at once with the package that stands there, and keep that longer."""
    record, moment = asked.record, asked.moment
    expires_at_ms = max(export.expires_at_ms, moment.now_ms + rules.package_ms)
    export = replace(export, expires_at_ms=expires_at_ms)
    first = _first_asked(state, asked)
    if first is not None and not state.is_offered(first[1]):
        first = None  # deleted, or of an earlier package: it cannot answer for this one
    body = asked.body(record.callback_urls if first is None else ())
    row = replace(
        asked.row(SETTLED, "Cached" if first is None else "Repeated", first[0] if first else None),
        attempt=export.attempt,
        settled_at_ms=moment.now_ms,
        expires_at_ms=expires_at_ms,
        told_at_ms=moment.now_ms,
    )
    told = [
        sends.request_progress(record.request_id, row, body, moment.now_ms),
        sends.export_progress(record.export_id, export, moment.now_ms),
        sends.settled(record.request_id, row, body, export, rules),
    ]
    if first is not None:
        told += _redeliveries(first[0], record.callback_urls, moment)
    return Decision(
        stores=(
            Store("exports", record.export_id, export),
            Store("bodies", record.request_id, body),
            Store("requests", record.request_id, row),
        ),
        sends=tuple(told),
    )


def _redeliveries(first_id: str, urls: Iterable[str], moment: Moment) -> list[Send]:
    """Ask for the first request's result at each address; completion calls none twice."""
    return [
        Send(EXPORT_SETTLEMENTS, first_id, RedeliveryAsked(first_id, moment.now_ms, url))
        for url in urls
    ]


def _begin(state: RegistrarState, rules: RegistrarRules, asked: _Asked) -> Decision:
    """Start an export, or let it wait for its turn; a run before this one is forgotten."""
    record, moment = asked.record, asked.moment
    tile_count = sum(zoom_tiles.tiles for zoom_tiles in record.tiles_by_zoom)
    expected_bytes = estimated_bytes(state, record)
    old = state.exports.get(record.export_id)
    continued = old if old is not None and old.may_continue else None
    area = _area(record, rules, max(1, expected_bytes // max(1, tile_count)), continued)
    export = ExportRow(
        state=WAITING,
        attempt="",
        layer_id=record.layer_id,
        priority=record.priority,
        queued_at_ms=moment.now_ms,
        tile_count=tile_count,
        estimated_bytes=expected_bytes,
        changes=changed((), sends.STATE_TOLD[WAITING], moment),
        removals=left_by(old, rules, moment),
        tiles_per_range=area.package.tiles_per_range,
        continues=continued.attempt if continued is not None else None,
        client=record.client,
        min_zoom=record.min_zoom,
        max_zoom=record.max_zoom,
    )
    row = asked.row(OPEN, "Accepted")
    body = asked.body(record.callback_urls)
    stores = [
        Store("areas", record.export_id, area),
        Store("bodies", record.request_id, body),
        *_reopened(state, record.export_id),
    ]
    told = [sends.request_progress(record.request_id, row, body, moment.now_ms)]
    if state.has_place(rules, export):
        export = start(export, moment)
        told.append(sends.started(record.export_id, export, area, moment.now_ms))
    told.append(sends.export_progress(record.export_id, export, moment.now_ms))
    stores += (
        Store("exports", record.export_id, export),
        Store("requests", record.request_id, row),
    )
    return Decision(tuple(stores), tuple(told))


def _reopened(state: RegistrarState, export_id: str) -> list[Store]:
    """Open requests again whose result of an earlier attempt has not been confirmed."""
    return [
        Store("requests", request_id, replace(row, state=OPEN, attempt="", settled_at_ms=0))
        for request_id in state.untold
        if (row := state.requests[request_id]).export_id == export_id and row.reason is None
    ]


def _area(
    record: RequestAdmitted, rules: RegistrarRules, mean_bytes: int, cut_as: ExportRow | None
) -> AreaRow:
    """What will be made; ranges are cut as those of `cut_as`, which has written some of them."""
    tiles_per_range = max(1, min(rules.range_tiles, rules.range_bytes // mean_bytes))
    if cut_as is not None and cut_as.tiles_per_range:
        tiles_per_range = cut_as.tiles_per_range
    layer = LayerRecord.from_json(record.layer_json)
    return AreaRow(
        package=PackagePlan(
            package_name=layer.package_name_pattern(record.max_zoom, record.export_id),
            table=layer.product_id,
            identifier=layer.identifier,
            layer_json=layer.public_json,
            area_wkb=record.area_wkb,
            areas=record.areas,
            min_zoom=record.min_zoom,
            max_zoom=record.max_zoom,
            tiles_per_range=tiles_per_range,
            algorithm=1,
            on_error=record.on_error,
        ),
        source_json=layer.source_json,
        mean_tile_bytes=mean_bytes,
    )
