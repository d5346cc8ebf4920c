"""Patches a and b: what Faust may commit."""

from typing import Any

from faust.transport.consumer import Consumer

from app.kafka.faust_patches.pinned import original

_new_offset = original("faust.transport.consumer:Consumer._new_offset")
_add_gap = original("faust.transport.consumer:Consumer._add_gap")


def new_offset(self: Any, tp: Any) -> int | None:
    """Patch a: never commit past a record that a handler still has in hand.

    Faust looks at acknowledged offsets only. While nothing is committed yet, or after a gap, it
    takes the first run of them for the head of the log, although an earlier record is still
    being handled; a kill then loses that record.

    Upstream: #606, pull request #707.
    """
    in_hand = [
        message.offset
        for message in list(self._unacked_messages)
        if message.tp == tp and not message.acked
    ]
    acked = self._acked[tp]
    if not in_hand:
        return _call(_new_offset, self, tp)
    lowest = min(in_hand)
    later = [offset for offset in acked if offset >= lowest]
    if not later:
        return _call(_new_offset, self, tp)
    earlier = self._acked[tp] = [offset for offset in acked if offset < lowest]
    try:
        return _call(_new_offset, self, tp) if earlier else None
    finally:
        self._acked[tp].extend(later)


def _call(function: Any, consumer: Any, tp: Any) -> int | None:
    offset: int | None = function(consumer, tp)
    return offset


async def add_gap(self: Any, tp: Any, offset_from: int, offset_to: int) -> None:
    """Patch b: a gap ends before the record that showed it.

    Faust counts the record that has just arrived as part of the gap, hence as done, before any
    handler has seen it.

    Upstream: none yet.
    """
    await _add_gap(self, tp, offset_from, offset_to - 1)


def apply() -> None:
    """Put both in place."""
    Consumer._new_offset = new_offset  # noqa: SLF001 - the defect is there
    Consumer._add_gap = add_gap  # noqa: SLF001 - the defect is there
