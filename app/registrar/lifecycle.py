"""Decide how an export goes on: it starts, beats, ends, and its requests get their results."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from app.domain.decision import NOTHING, Decision, Send, Store
from app.domain.package_facts import PackageFacts
from app.domain.records import (
    ExportAssembled,
    ExportBeat,
    ExportFailed,
    RequestConfirmed,
    RequestForgotten,
)
from app.domain.rows import ExportRow, LayerRow, RequestRow, ZoomMean
from app.domain.tile_sizes import TileSize, learn
from app.domain.topic_names import EXPORT_SETTLEMENTS
from app.registrar import notices, removals, sends
from app.registrar.attempts import start, to_be_removed
from app.registrar.rules import Moment, RegistrarRules, changed
from app.registrar.state import (
    CANCELLED,
    COMPLETED,
    CONFIRMED,
    FAILED,
    FORGOTTEN,
    OPEN,
    RUNNING,
    SETTLED,
    RegistrarState,
    kept_body,
)

HAPPY = frozenset({RUNNING, COMPLETED})
UNHAPPY = frozenset({RUNNING, FAILED})

SILENCE_MS = 30_000
"""An attempt that has not beaten for so long is started again under the same number, ms."""

TELL_AGAIN_MS = 10_000
"""A result that completion has not confirmed for so long is told again, ms."""

AT_ONCE = 500
"""Rows or records handled by one Tick, so that it stays short."""


def beat(
    state: RegistrarState, _rules: RegistrarRules, record: ExportBeat, moment: Moment
) -> Decision:
    """Note how far an export is; an attempt that is over is told to stop.

    A replay writes the same row again.
    """
    export = state.exports.get(record.export_id)
    if export is None or export.state != RUNNING or export.attempt != record.attempt:
        return _over(export, record, moment)
    elapsed_s = max(0.001, (moment.now_ms - export.beat_at_ms) / 1000)
    export = replace(
        export,
        beat_at_ms=moment.now_ms,
        phase=record.phase,
        tiles_done=max(export.tiles_done, record.tiles_done),
        tiles_missing=max(export.tiles_missing, record.tiles_missing),
        bytes_written=max(export.bytes_written, record.bytes_written),
        tiles_per_s=max(0, record.tiles_done - export.tiles_done) / elapsed_s,
    )
    return Decision(
        stores=(Store("exports", record.export_id, export),),
        sends=(sends.export_progress(record.export_id, export, moment.now_ms),),
    )


def _over(
    export: ExportRow | None, record: ExportBeat | ExportAssembled | ExportFailed, moment: Moment
) -> Decision:
    """Answer news of an attempt that is over; of an export without a row nothing may be told."""
    stop = sends.stopped(record.export_id, record.attempt, moment.now_ms)
    return Decision(sends=(stop,) if export else (stop, sends.forgotten(record.export_id)))


def assembled(
    state: RegistrarState, rules: RegistrarRules, record: ExportAssembled, moment: Moment
) -> Decision:
    """Close an export with its package and settle whoever asked for it.

    Computed from the rows as they are, so that a run that died half-way is completed by the
    next: what is completed already stays, open requests are settled, unconfirmed ones told.
    Tiles that `onError: skip` left out are none that the source lacks: they are told apart.

    A package that comes late for an attempt that runs is not believed: a broker has forgotten that
    the attempt ended, and maybe that its files were removed since. It is planned again, which
    finds the file, or makes it.
    """
    export = state.exports.get(record.export_id)
    if export is None or export.attempt != record.attempt or export.state not in HAPPY:
        return _over(export, record, moment)
    if record.late and export.state == RUNNING:
        area = state.areas.get(record.export_id)
        again = sends.started(record.export_id, export, area, moment.now_ms) if area else None
        return Decision(sends=(again,) if again else ())
    facts = record.facts
    ended = export
    if export.state == RUNNING:
        ended = replace(
            export,
            state=COMPLETED,
            facts=facts,
            tiles_done=export.tiles_done if not facts.expected else facts.expected,
            tiles_missing=sum(counts.missing for counts in facts.zooms),
            bytes_written=sum(counts.tile_bytes for counts in facts.zooms),
            finished_at_ms=facts.finished_at_ms,
            expires_at_ms=facts.finished_at_ms + rules.package_ms,
            changes=changed(export.changes, sends.STATE_TOLD[COMPLETED], moment),
        )
    elif export.facts is not None and facts.finished_at_ms > export.facts.finished_at_ms:
        ended = replace(export, facts=facts)  # removed by hand, and made once more by mistake
    # A replay does not learn again; one of a run that died in between does, which is harmless.
    learned = (Store("layers", export.layer_id, _learned(state, export.layer_id, facts)),)
    is_news = export.state == RUNNING
    return end(state, rules, record.export_id, ended, learned if is_news else (), moment)


def failed(
    state: RegistrarState, rules: RegistrarRules, record: ExportFailed, moment: Moment
) -> Decision:
    """Close an export with its reason and settle whoever asked for it; see `assembled`."""
    export = state.exports.get(record.export_id)
    if export is None or export.attempt != record.attempt or export.state not in UNHAPPY:
        return _over(export, record, moment)
    ended = export
    if export.state == RUNNING:
        ended = failed_row(export, record.reason, moment, may_continue=record.may_continue)
    return end(state, rules, record.export_id, ended, (), moment)


def failed_row(
    export: ExportRow, reason: str, moment: Moment, *, may_continue: bool = False
) -> ExportRow:
    """The row of an export that cannot be done; its files go at once, or wait for another try."""
    ended = replace(
        export,
        state=FAILED,
        reason=reason,
        may_continue=may_continue,
        finished_at_ms=moment.now_ms,
        changes=changed(export.changes, sends.STATE_TOLD[FAILED], moment),
    )
    keep_ms = removals.KEEP_FAILED_MS if may_continue else 0
    return to_be_removed(ended, moment.now_ms + keep_ms)


def confirmed(
    state: RegistrarState, _rules: RegistrarRules, record: RequestConfirmed, moment: Moment
) -> Decision:
    """Note that the result of a request stands; its bulk goes a little later, see `tick`.

    As long as a row says settled, its result may have to be told again. A replay finds the row
    confirmed.
    """
    row = state.requests.get(record.request_id)
    if row is None or row.state == OPEN:
        return NOTHING
    stores: list[Store] = []
    if row.state == SETTLED:
        stands = replace(row, state=CONFIRMED, told_at_ms=moment.now_ms)
        stores.append(Store("requests", record.request_id, stands))
    export = state.exports.get(row.export_id or "")
    if row.export_id and removals.is_spent(state, row.export_id, export, told=record.request_id):
        forget = removals.forget(row.export_id)
        return Decision((*stores, *forget.stores), forget.sends)
    return Decision(stores=tuple(stores))


def tick(state: RegistrarState, rules: RegistrarRules, moment: Moment) -> Decision:
    """Heal silence: start silent attempts again, tell unconfirmed results again, forget old ids.

    The bulk of a request goes some seconds after its result was confirmed: a broker that dies may
    forget the result, and then it is told again.
    """
    stores: list[Store] = []
    told: list[Send] = []
    for request_id in islice(state.spent_bodies.up_to(moment.now_ms), AT_ONCE):
        request, body = state.requests.get(request_id), state.bodies[request_id]
        kept = kept_body(request, body) if request is not None else None
        stores.append(Store("bodies", request_id, kept))
    for export_id in sorted(state.running):
        export, area = state.exports[export_id], state.areas.get(export_id)
        if export.beat_at_ms + SILENCE_MS <= moment.now_ms and area is not None:
            export = replace(export, beat_at_ms=moment.now_ms)
            stores.append(Store("exports", export_id, export))
            told.append(sends.started(export_id, export, area, moment.now_ms))
    for request_id in _due(state.untold, moment.now_ms - TELL_AGAIN_MS):
        row = state.requests[request_id]
        export_row = state.exports.get(row.export_id or "")
        stores.append(Store("requests", request_id, replace(row, told_at_ms=moment.now_ms)))
        told.append(sends.settled(request_id, row, state.body_of(request_id), export_row, rules))
    for request_id in islice(state.forgettable.up_to(moment.now_ms), AT_ONCE):
        forgotten = _forget(state, request_id, moment)
        stores += forgotten.stores
        told += forgotten.sends
    warned = notices.tick(state, rules, moment)
    cleaned = removals.tick(state, rules, moment)
    starts = _next_starts(state, rules, moment, freed=0)
    return Decision(
        (*stores, *warned.stores, *cleaned.stores, *starts.stores),
        (*told, *warned.sends, *cleaned.sends, *starts.sends),
    )


def _forget(state: RegistrarState, request_id: str, moment: Moment) -> Decision:
    """Forget a request, in two steps; completion hears of it in both, and forgets its result.

    Whoever dies between a row and its records does not in both.
    """
    row = state.requests[request_id]
    told = Send(EXPORT_SETTLEMENTS, request_id, RequestForgotten(request_id, moment.now_ms))
    if row.state == CONFIRMED and row.reason is None:
        going = replace(row, state=FORGOTTEN, told_at_ms=moment.now_ms)
        return Decision((Store("requests", request_id, going),), (told,))
    gone = [Store("requests", request_id, None)]
    if request_id in state.bodies:
        gone.insert(0, Store("bodies", request_id, None))
    again = (told,) if row.state == FORGOTTEN else ()
    return Decision(tuple(gone), (*again, sends.forgotten(request_id)))


def due_at_ms(state: RegistrarState, rules: RegistrarRules) -> int | None:
    """When the next Tick has something to do, ms since 1970 UTC; None: nothing is due."""
    due = [state.exports[export_id].beat_at_ms + SILENCE_MS for export_id in state.running]
    if state.untold:
        due.append(next(iter(state.untold.values())) + TELL_AGAIN_MS)
    first = (state.forgettable.first_number(), state.spent_bodies.first_number())
    due += (int(at_ms) for at_ms in first if at_ms is not None)
    if next(state.next_waiting(rules), None) is not None:
        due.append(0)
    others = (removals.due_at_ms(state), notices.due_at_ms(state, rules))
    due += (at_ms for at_ms in others if at_ms is not None)
    return min(due, default=None)


def _due(by_time: dict[str, int], until_ms: int) -> list[str]:
    """The first keys, at most 500, whose time has come; the mapping is about in time order."""
    due: list[str] = []
    for key, at_ms in by_time.items():
        if at_ms > until_ms or len(due) == AT_ONCE:
            break
        due.append(key)
    return due


def _learned(state: RegistrarState, layer_id: str, facts: PackageFacts) -> LayerRow:
    """Mean tile sizes of the layer, this package added."""
    row = state.layers.get(layer_id)
    known = {mean.zoom: TileSize(mean.mean_bytes, mean.tiles) for mean in row.means} if row else {}
    sizes = learn(known, facts.zooms)
    return LayerRow(
        tuple(ZoomMean(zoom, size.mean_bytes, size.tiles) for zoom, size in sizes.items())
    )


def end(
    state: RegistrarState,
    rules: RegistrarRules,
    export_id: str,
    export: ExportRow,
    first: Sequence[Store],
    moment: Moment,
    *,
    waiting: Sequence[str] | None = None,
) -> Decision:
    """Store the end of an export, settle its requests, stop the planner, start the next.

    Args:
        state: What the registrar knows.
        rules: Settings it decides by.
        export_id: Of the export.
        export: Its row, ended.
        first: Rows to store before it.
        moment: When.
        waiting: The requests that end with it; None: all that are open.
    """
    stores = [*first, Store("exports", export_id, export)]
    told: list[Send] = []
    still_running = export_id in state.running
    for request_id in state.requests_of(export_id) if waiting is None else waiting:
        row = settled_row(state.requests[request_id], export, moment)
        stores.append(Store("requests", request_id, row))
        told.append(sends.settled(request_id, row, state.body_of(request_id), export, rules))
    told += (
        sends.settled(request_id, row, state.body_of(request_id), export, rules)
        for request_id in state.untold
        if (row := state.requests[request_id]).export_id == export_id
    )
    stores.append(Store("areas", export_id, None))
    if export.attempt:
        told.append(sends.stopped(export_id, export.attempt, moment.now_ms))
    told.append(sends.export_progress(export_id, export, moment.now_ms))
    starts = _next_starts(state, rules, moment, freed=int(still_running))
    return Decision((*stores, *starts.stores), (*told, *starts.sends))


def settled_row(row: RequestRow, export: ExportRow, moment: Moment) -> RequestRow:
    """The row of a request whose export has ended."""
    return replace(
        row,
        state=SETTLED,
        attempt=export.attempt,
        reason=export.reason,
        aborted=export.state == CANCELLED,
        settled_at_ms=moment.now_ms,
        expires_at_ms=export.expires_at_ms,
        told_at_ms=moment.now_ms,
    )


def _next_starts(
    state: RegistrarState, rules: RegistrarRules, moment: Moment, *, freed: int
) -> Decision:
    """Start waiting exports into the free places, the most urgent first."""
    if not state.waiting:
        return NOTHING
    stores: list[Store] = []
    told: list[Send] = []
    for export_id in state.next_waiting(rules, freed=freed):
        export, area = start(state.exports[export_id], moment), state.areas[export_id]
        stores.append(Store("exports", export_id, export))
        told += (
            sends.started(export_id, export, area, moment.now_ms),
            sends.export_progress(export_id, export, moment.now_ms),
        )
    return Decision(tuple(stores), tuple(told))
