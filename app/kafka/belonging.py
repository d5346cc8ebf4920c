"""Whether a record belongs in the inbox where it was found: its type, and its age (rule 17).

A record that was not handled within half the retention is too old: what is read next may be gone
already, and what it says is about a world of days ago. The same holds for one that somebody put
back after weeks, which has a new timestamp but says itself when it was written.
"""

from typing import Final

from app.domain.decision import Record
from app.domain.errors import InvalidRecord
from app.domain.records import (
    ExportCommanded,
    ExportRequested,
    RequestAdmitted,
    RequestConfirmed,
    RequestRefused,
    RequestSettled,
)
from app.kafka.topics import DAY_MS, OLDEST_HANDLED_MS, carried_records, topic_spec

_OURS: Final = frozenset(carried_records())

_TIMED_BY_OTHERS: Final = (ExportRequested, ExportCommanded)
"""Their `at_ms` is whatever a client wrote."""

_SENT_AGAIN_AS_THEY_WERE: Final = (RequestSettled, RequestConfirmed)
"""Results are told until they are confirmed, equal byte for byte, so their `at_ms` grows old."""

_NOBODY_SENDS_AGAIN: Final = (ExportRequested, RequestAdmitted, RequestRefused)
"""Without them a caller would wait for ever; everything else a lease or a row sends again."""


class RecordTooOld(InvalidRecord):
    """The record was written before half the retention."""


def check_type(record: Record, inbox: str) -> None:
    """Refuse a record of another topic.

    Args:
        record: A decoded record.
        inbox: Name of the inbox in the topic catalogue.

    Raises:
        InvalidRecord: It is a record of ours that this inbox does not carry.
    """
    if type(record) in _OURS and type(record) not in topic_spec(inbox).carries:
        raise InvalidRecord(f"{type(record).__name__} is no record of {inbox}")


def check_age(record: Record, timestamp_ms: int, now_ms: int) -> None:
    """Refuse a record that is too old to be handled.

    Args:
        record: A decoded record.
        timestamp_ms: Kafka's timestamp, ms since 1970 UTC; 0 or less: none.
        now_ms: Wall clock, ms since 1970 UTC.

    Raises:
        RecordTooOld: By Kafka's timestamp, or by its own `at_ms` where we wrote that.
        InvalidRecord: Its `at_ms`, by which its reader would go on, is more than a day ahead.
    """
    if type(record) in _OURS and not isinstance(record, ExportRequested):
        ahead_ms = getattr(record, "at_ms", 0) - now_ms
        if ahead_ms > DAY_MS:
            raise InvalidRecord(
                f"its at_ms is {ahead_ms / DAY_MS:.1f} days ahead; records are handled when they "
                "are at most 1 day ahead of the clock here"
            )
    times = {"Kafka's timestamp": timestamp_ms}
    if type(record) in _OURS and not isinstance(
        record, _TIMED_BY_OTHERS + _SENT_AGAIN_AS_THEY_WERE
    ):
        times["its at_ms"] = getattr(record, "at_ms", 0)
    for name, at_ms in times.items():
        if 0 < at_ms < now_ms - OLDEST_HANDLED_MS:
            raise RecordTooOld(
                f"by {name} it is {(now_ms - at_ms) / DAY_MS:.1f} days old; "
                f"records are handled within {OLDEST_HANDLED_MS / DAY_MS:g} days"
            )


def is_waited_for(record: Record) -> bool:
    """Whether a caller waits for what becomes of this very record, as nobody sends it again."""
    return isinstance(record, _NOBODY_SENDS_AGAIN)
