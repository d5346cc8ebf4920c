"""Mend rows that do not fit each other, and tell again what may not have been told.

Rows of one decision stand in several changelogs. A broker that dies may forget the end of one
and keep that of another; a replay mends what its own record wrote, and this mends the rest, so
that every open request still ends. It may forget what was told of an export as well, or a result
that was confirmed, and then nobody has a reason to tell it again but whoever takes the rows over.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from app.domain.decision import Decision, Send, Store
from app.domain.rows import ExportRow, RequestRow
from app.registrar import sends
from app.registrar.lately import LATELY_MS
from app.registrar.lifecycle import AT_ONCE, SILENCE_MS, end, failed_row, settled_row
from app.registrar.rules import Moment, RegistrarRules
from app.registrar.sends import LOST
from app.registrar.state import OPEN, RegistrarState


def is_torn(state: RegistrarState) -> bool:
    """Whether there is something to mend at once."""
    return bool(state.torn or state.unfounded or state.changed_lately or state.told_lately)


def mend(state: RegistrarState, rules: RegistrarRules, moment: Moment) -> Decision | None:
    """Settle the requests of exports that ended, end exports that cannot go on, drop leftovers.

    Returns:
        None: there is nothing to mend.
    """
    export_id = min(_hopeless_exports(state, moment), default=None)
    if export_id is not None:
        # One at a time: each end may start the next export.
        lost = failed_row(state.exports[export_id], LOST, moment)
        return end(state, rules, export_id, lost, (), moment)
    stores: list[Store] = []
    told: list[Send] = []
    for request_id in sorted(_stranded_requests(state))[:AT_ONCE]:
        request = state.requests[request_id]
        export = state.exports.get(request.export_id or "")
        if export is None or _came_after(request, export):
            row = replace(settled_row(request, _NOWHERE, moment), reason=LOST)
        else:
            row = settled_row(request, export, moment)
        stores.append(Store("requests", request_id, row))
        told.append(sends.settled(request_id, row, state.body_of(request_id), export, rules))
        if export is None and request.export_id is not None:
            told.append(sends.forgotten(request.export_id))
    for request_id in sorted(state.unfounded)[:AT_ONCE]:
        request = state.requests[request_id]
        if state.is_live(request.export_id or ""):
            stores.append(Store("requests", request_id, _reopened(request)))
            continue
        row = replace(settled_row(request, _NOWHERE, moment), reason=LOST)
        stores.append(Store("requests", request_id, row))
        told.append(sends.settled(request_id, row, state.body_of(request_id), None, rules))
    for export_id in sorted(filter(state.is_wrongly_pinned, state.torn))[:AT_ONCE]:
        pinned = bool(state.pinned_by(export_id))
        mended = replace(state.exports[export_id], pinned=pinned)
        stores.append(Store("exports", export_id, mended))
        told.append(sends.export_progress(export_id, mended, moment.now_ms))
    stray_areas = (key for key in sorted(state.torn) if key in state.areas)
    stores += (Store("areas", key, None) for key in islice(stray_areas, AT_ONCE))
    again = _told_again(state, rules, moment)
    stores += again.stores
    told += again.sends
    return Decision(tuple(stores), tuple(told)) if stores else None


def _told_again(state: RegistrarState, rules: RegistrarRules, moment: Moment) -> Decision:
    """Tell again what was told, or confirmed, right before a takeover; each row notes that.

    Completion ignores a result whose first one stands.
    """
    stores: list[Store] = []
    told: list[Send] = []
    for export_id in sorted(key for key in state.changed_lately if key not in state.torn)[:AT_ONCE]:
        changed = state.exports[export_id]
        stores.append(Store("exports", export_id, changed))
        told.append(sends.export_progress(export_id, changed, moment.now_ms))
    for request_id in sorted(set(state.told_lately) - state.unfounded)[:AT_ONCE]:
        request = state.requests[request_id]
        has_ground = state.has_ground(request)
        if not has_ground and _has_lost_its_end(state, request, moment):
            stores.append(Store("requests", request_id, _reopened(request)))
            continue
        stores.append(Store("requests", request_id, request))
        export = state.exports.get(request.export_id or "") if has_ground else None
        body = state.body_of(request_id)
        told.append(sends.settled(request_id, request, body, export, rules))
    return Decision(tuple(stores), tuple(told))


def _has_lost_its_end(state: RegistrarState, request: RequestRow, moment: Moment) -> bool:
    """Whether a request's export goes on because the broker forgot its end.

    Not when another attempt was asked for since, as the package has gone; and whoever deleted it,
    or had it until its end, waits for nothing.
    """
    export_id = request.export_id or ""
    is_over = request.deleted or request.expires_at_ms <= moment.now_ms
    if is_over or not state.is_live(export_id):
        return False
    is_fresh = request.told_at_ms > state.recovered_ms - LATELY_MS
    return is_fresh or state.exports[export_id].queued_at_ms <= request.settled_at_ms


def _reopened(request: RequestRow) -> RequestRow:
    """A request whose export goes on, as the broker forgot its end."""
    return replace(request, state=OPEN, attempt="", settled_at_ms=0, expires_at_ms=0, told_at_ms=0)


_NOWHERE = ExportRow(
    state="", attempt="", layer_id="", priority=0, queued_at_ms=0, tile_count=0, estimated_bytes=0
)


def _came_after(request: RequestRow, export: ExportRow) -> bool:
    """Whether a request came after this end of its export, so that it began another attempt."""
    return bool(export.changes) and request.accepted_at_ms > export.changes[-1].at_ms


def _stranded_requests(state: RegistrarState) -> Iterator[str]:
    """Open requests whose export is neither waiting nor running."""
    for export_id in state.torn:
        if not state.is_live(export_id):
            yield from state.open_by_export.get(export_id, ())


def _hopeless_exports(state: RegistrarState, moment: Moment) -> Iterator[str]:
    """Exports whose area is gone: waiting ones, and running ones once nothing is heard of them."""
    for export_id in state.torn:
        if export_id in state.waiting:
            yield export_id
    for export_id in state.running:
        silent = state.exports[export_id].beat_at_ms + SILENCE_MS <= moment.now_ms
        if export_id not in state.areas and silent:
            yield export_id
