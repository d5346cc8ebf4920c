"""Mend rows that do not fit each other.

Rows of one decision stand in several changelogs. A broker that dies may forget the end of one
and keep that of another; a replay mends what its own record wrote, and this mends the rest, so
that every open request still ends.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from app.domain.decision import Decision, Send, Store
from app.domain.rows import ExportRow
from app.registrar import sends
from app.registrar.lifecycle import AT_ONCE, SILENCE_MS, end, failed_row, settled_row
from app.registrar.state import CONFIRMED, WAITING, Moment, RegistrarRules, RegistrarState

LOST = "the broker lost the records of this export; ask for it again"


def is_torn(state: RegistrarState) -> bool:
    """Whether there is something to mend at once."""
    return any(
        next(found, None) is not None
        for found in (
            _stranded_requests(state),
            _stray_areas(state),
            _stray_bodies(state),
            _hopeless_exports(state, now_ms=None),
        )
    )


def mend(state: RegistrarState, rules: RegistrarRules, moment: Moment) -> Decision | None:
    """Settle the requests of exports that ended, end exports that cannot go on, drop leftovers.

    Returns:
        None: there is nothing to mend.
    """
    export_id = min(_hopeless_exports(state, moment.now_ms), default=None)
    if export_id is not None:
        # One at a time: each end may start the next export.
        lost = failed_row(state.exports[export_id], LOST, moment)
        return end(state, rules, export_id, lost, (), moment)
    stores: list[Store] = []
    told: list[Send] = []
    for request_id in sorted(_stranded_requests(state))[:AT_ONCE]:
        request = state.requests[request_id]
        export = state.exports.get(request.export_id or "")
        if export is None:
            row = replace(settled_row(request, _NOWHERE, moment), reason=LOST)
        else:
            row = settled_row(request, export, moment)
        stores.append(Store("requests", request_id, row))
        told.append(sends.settled(request_id, row, state.body_of(request_id), export, rules))
    stores += (Store("areas", key, None) for key in islice(_stray_areas(state), AT_ONCE))
    stores += (Store("bodies", key, None) for key in islice(_stray_bodies(state), AT_ONCE))
    return Decision(tuple(stores), tuple(told)) if stores else None


_NOWHERE = ExportRow(
    state="", attempt="", layer_id="", priority=0, queued_at_ms=0, tile_count=0, estimated_bytes=0
)


def _stranded_requests(state: RegistrarState) -> Iterator[str]:
    """Open requests whose export is neither waiting nor running."""
    for export_id, request_ids in state.open_by_export.items():
        if not state.is_live(export_id):
            yield from request_ids


def _stray_areas(state: RegistrarState) -> Iterator[str]:
    return (export_id for export_id in state.areas if not state.is_live(export_id))


def _stray_bodies(state: RegistrarState) -> Iterator[str]:
    for request_id in state.bodies:
        row = state.requests.get(request_id)
        if row is None or row.state == CONFIRMED:
            yield request_id


def _hopeless_exports(state: RegistrarState, now_ms: int | None) -> Iterator[str]:
    """Exports whose area is gone: waiting ones, and running ones once nothing is heard of them."""
    for export_id in (*state.waiting, *state.running):
        if export_id in state.areas:
            continue
        export = state.exports[export_id]
        silent = now_ms is not None and export.beat_at_ms + SILENCE_MS <= now_ms
        if export.state == WAITING or silent:
            yield export_id
