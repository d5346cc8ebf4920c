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
)
from app.domain.rows import ExportRow, LayerRow, RequestRow, ZoomMean
from app.registrar import removals, sends
from app.registrar.state import (
    CANCELLED,
    COMPLETED,
    CONFIRMED,
    FAILED,
    OPEN,
    RUNNING,
    SETTLED,
    Moment,
    RegistrarRules,
    RegistrarState,
    changed,
)

HAPPY = frozenset({RUNNING, COMPLETED})
UNHAPPY = frozenset({RUNNING, FAILED})

SILENCE_MS = 30_000
"""An attempt that has not beaten for so long is started again under the same number, ms."""

TELL_AGAIN_MS = 10_000
"""A result that completion has not confirmed for so long is told again, ms."""

REMEMBER_MS = 14 * 24 * 3600 * 1000
"""How long a request id is remembered, so that a replay is known as one, ms."""

AT_ONCE = 500
"""Rows or records handled by one Tick, so that it stays short."""


def start(export: ExportRow, moment: Moment) -> ExportRow:
    """The row of an export whose next attempt starts now."""
    return replace(
        export,
        state=RUNNING,
        attempt=moment.attempt,
        started_at_ms=moment.now_ms,
        beat_at_ms=moment.now_ms,
        changes=changed(export.changes, sends.STATE_TOLD[RUNNING], moment),
    )


def beat(
    state: RegistrarState, _rules: RegistrarRules, record: ExportBeat, moment: Moment
) -> Decision:
    """Note how far an export is; an attempt that is over is told to stop.

    A replay writes the same row again.
    """
    export = state.exports.get(record.export_id)
    if export is None or export.state != RUNNING or export.attempt != record.attempt:
        return Decision(sends=(sends.stopped(record.export_id, record.attempt, moment.now_ms),))
    elapsed_s = max(0.001, (moment.now_ms - export.beat_at_ms) / 1000)
    export = replace(
        export,
        beat_at_ms=moment.now_ms,
        tiles_done=max(export.tiles_done, record.tiles_done),
        tiles_missing=max(export.tiles_missing, record.tiles_missing),
        bytes_written=max(export.bytes_written, record.bytes_written),
        tiles_per_s=max(0, record.tiles_done - export.tiles_done) / elapsed_s,
    )
    return Decision(
        stores=(Store("exports", record.export_id, export),),
        sends=(sends.export_progress(record.export_id, export, moment.now_ms),),
    )


def assembled(
    state: RegistrarState, rules: RegistrarRules, record: ExportAssembled, moment: Moment
) -> Decision:
    """Close an export with its package and settle whoever asked for it.

    Computed from the rows as they are, so that a run that died half-way is completed by the
    next: what is completed already stays, open requests are settled, unconfirmed ones told.
    """
    export = state.exports.get(record.export_id)
    if export is None or export.attempt != record.attempt or export.state not in HAPPY:
        return Decision(sends=(sends.stopped(record.export_id, record.attempt, moment.now_ms),))
    facts = record.facts
    ended = export
    if export.state == RUNNING:
        ended = replace(
            export,
            state=COMPLETED,
            facts=facts,
            tiles_done=export.tiles_done if not facts.expected else facts.expected,
            tiles_missing=facts.missing,
            bytes_written=sum(counts.tile_bytes for counts in facts.zooms),
            finished_at_ms=facts.finished_at_ms,
            expires_at_ms=facts.finished_at_ms + rules.package_ms,
            changes=changed(export.changes, sends.STATE_TOLD[COMPLETED], moment),
        )
    learned = Store("layers", export.layer_id, _learned(state, export.layer_id, facts))
    return end(state, rules, record.export_id, ended, (learned,), moment)


def failed(
    state: RegistrarState, rules: RegistrarRules, record: ExportFailed, moment: Moment
) -> Decision:
    """Close an export with its reason and settle whoever asked for it; see `assembled`."""
    export = state.exports.get(record.export_id)
    if export is None or export.attempt != record.attempt or export.state not in UNHAPPY:
        return Decision(sends=(sends.stopped(record.export_id, record.attempt, moment.now_ms),))
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
    return removals.to_be_removed(ended, moment.now_ms + keep_ms)


def confirmed(
    state: RegistrarState, _rules: RegistrarRules, record: RequestConfirmed, _moment: Moment
) -> Decision:
    """Let go of the bulk of a request whose result stands.

    The bulk goes last: as long as a row says settled, its result may have to be told again. A
    replay finds the row confirmed and removes what an earlier run left.
    """
    row = state.requests.get(record.request_id)
    if row is None or row.state == OPEN:
        return NOTHING
    stores: list[Store] = []
    if row.state == SETTLED:
        stores.append(Store("requests", record.request_id, replace(row, state=CONFIRMED)))
    if record.request_id in state.bodies:
        stores.append(Store("bodies", record.request_id, None))
    export = state.exports.get(row.export_id or "")
    if row.export_id and removals.is_spent(state, row.export_id, export, told=record.request_id):
        forget = removals.forget(row.export_id)
        return Decision((*stores, *forget.stores), forget.sends)
    return Decision(stores=tuple(stores))


def tick(state: RegistrarState, rules: RegistrarRules, moment: Moment) -> Decision:
    """Heal silence: start silent attempts again, tell unconfirmed results again, forget old ids."""
    stores: list[Store] = []
    told: list[Send] = []
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
    for request_id in _due(state.forgettable, moment.now_ms - REMEMBER_MS):
        stores.append(Store("requests", request_id, None))
        told.append(sends.forgotten(request_id))
    cleaned = removals.tick(state, rules, moment)
    starts = _next_starts(state, rules, moment, freed=0)
    return Decision(
        (*stores, *cleaned.stores, *starts.stores), (*told, *cleaned.sends, *starts.sends)
    )


def due_at_ms(state: RegistrarState, rules: RegistrarRules) -> int | None:
    """When the next Tick has something to do, ms since 1970 UTC; None: nothing is due."""
    due = [state.exports[export_id].beat_at_ms + SILENCE_MS for export_id in state.running]
    if state.untold:
        due.append(next(iter(state.untold.values())) + TELL_AGAIN_MS)
    if state.forgettable:
        due.append(next(iter(state.forgettable.values())) + REMEMBER_MS)
    if state.waiting and len(state.running) < rules.max_running:
        due.append(0)
    if (cleaning_ms := removals.due_at_ms(state)) is not None:
        due.append(cleaning_ms)
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
    """Mean tile sizes of the layer, those of this package first."""
    known = state.layers.get(layer_id)
    means = {mean.zoom: mean.mean_bytes for mean in (known.means if known is not None else ())}
    means |= {
        counts.zoom: max(1, counts.tile_bytes // counts.written)
        for counts in facts.zooms
        if counts.written
    }
    return LayerRow(tuple(ZoomMean(zoom, means[zoom]) for zoom in sorted(means)))


def end(
    state: RegistrarState,
    rules: RegistrarRules,
    export_id: str,
    export: ExportRow,
    first: Sequence[Store],
    moment: Moment,
) -> Decision:
    """Store the end of an export, settle its requests, stop the planner, start the next.

    Args:
        state: What the registrar knows.
        rules: Settings it decides by.
        export_id: Of the export.
        export: Its row, ended.
        first: Rows to store before it.
        moment: When.
    """
    stores = [*first, Store("exports", export_id, export)]
    told: list[Send] = []
    still_running = export_id in state.running
    for request_id in state.requests_of(export_id):
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
    places = rules.max_running - len(state.running) + freed
    if places <= 0 or not state.waiting:
        return NOTHING
    stores: list[Store] = []
    told: list[Send] = []
    ready = (export_id for export_id in state.next_waiting() if export_id in state.areas)
    for export_id in islice(ready, places):
        export, area = start(state.exports[export_id], moment), state.areas[export_id]
        stores.append(Store("exports", export_id, export))
        told += (
            sends.started(export_id, export, area, moment.now_ms),
            sends.export_progress(export_id, export, moment.now_ms),
        )
    return Decision(tuple(stores), tuple(told))
