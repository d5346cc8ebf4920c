"""Each patch against Faust's own function on the same input: what was lost, and is not any more."""

import asyncio
import logging
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import faust.streams
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.consumer.subscription_state import SubscriptionState
from faust.tables.recovery import RebalanceAgain, ServiceStopped
from faust.types import TP
from intervaltree import IntervalTree
from mode.services import WaitResults

from app.kafka import faust_patches
from app.kafka.faust_patches import commits, draining, flow, overtaken, pinned, quiet, recovery
from app.kafka.faust_patches.holes import HOLES

SOURCE = TP("source", 0)
OTHER = TP("source", 1)
CHANGELOG = TP("changelog", 0)


def installed(name: str) -> Any:
    """The function as it is in the package, before our patch."""
    return pinned.original(name)


# ---- a: commits


def acknowledging_consumer(acked: list[int], in_hand: list[int]) -> Any:
    return SimpleNamespace(
        _acked={SOURCE: acked},
        _acked_index=defaultdict(set),
        _gap=defaultdict(IntervalTree),
        _committed_offset=defaultdict(lambda: None),
        _unacked_messages={
            SimpleNamespaceHashable(tp=SOURCE, offset=offset, acked=False) for offset in in_hand
        },
    )


class SimpleNamespaceHashable(SimpleNamespace):
    __hash__ = object.__hash__  # type: ignore[assignment]


def test_a_commit_never_passes_a_record_in_hand() -> None:
    stock = installed("faust.transport.consumer:Consumer._new_offset")
    assert stock(acknowledging_consumer([5, 6, 7], in_hand=[3]), SOURCE) == 8  # loses 3
    consumer = acknowledging_consumer([5, 6, 7], in_hand=[3])
    assert commits.new_offset(consumer, SOURCE) is None
    assert consumer._acked[SOURCE] == [5, 6, 7]


def test_a_commit_reaches_up_to_the_record_in_hand() -> None:
    consumer = acknowledging_consumer([3, 4, 6], in_hand=[5])
    assert commits.new_offset(consumer, SOURCE) == 5
    assert consumer._acked[SOURCE] == [6]
    consumer._unacked_messages.clear()
    assert commits.new_offset(acknowledging_consumer([3, 4, 5], in_hand=[]), SOURCE) == 6


# ---- b: gaps


async def test_a_gap_ends_before_the_record_that_showed_it() -> None:
    def consumer() -> Any:
        return SimpleNamespace(
            _committed_offset=defaultdict(lambda: None), _gap=defaultdict(IntervalTree)
        )

    stock, ours = consumer(), consumer()
    await installed("faust.transport.consumer:Consumer._add_gap")(stock, SOURCE, 11, 15)
    assert stock._gap[SOURCE].overlaps(15)  # 15 has just come and counts as done
    await commits.add_gap(ours, SOURCE, 11, 15)
    assert ours._gap[SOURCE].overlaps(14)
    assert not ours._gap[SOURCE].overlaps(15)


# ---- c: order after recovery


class Resuming:
    """A recovery whose consumer fetches one record as soon as its partitions are open."""

    def __init__(self) -> None:
        self.queue: list[str] = []
        self.is_open = False
        self.is_fetched = False
        self.paused: set[TopicPartition] = set()
        self._answers_rebalance = 1
        self.completed = SimpleNamespace(set=lambda: None)
        self.log = logging.getLogger("test")
        self.log.dev = self.log.debug  # type: ignore[attr-defined]
        self.actives_for_table: dict[Any, Any] = {}
        self.standbys_for_table: dict[Any, Any] = {}
        nothing = lambda *_: None  # noqa: E731 - a stub
        self.tables = SimpleNamespace(
            values=list, on_actives_ready=nothing, on_standbys_ready=nothing
        )
        consumer = SimpleNamespace(
            assignment=lambda: {SOURCE, CHANGELOG},
            _thread=SimpleNamespace(
                _ensure_consumer=lambda: SimpleNamespace(
                    assignment=lambda: {TopicPartition(*SOURCE), TopicPartition(*CHANGELOG)},
                    pause=lambda *tps: self.paused.update(tps),
                ),
                call_thread=self.in_thread,
            ),
            resume_partitions=self.open,
            perform_seek=self.poll,
            resume_flow=nothing,
        )
        self.app = SimpleNamespace(
            consumer=consumer,
            consumer_generation_id=1,
            rebalancing_count=1,
            client_only=False,
            tables=SimpleNamespace(recovery=self),
            on_rebalance_complete=SimpleNamespace(send=self.pause),
            flow_control=SimpleNamespace(resume=self.queue.clear),
            conf=SimpleNamespace(broker_request_timeout=1),
            assignor=SimpleNamespace(assigned_standbys=list),
            on_rebalance_end=nothing,
            _fetcher=SimpleNamespace(maybe_start=self.poll),
        )

    def open(self, _: Any) -> None:
        self.is_open = True

    async def poll(self) -> None:
        if self.is_open and not self.is_fetched:
            self.is_fetched = True
            self.queue.append("record")

    async def pause(self) -> None: ...

    async def in_thread(self, call: Any) -> None:
        call()

    async def _wait(self, coroutine: Any, timeout: float) -> None:  # noqa: ASYNC109, ARG002 - Faust's
        await coroutine

    def _set_recovery_ended(self) -> None: ...

    def _is_changelog_tp(self, tp: Any) -> bool:
        return bool(tp == CHANGELOG)


@pytest.mark.parametrize("patched", [recovery.on_recovery_completed, recovery.resume_streams])
async def test_recovered_changelogs_are_left_out_of_the_fetches(patched: Any) -> None:
    ours = Resuming()
    await patched(ours, generation_id=1)
    assert ours.paused == {TopicPartition(*CHANGELOG)}


@pytest.mark.parametrize(
    ("name", "patched"),
    [
        ("on_recovery_completed", recovery.on_recovery_completed),
        ("_resume_streams", recovery.resume_streams),
    ],
)
async def test_a_record_fetched_while_reading_resumes_is_not_cleared_away(
    name: str, patched: Any
) -> None:
    stock, ours = Resuming(), Resuming()
    await installed(f"faust.tables.recovery:Recovery.{name}")(stock, generation_id=1)
    assert stock.is_fetched
    assert stock.queue == []  # fetched, cleared, never read again
    await patched(ours, generation_id=1)
    assert ours.queue == ["record"]


# ---- g: a recovery overtaken by the next rebalance


class Overtaken(Resuming):
    """A recovery during whose seek the next rebalance begins to revoke."""

    def __init__(self) -> None:
        super().__init__()
        self.app.consumer.perform_seek = self.revoked_meanwhile
        self.app.consumer.resume_flow = lambda: self.open(None)
        self.app.on_rebalance_end = lambda: self.ended.append("rebalance")
        self.ended: list[str] = []

    async def revoked_meanwhile(self) -> None:
        self.is_open = False
        self.app.rebalancing_count += 1


@pytest.mark.parametrize(
    ("name", "patched"),
    [
        ("on_recovery_completed", recovery.on_recovery_completed),
        ("_resume_streams", recovery.resume_streams),
    ],
)
async def test_a_recovery_that_the_next_rebalance_overtook_opens_nothing(
    name: str, patched: Any
) -> None:
    stock, ours = Overtaken(), Overtaken()
    await installed(f"faust.tables.recovery:Recovery.{name}")(stock, generation_id=1)
    assert stock.is_open  # in the middle of the next rebalance
    assert stock.ended == ["rebalance"]
    with pytest.raises(RebalanceAgain):
        await patched(ours, generation_id=1)
    assert not ours.is_open
    assert ours.ended == []


@pytest.mark.parametrize(("generation", "is_open"), [(1, True), (2, False)])
async def test_the_flow_opens_for_the_recovery_of_the_last_rebalance_only(
    generation: int, *, is_open: bool
) -> None:
    ours = Resuming()
    ours.app.rebalancing_count = 2
    ours.app.consumer_generation_id = 1

    async def quick(*_: Any) -> None: ...

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overtaken, "_on_rebalance", quick)
        await overtaken.on_rebalance(ours, set(), set(), set(), generation)
    opened: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overtaken, "_resume_flow", opened.append)
        overtaken.resume_flow(SimpleNamespace(app=ours.app))
    assert bool(opened) is is_open


# ---- i: what was asked before a rebalance


class Group:
    """A consumer of aiokafka's own fetcher and subscription, with no broker."""

    def __init__(self) -> None:
        self.subscriptions = SubscriptionState()
        self.subscriptions.subscribe({SOURCE.topic})
        client = SimpleNamespace(cluster=None)
        self.fetcher = Fetcher.__new__(Fetcher)
        self.fetcher._subscriptions = self.subscriptions
        self.fetcher._records = {}
        self.fetcher._fetch_waiters = set()
        self.fetcher._closed = False
        self.fetcher._loop = asyncio.get_running_loop()
        self.fetcher._wait_consume_future = asyncio.get_running_loop().create_future()
        self.consumer = SimpleNamespace(_fetcher=self.fetcher, _closed=False, _client=client)
        self.thread = SimpleNamespace(consumer=SimpleNamespace(flow_active=True))
        self.assign()

    def assign(self) -> None:
        self.subscriptions.assign_from_subscribed({TopicPartition(*SOURCE)})

    def arrive(self, offset: int) -> None:
        """A fetched batch stands ready."""
        result = FetchResult.__new__(FetchResult)
        result.getall = lambda _: [offset]
        result.has_more = lambda: False
        self.fetcher._records[TopicPartition(*SOURCE)] = result
        for waiter in list(self.fetcher._fetch_waiters):
            self.fetcher._notify(waiter)

    def ask(self, fetch_records: Any) -> "asyncio.Task[Any]":
        return asyncio.create_task(
            fetch_records(self.thread, self.consumer, {SOURCE}, timeout=1.0, max_records=500)
        )


@pytest.mark.parametrize("begins_first", [False, True], ids=["asked before", "asked during"])
async def test_what_was_asked_before_a_rebalance_drains_nothing_after_it(
    *, begins_first: bool
) -> None:
    name = "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records"
    outcomes = []
    for fetch_records in (installed(name), draining.fetch_records):
        group = Group()
        if begins_first:
            group.subscriptions.begin_reassignment()
        asked = group.ask(fetch_records)
        await asyncio.sleep(0.05)
        group.subscriptions.begin_reassignment()
        group.arrive(offset=79)  # still of the old assignment
        await asyncio.sleep(1.2)  # longer than it was to wait
        group.thread.consumer.flow_active = False
        group.assign()
        group.arrive(offset=80)
        outcomes.append(await asyncio.wait_for(asked, timeout=60))
    assert outcomes == [{TopicPartition(*SOURCE): [80]}, {}]


async def test_a_fetch_ends_with_its_records_or_its_time() -> None:
    group = Group()
    assert await group.ask(draining.fetch_records) == {}
    asked = group.ask(draining.fetch_records)
    await asyncio.sleep(0.05)
    group.arrive(offset=7)
    assert await asyncio.wait_for(asked, timeout=60) == {TopicPartition(*SOURCE): [7]}
    assert not group.fetcher._fetch_waiters


# ---- h: an answer that does not come in time


async def test_a_recovery_without_an_answer_is_a_crash_and_not_a_silent_end() -> None:
    async def timed_out(*_: Any, **__: Any) -> WaitResults:
        return WaitResults([], [], True)

    service = SimpleNamespace(
        wait_first=timed_out, should_stop=False, signal_recovery_start=asyncio.Event()
    )
    with pytest.raises(ServiceStopped):  # Faust leaves its loop at this, for good
        await installed("faust.tables.recovery:Recovery._wait")(service, None, 1)
    with pytest.raises(recovery.RecoveryTooSlow, match="1 s"):
        await recovery.wait(service, None, 1)
    service.should_stop = True
    with pytest.raises(ServiceStopped):
        await recovery.wait(service, None, 1)


# ---- d, e, f: flow


class Fetching:
    """A consumer with one fetched batch, and what it was asked to seek."""

    def __init__(self, offsets: list[int], expected: int | None = None, end: int = 100) -> None:
        self.app = SimpleNamespace(
            client_only=False,
            consumer_generation_id=1,
            monitor=SimpleNamespace(track_tp_end_offset=lambda *_: None),
        )
        self.log = logging.getLogger("test")
        self.log.dev = self.log.debug  # type: ignore[attr-defined]
        self.records = {SOURCE: [SimpleNamespace(offset=offset) for offset in offsets]}
        self.scheduler = SimpleNamespace(
            iterate=lambda records: iter([(tp, r) for tp, rs in records.items() for r in rs])
        )
        self.should_stop = False
        self.flow_active = True
        self.end = end
        self.start = 0
        self.sought: dict[Any, int] = {}
        self._active_partitions = {SOURCE}
        self._buffered_partitions: set[Any] = set()
        self._read_offset: dict[Any, int | None] = {}
        self._committed_offset: dict[Any, int | None] = {}
        self._acked = defaultdict(list)
        self._acked_index = defaultdict(set)
        self._gap = defaultdict(IntervalTree)
        self.committed: dict[Any, int | None] = {}
        self.timeouts: list[float] = []
        self.pause_while_fetching = False
        self.not_waiting_next_records = SimpleNamespace(set=lambda: None)
        if expected is not None:
            flow.expected_offsets(self)[SOURCE] = expected

    async def _wait_next_records(self, timeout: float) -> Any:  # noqa: ASYNC109, ARG002 - Faust's
        return self.records, set(self._active_partitions)

    def _get_active_partitions(self) -> Any:
        return self._active_partitions

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109
        self.timeouts.append(timeout)
        if self.pause_while_fetching:
            self._active_partitions.clear()
        # The filter of aiokafka's fetched_records.
        return {
            tp: records
            for tp, records in self.records.items()
            if not (active_partitions and tp not in active_partitions)
        }

    def assignment(self) -> Any:
        return {SOURCE}

    def highwater(self, _: Any) -> int:
        return self.end

    async def highwaters(self, *tps: Any) -> Any:
        return dict.fromkeys(tps, self.end)

    async def earliest_offsets(self, *tps: Any) -> Any:
        return dict.fromkeys(tps, self.start)

    async def seek_wait(self, offsets: Any) -> None:
        self.sought.update(offsets)

    async def seek_to_committed(self) -> Any:
        return self.committed

    def _is_changelog_tp(self, _: Any) -> bool:
        return False

    def _to_message(self, _: Any, record: Any) -> int:
        return int(record.offset)

    async def sleep(self, _: float) -> None: ...


async def delivered(getmany: Any, consumer: Any, stop_after: int | None = None) -> list[int]:
    seen: list[int] = []
    async for _, offset in getmany(consumer, 1.0):
        seen.append(offset)
        if len(seen) == stop_after:
            consumer.flow_active = False
    return seen


async def test_records_fetched_when_a_rebalance_stops_the_flow_are_fetched_again() -> None:
    before = HOLES.by_reason["flow"]
    stock, ours = Fetching([10, 11, 12], expected=10), Fetching([10, 11, 12], expected=10)
    stock_getmany = installed("faust.transport.consumer:Consumer.getmany")
    assert await delivered(stock_getmany, stock, stop_after=1) == [10]
    assert stock.sought == {}  # 11 and 12 are gone
    assert await delivered(flow.getmany, ours, stop_after=1) == [10]
    assert ours.sought == {SOURCE: 11}
    assert HOLES.by_reason["flow"] == before + 1


async def test_records_of_a_paused_partition_are_fetched_again() -> None:
    stock, ours = Fetching([10, 11], expected=10), Fetching([10, 11], expected=10)
    stock._active_partitions = ours._active_partitions = {OTHER}
    assert await delivered(installed("faust.transport.consumer:Consumer.getmany"), stock) == []
    assert stock.sought == {}
    assert await delivered(flow.getmany, ours) == []
    assert ours.sought == {SOURCE: 10}


async def test_a_source_partition_delivers_nothing_before_its_first_seek() -> None:
    stock, ours = Fetching([10, 11]), Fetching([10, 11])
    assert await delivered(installed("faust.transport.consumer:Consumer.getmany"), stock) == [
        10,
        11,
    ]  # to handlers whose rows are not recovered
    assert await delivered(flow.getmany, ours) == []
    ours._is_changelog_tp = lambda _: True  # type: ignore[method-assign]
    assert await delivered(flow.getmany, ours) == [10, 11]


@pytest.mark.parametrize("flow_active", [False, True])
async def test_records_drained_while_a_rebalance_is_being_sought_are_fetched_again(
    *, flow_active: bool
) -> None:
    """A getmany that waited through the rebalance drains a partition that was just sought."""

    class Draining(Fetching):
        async def earliest_offsets(self, *tps: Any) -> Any:  # asked after the seek to the commit
            self.flow_active = flow_active
            assert await delivered(flow.getmany, self) == []
            return await super().earliest_offsets(*tps)

        async def highwaters(self, *tps: Any) -> Any:
            await self.earliest_offsets(*tps)
            return await super().highwaters(*tps)

    consumer = Draining([80])
    consumer.committed = {SOURCE: 80}
    before = HOLES.by_reason["early"]
    await flow.perform_seek(consumer)
    assert consumer.sought == {SOURCE: 80}  # without a next record nothing would show the jump
    assert flow.expected_offsets(consumer) == {SOURCE: 80}
    assert HOLES.by_reason["early"] == before + 1


async def test_a_jump_is_sought_back_and_not_delivered() -> None:
    stock, ours = Fetching([10, 15], expected=10), Fetching([10, 15], expected=10)
    getmany = installed("faust.transport.consumer:Consumer.getmany")
    assert await delivered(getmany, stock) == [10, 15]  # 11 to 14 become a gap, committed past
    assert await delivered(flow.getmany, ours) == [10]
    assert ours.sought == {SOURCE: 11}


async def test_a_jump_over_records_that_retention_removed_is_no_hole() -> None:
    consumer = Fetching([15, 16], expected=10)
    consumer.start = 15
    assert await delivered(flow.getmany, consumer) == [15, 16]
    assert consumer.sought == {}


async def test_a_record_that_was_delivered_in_this_generation_comes_once() -> None:
    assert await delivered(flow.getmany, Fetching([8, 9, 10], expected=10)) == [10]


async def test_offsets_that_come_again_after_a_broker_lost_its_end_are_read() -> None:
    consumer = Fetching([0], expected=20_500, end=20_000)
    assert await delivered(flow.getmany, consumer) == []
    assert consumer.sought == {SOURCE: 10_500}
    assert flow.expected_offsets(consumer)[SOURCE] == 10_500
    assert consumer._committed_offset[SOURCE] is None


async def test_a_commit_beyond_the_end_of_the_log_starts_anew_before_it() -> None:
    consumer = Fetching([], end=900)
    consumer.committed = {SOURCE: 1000}
    await flow.perform_seek(consumer)
    assert consumer.sought == {SOURCE: 0}


async def test_paused_partitions_are_not_drained_when_a_rebalance_empties_the_open_ones() -> None:
    stock, ours = Fetching([10]), Fetching([10])
    for consumer in (stock, ours):
        consumer.pause_while_fetching = True
        consumer.records[OTHER] = [SimpleNamespace(offset=3)]  # paused from the start
    wait = installed("faust.transport.consumer:Consumer._wait_next_records")
    assert OTHER in (await wait(stock, 1.0))[0]
    drained, active = await flow.wait_next_records(ours, 1.0)
    assert OTHER not in drained
    assert active == {SOURCE}  # what was open when the fetch began, for patch d to compare


async def test_a_fetch_under_buffer_pressure_is_short() -> None:
    stock, ours = Fetching([10]), Fetching([10])
    stock._buffered_partitions = ours._buffered_partitions = {OTHER}
    await installed("faust.transport.consumer:Consumer._wait_next_records")(stock, 1.0)
    await flow.wait_next_records(ours, 1.0)
    assert (stock.timeouts, ours.timeouts) == ([1.0], [0.02])


async def test_a_partition_without_a_commit_is_sought_to_its_start() -> None:
    stock, ours = Fetching([]), Fetching([])
    stock.committed = ours.committed = {SOURCE: None}
    await installed("faust.transport.consumer:Consumer.perform_seek")(stock)
    assert stock.sought == {}  # stays behind what was fetched and cleared
    await flow.perform_seek(ours)
    assert ours.sought == {SOURCE: 0}
    assert flow.expected_offsets(ours) == {SOURCE: 0}


# ---- what was patched


@pytest.fixture
def applied() -> None:
    faust_patches.apply()


@pytest.mark.parametrize("name", sorted(pinned.DIGESTS))
def test_the_patched_function_is_the_one_the_patch_was_written_for(name: str) -> None:
    assert pinned.digest_of(installed(name)) == pinned.DIGESTS[name]


def test_another_source_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "faust.transport.consumer:Consumer._add_gap"
    monkeypatch.setitem(pinned.DIGESTS, name, "0" * 64)
    with pytest.raises(pinned.UnknownFaust, match="_add_gap"):
        pinned.check()


@pytest.mark.parametrize("package", sorted(pinned.VERSIONS))
def test_another_version_refuses_to_start(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pinned.VERSIONS, package, "9.9.9")
    with pytest.raises(pinned.UnknownFaust, match=package):
        pinned.check()


def test_a_missing_compiled_stream_iterator_refuses_to_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(faust.streams, "_CStreamIterator", None)
    with pytest.raises(pinned.UnknownFaust, match="compiled"):
        pinned.check()


def test_the_patches_are_in_place_after_apply(applied: None) -> None:
    from faust.tables.recovery import Recovery
    from faust.transport.consumer import Consumer
    from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Producer

    assert Consumer._new_offset is commits.new_offset
    assert Consumer._add_gap is commits.add_gap
    assert Consumer.getmany is flow.getmany
    assert Consumer._wait_next_records is flow.wait_next_records
    assert Consumer.perform_seek is flow.perform_seek
    assert Recovery.on_recovery_completed is recovery.on_recovery_completed
    assert Recovery._resume_streams is recovery.resume_streams
    assert Recovery._wait is recovery.wait
    assert AIOKafkaConsumerThread._fetch_records is draining.fetch_records
    assert Recovery.on_rebalance is overtaken.on_rebalance
    assert Consumer.resume_flow is overtaken.resume_flow
    assert AIOKafkaConsumerThread._create_worker_consumer is quiet.create_worker_consumer
    assert Producer._new_producer is quiet.new_producer


def test_hot_loggers_make_no_debug_records(applied: None) -> None:
    assert not logging.getLogger("aiokafka.consumer.fetcher").isEnabledFor(logging.DEBUG)
    assert not logging.getLogger("faust.topics").isEnabledFor(logging.DEBUG)
