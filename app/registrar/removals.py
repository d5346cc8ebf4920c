"""Decide when the files of attempts that are over go, and when an export is forgotten.

Files are removed by RemoveAttempt alone, which is repeated until FilesRemoved answers, and once
more after a while, because a writer that was late may have left something.
"""

from dataclasses import replace
from itertools import islice

from app.domain.decision import NOTHING, Decision, Send, Store
from app.domain.records import FilesRemoved
from app.domain.rows import ExportRow, Removal
from app.registrar import sends
from app.registrar.attempts import start, to_be_removed
from app.registrar.rules import Moment, RegistrarRules, changed
from app.registrar.state import COMPLETED, EXPIRED, LIVE, RUNNING, RegistrarState

KEEP_FAILED_MS = 24 * 3600 * 1000
"""How long the ranges of a failed attempt wait for somebody who tries again, ms."""

ASK_AGAIN_MS = 60_000
"""A removal that has not been answered for so long is ordered again, ms."""

AT_ONCE = 100
"""Exports that one Tick expires or cleans, so that it stays short."""


def left_by(old: ExportRow | None, rules: RegistrarRules, moment: Moment) -> tuple[Removal, ...]:
    """What earlier attempts leave to a new one of the same export.

    A package that admission did not see may still be offered by an older result, so its folder
    stays for as long as that promised; what a new attempt goes on with stays for a day.
    """
    if old is None:
        return ()
    if old.state == COMPLETED:
        promised_ms = max(moment.now_ms, old.expires_at_ms)
        return to_be_removed(old, promised_ms + rules.grace_ms).removals
    if old.may_continue:
        return to_be_removed(old, moment.now_ms + KEEP_FAILED_MS).removals
    return old.removals


def tick(state: RegistrarState, rules: RegistrarRules, moment: Moment) -> Decision:
    """Expire what is over its time, and order the removals that are due."""
    stores: list[Store] = []
    told: list[Send] = []
    for export_id in islice(state.expiring.up_to(moment.now_ms), AT_ONCE):
        row = expired(state.exports[export_id], rules, moment)
        stores.append(Store("exports", export_id, row))
        told.append(sends.export_progress(export_id, row, moment.now_ms))
    for export_id in islice(state.removing.up_to(moment.now_ms), AT_ONCE):
        row = state.exports[export_id]
        due = [known for known in row.removals if known.due_at_ms <= moment.now_ms]
        told += (sends.removal(export_id, known.attempt, moment.now_ms) for known in due)
        later_ms = moment.now_ms + ASK_AGAIN_MS
        removals = (
            replace(known, due_at_ms=later_ms, ordered=True) if known in due else known
            for known in row.removals
        )
        stores.append(Store("exports", export_id, replace(row, removals=tuple(removals))))
    return Decision(tuple(stores), tuple(told))


def due_at_ms(state: RegistrarState) -> int | None:
    """When the next export expires or the next removal is due, ms since 1970 UTC."""
    first = [state.expiring.first_number(), state.removing.first_number()]
    return min((int(at_ms) for at_ms in first if at_ms is not None), default=None)


def removed(
    state: RegistrarState, rules: RegistrarRules, record: FilesRemoved, moment: Moment
) -> Decision:
    """Note that the files of an attempt are gone; forget an export that has nothing left.

    A replay finds the removal in its second round, not ordered yet, or gone: nothing changes.
    """
    row = state.exports.get(record.export_id)
    if row is not None and row.state == RUNNING and row.attempt == record.attempt:
        return _began_anew(state, record.export_id, row, moment)
    known = next((k for k in row.removals if k.attempt == record.attempt), None) if row else None
    if row is None or known is None or not known.ordered:
        return NOTHING
    others = tuple(other for other in row.removals if other != known)
    if known.again:
        once_more = Removal(known.attempt, moment.now_ms + rules.grace_ms, again=False)
        others = (*others, once_more)
    row = replace(row, removals=others)
    if is_spent(state, record.export_id, row):
        return forget(record.export_id)
    return Decision(stores=(Store("exports", record.export_id, row),))


def _began_anew(state: RegistrarState, export_id: str, row: ExportRow, moment: Moment) -> Decision:
    """Begin another attempt in the place of one that runs without its files.

    That is what a broker leaves that has forgotten that the attempt ended. A replay finds the new
    attempt; if the order to start it was lost, silence repeats it.
    """
    area = state.areas.get(export_id)
    if area is None:
        return NOTHING  # nothing to begin with; the assembly finds what is lacking
    anew = start(replace(to_be_removed(row, moment.now_ms), continues=None), moment)
    return Decision(
        (Store("exports", export_id, anew),),
        (
            sends.stopped(export_id, row.attempt, moment.now_ms),
            sends.started(export_id, anew, area, moment.now_ms),
            sends.export_progress(export_id, anew, moment.now_ms),
        ),
    )


def forget(export_id: str) -> Decision:
    """Drop the row of an export that has nothing left, and tell so."""
    return Decision((Store("exports", export_id, None),), (sends.forgotten(export_id),))


def is_spent(
    state: RegistrarState, export_id: str, row: ExportRow | None, *, told: str = ""
) -> bool:
    """Whether nothing of an export is left: no package, no files, nobody who has to be told.

    Args:
        state: What the registrar knows.
        export_id: Of the export.
        row: Its row as it will be.
        told: A request that has been told just now.
    """
    if row is None or row.state in LIVE or row.state == COMPLETED or row.removals:
        return False
    return not any(
        state.requests[request_id].export_id == export_id
        for request_id in state.untold
        if request_id != told
    )


def expired(export: ExportRow, rules: RegistrarRules, moment: Moment) -> ExportRow:
    """Nobody is offered the package from now on; who was just offered it has a while.

    Of an export that holds no package any more nothing changes.
    """
    if export.state != COMPLETED:
        return export
    ended = replace(
        export,
        state=EXPIRED,
        pinned=False,
        changes=changed(export.changes, sends.STATE_TOLD[EXPIRED], moment),
    )
    return to_be_removed(ended, moment.now_ms + rules.grace_ms)
