"""How attempts of an export begin and end, as its row has it."""

from dataclasses import replace

from app.domain.rows import ExportRow, Removal
from app.registrar import sends
from app.registrar.rules import Moment, changed
from app.registrar.state import RUNNING

MOST_REMOVALS = 20
"""Attempts of one export that wait for their removal; older ones are left to the sweep."""


def start(export: ExportRow, moment: Moment) -> ExportRow:
    """The row of an export whose next attempt starts now.

    Its name is never that of an earlier one whose files still have to go: a broker that has
    forgotten its last records gives their offsets again.
    """
    attempt, at_ms = moment.attempt, moment.now_ms
    while attempt in {known.attempt for known in export.removals}:
        at_ms += 1
        attempt = replace(moment, now_ms=at_ms).attempt
    return replace(
        export,
        state=RUNNING,
        attempt=attempt,
        started_at_ms=moment.now_ms,
        beat_at_ms=moment.now_ms,
        phase="writing",
        changes=changed(export.changes, sends.STATE_TOLD[RUNNING], moment),
    )


def to_be_removed(export: ExportRow, due_at_ms: int) -> ExportRow:
    """The row of an export whose attempt is over and whose files go at a time, ms."""
    if not export.attempt:
        return export  # it never began
    others = [known for known in export.removals if known.attempt != export.attempt]
    removal = Removal(export.attempt, due_at_ms, again=True)
    return replace(export, removals=(*others, removal)[-MOST_REMOVALS:])
