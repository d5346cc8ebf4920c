"""Decide what to say of a record at which the planner's process died again and again."""

from collections.abc import Sequence

from app.domain.decision import Record, Send
from app.domain.records import (
    ExportFailed,
    ExportStarted,
    PackageAssembled,
    RangesMissing,
    RangeUnreadable,
    RangeWritten,
    ShardsAdopted,
)
from app.domain.topic_names import EXPORT_REGISTRY

FATAL = (
    ExportStarted,
    PackageAssembled,
    RangesMissing,
    RangeUnreadable,
    RangeWritten,
    ShardsAdopted,
)
"""Without these an export does not go on; everything else is repeated by itself."""


def give_up(now_ms: int, record: Record | None, reason: str) -> Sequence[Send]:
    """Let the export fail, so that whoever waits for it hears of it.

    Running twice is harmless: the registrar knows a failure again.

    Args:
        now_ms: Wall clock, ms since 1970 UTC.
        record: What was given up; None: it cannot be read.
        reason: Why, for people.
    """
    if not isinstance(record, FATAL):
        return ()
    failed = ExportFailed(record.export_id, record.attempt, now_ms, reason)
    return (Send(EXPORT_REGISTRY, record.export_id, failed),)
