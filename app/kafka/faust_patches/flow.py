"""Patches d, e and f: what is fetched is delivered, or fetched again."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from faust.transport.consumer import Consumer

from app.kafka.faust_patches.holes import HOLES, Hole
from app.kafka.faust_patches.pinned import original

_perform_seek = original("faust.transport.consumer:Consumer.perform_seek")
_on_partitions_revoked = original("faust.transport.consumer:Consumer.on_partitions_revoked")
original("faust.transport.consumer:Consumer.getmany")
original("faust.transport.consumer:Consumer._wait_next_records")
original("aiokafka.consumer.consumer:AIOKafkaConsumer.seek_to_committed")

# A getmany begun while partitions are left out is not woken when their buffers drain.
_PRESSURE_TIMEOUT_S = 0.02
# Faust sleeps a second while nothing is assigned or resumed.
_NO_PARTITIONS_S = 0.1
# A broker that is killed loses its last moments (at most 1,100 records in four of four kills) and
# gives their offsets again; so far before the lost end reading starts anew.
_CUT_MARGIN = 10_000


def expected_offsets(consumer: Any) -> dict[Any, int]:
    """Next offset that each source partition must deliver; our addition to the consumer."""
    expected: dict[Any, int] = consumer.__dict__.setdefault("_expected_offsets", {})
    return expected


def lost_early(consumer: Any) -> set[Any]:
    """Source partitions of which records were thrown away while nothing was expected of them."""
    early: set[Any] = consumer.__dict__.setdefault("_lost_early", set())
    return early


async def perform_seek(self: Any) -> None:
    """Patch f: also seek partitions that have no committed offset, to their start.

    aiokafka's seek_to_committed leaves those where they are, so records that were fetched and
    then cleared in a rebalance before the first commit are never read again.

    Besides, it notes for patch d what each partition must deliver next, and goes back when a
    broker has lost what was already committed.

    And it seeks again what was fetched and thrown away meanwhile. A `getmany` that a rebalance
    finds waiting does not end with its time: in aiokafka it waits for the next assignment and
    then drains partitions that are in both, maybe just after they were sought here. The flow is
    still closed, so those records are dropped, and while nothing is expected yet, nobody noticed
    before the next record came. When none came, they waited for ever.

    Upstream: none yet.
    """
    expected, early = expected_offsets(self), lost_early(self)
    expected.clear()
    early.clear()
    await _perform_seek(self)
    sources = [tp for tp in self.assignment() if not self._is_changelog_tp(tp)]
    committed = {tp: self._read_offset.get(tp) or 0 for tp in sources}
    moved = await _starts_of_new_partitions(self, committed)
    moved |= await _starts_of_cut_partitions(self, committed)
    if moved:
        await self.seek_wait(moved)
    goals = committed | moved
    while again := {tp: goals[tp] for tp in early if tp in goals}:
        early.clear()
        await self.seek_wait(again)
        for tp, offset in again.items():
            HOLES.add(Hole(tp, offset, offset, "early"))
            self.log.warning("Fetched before its seek had ended: %r at %r", tp, offset)
    # No await since the last look: from here on patch d sees what is thrown away.
    expected.update(goals)


async def _starts_of_new_partitions(consumer: Any, committed: dict[Any, int]) -> dict[Any, int]:
    new = [tp for tp, offset in committed.items() if not offset]
    if not new:
        return {}
    start = await consumer.earliest_offsets(*new)
    return {tp: start.get(tp) or 0 for tp in new}


async def _starts_of_cut_partitions(consumer: Any, committed: dict[Any, int]) -> dict[Any, int]:
    known = [tp for tp, offset in committed.items() if offset]
    if not known:
        return {}
    ends = await consumer.highwaters(*known)
    cut = [tp for tp in known if (ends.get(tp) or 0) < committed[tp]]
    if not cut:
        return {}
    for tp in cut:
        HOLES.add(Hole(tp, committed[tp], ends.get(tp) or 0, "cut"))
    return await _starts_after_cut(consumer, {tp: committed[tp] for tp in cut})


async def _starts_after_cut(consumer: Any, expected: dict[Any, int]) -> dict[Any, int]:
    """Find where to read anew, and let Faust commit there although it is behind."""
    start = await consumer.earliest_offsets(*expected)
    for tp in expected:
        consumer._committed_offset[tp] = None  # noqa: SLF001 - else acks below it are dropped
        consumer._acked.pop(tp, None)  # noqa: SLF001 - acks of offsets that come again
        consumer._acked_index.pop(tp, None)  # noqa: SLF001 - same
        consumer._gap.pop(tp, None)  # noqa: SLF001 - same
    return {tp: max(start.get(tp) or 0, offset - _CUT_MARGIN) for tp, offset in expected.items()}


async def wait_next_records(self: Any, timeout: float) -> tuple[Any, Any]:  # noqa: ASYNC109 - Faust's signature
    """Patch e: give the fetcher a copy of the active partitions.

    Faust gives it the live set. When a rebalance empties it, aiokafka's `if partitions and tp
    not in partitions` is true for none, and paused partitions are drained.

    Besides, it waits shortly under buffer pressure and while nothing is assigned.

    Upstream: none yet.
    """
    if not self.flow_active:
        await self.wait(self.can_resume_flow)
    if self.app.client_only:
        return await self._getmany(active_partitions=None, timeout=timeout), None
    active = set(self._get_active_partitions())
    if not active:
        await self.sleep(_NO_PARTITIONS_S)
        return {}, active
    if self._buffered_partitions:
        timeout = min(timeout, _PRESSURE_TIMEOUT_S)
    return await self._getmany(active_partitions=active, timeout=timeout), active


class Passage:
    """One batch on its way to the streams; notes what must be fetched again.

    Source topics are neither compacted nor transactional, so their offsets have no gaps.
    """

    def __init__(self, consumer: Any, active: Any) -> None:
        """Start with the state in which the batch was fetched."""
        self.consumer = consumer
        self.active = active
        self.generation = consumer.app.consumer_generation_id
        self.expected = expected_offsets(consumer)
        self.rewind: dict[Any, Hole] = {}

    def flows(self) -> bool:
        """Whether the batch may still be delivered: no rebalance has begun."""
        same = self.consumer.app.consumer_generation_id == self.generation
        return bool(self.consumer.flow_active and same)

    def lost(self, tp: Any, offset: int, reason: str) -> None:
        """Note that this record is thrown away although nobody has seen it."""
        want = self.expected.get(tp)
        if want is None:
            lost_early(self.consumer).add(tp)
        elif tp not in self.rewind and (offset >= want or reason == "cut"):
            self.rewind[tp] = Hole(tp, want, offset, reason)

    def is_wanted(self, tp: Any) -> bool:
        """Whether the partition is open for delivery."""
        return (
            self.active is None or tp in self.active or tp in self.consumer._buffered_partitions  # noqa: SLF001 - as in Faust
        )

    async def admits(self, tp: Any, offset: int) -> bool:
        """Whether the record is the next one of its partition."""
        if tp in self.rewind:
            return False
        if not self.is_wanted(tp):
            self.lost(tp, offset, "inactive")
            return False
        want = self.expected.get(tp)
        if want is None:
            return self._admits_unexpected(tp, offset)
        if offset < want:
            # Delivered already in this generation, unless the log has become shorter.
            if (self.consumer.highwater(tp) or want) < want:
                self.lost(tp, offset, "cut")
            return False
        if offset > want and await self._is_hole(tp, want):
            self.lost(tp, offset, "jump")
            return False
        self.expected[tp] = offset + 1
        return True

    def _admits_unexpected(self, tp: Any, offset: int) -> bool:
        """Let changelogs pass; before its seek a source's rows may not be recovered."""
        is_changelog = bool(self.consumer._is_changelog_tp(tp))  # noqa: SLF001 - as in Faust
        if not is_changelog:
            self.lost(tp, offset, "early")
        return is_changelog

    async def _is_hole(self, tp: Any, want: int) -> bool:
        """Whether the missing offsets still exist; retention may have removed them."""
        start = await self.consumer.earliest_offsets(tp)
        return (start.get(tp) or 0) <= want

    async def fetch_again(self) -> None:
        """Seek back to the first record of each partition that was thrown away."""
        consumer = self.consumer
        for hole in self.rewind.values():
            HOLES.add(hole)
            consumer.log.warning("Hole: %r", hole)
        ours = consumer.assignment()
        back = {
            tp: hole.expected
            for tp, hole in self.rewind.items()
            if tp in ours and self.expected.get(tp) == hole.expected
        }
        cut = {tp: offset for tp, offset in back.items() if self.rewind[tp].reason == "cut"}
        if not back:
            return
        try:
            if cut:
                back |= await _starts_after_cut(consumer, cut)
                self.expected.update({tp: back[tp] for tp in cut})
            await consumer.seek_wait(back)
        except Exception as error:  # noqa: BLE001 - a rebalance has begun; it seeks by itself
            consumer.log.warning("Could not seek back: %r", error)


async def getmany(self: Any, timeout: float) -> AsyncIterator[tuple[Any, Any]]:  # noqa: ASYNC109 - Faust's signature
    """Patch d: whatever is fetched and not delivered is sought back, not committed past.

    Faust drops records when a rebalance stops the flow or a partition is paused, and then
    registers the jump as a gap that is committed past.

    Upstream: none yet.
    """
    records, active = await self._wait_next_records(timeout)
    if records is None or self.should_stop:
        return
    passage = Passage(self, active)
    remaining: Iterator[tuple[Any, Any]] = iter(self.scheduler.iterate(records))
    try:
        for tp, record in remaining:
            if not passage.flows():
                passage.lost(tp, record.offset, "flow")
                break
            if await passage.admits(tp, record.offset):
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                yield tp, self._to_message(tp, record)
        for tp, record in remaining:
            passage.lost(tp, record.offset, "flow")
    finally:
        if passage.rewind:
            await passage.fetch_again()


async def on_partitions_revoked(self: Any, revoked: Any) -> None:
    """Patch d: nothing is expected any more until the next seek."""
    expected_offsets(self).clear()
    await _on_partitions_revoked(self, revoked)


def apply() -> None:
    """Put them in place."""
    Consumer.perform_seek = perform_seek
    Consumer.on_partitions_revoked = on_partitions_revoked
    Consumer.getmany = getmany
    Consumer._wait_next_records = wait_next_records  # noqa: SLF001 - the defect is there
