"""The wrapper around a handler: what is tried again, what is buried, what ends the process."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

from app.domain.decision import NOTHING, Decision, Send
from app.domain.errors import InvalidRecord, SourceUnavailable
from app.domain.inbox import InboxPosition
from app.kafka import edge as edge_module
from app.kafka.delivery import CUT_VALUE_BYTES, DeliveryFailed, DeliveryRefused, Outbox, confirmed
from app.kafka.edge import Edge, Handling
from app.kafka.faust_app import AppPlace, build_worker_app
from app.kafka.group_fence import PartitionLost
from app.kafka.task_agent import TaskAgent
from app.kafka.topics import OLDEST_HANDLED_MS


class TextCodec:
    def encode(self, record: Any) -> bytes:
        return str(record).encode()

    def decode(self, payload: bytes) -> Any:
        if payload == b"garbage":
            raise InvalidRecord("garbage")
        return payload.decode()


class Producer:
    """Confirms each record unless the next outcome is an error."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, bytes, bytes]] = []
        self.headers: list[list[tuple[str, bytes]]] = []
        self.outcomes: list[Exception] = []

    async def send(self, topic: str, key: bytes, value: bytes, *more: Any) -> Any:
        future = asyncio.get_running_loop().create_future()
        if self.outcomes:
            future.set_exception(self.outcomes.pop(0))
        else:
            self.posts.append((topic, key, value))
            self.headers.append(more[-1])
            future.set_result(SimpleNamespace(offset=len(self.posts)))
        return future


class Bench:
    def __init__(self, run_folder: Path | None = None) -> None:
        self.producer = Producer()
        self.lost = False
        self.exits: list[int] = []

        async def producer() -> Producer:
            return self.producer

        async def fresh(_: int) -> None:
            if self.lost:
                raise PartitionLost("gone")

        app = SimpleNamespace(
            maybe_start_producer=producer, group_fence=SimpleNamespace(fresh=fresh)
        )
        self.edge = Edge(
            app, TextCodec(), lambda name: f"p-{name}", run_folder, leave=self.exits.append
        )
        self.handling = Handling(self.edge, "inbox")

    async def handle(
        self,
        payload: bytes | None,
        handler: Callable[..., Any],
        timestamp_s: float | None = None,
        offset: int = 7,
    ) -> None:
        message = SimpleNamespace(
            topic="p-inbox",
            partition=1,
            offset=offset,
            key=b"k",
            value=payload,
            generation_id=1,
            timestamp=timestamp_s,
        )
        agent = TaskAgent(self.handling, {str: handler})
        await self.handling.handled(SimpleNamespace(message=message), agent._worked)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_module, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(edge_module, "_LONGEST_PAUSE_S", 0.002)


async def one_send(*_: Any) -> Decision:
    return Decision(sends=(Send("out", "k", "told"),))


async def test_what_a_handler_decides_is_sent() -> None:
    bench = Bench()
    await bench.handle(b"record", one_send)
    assert bench.producer.posts == [("p-out", b"k", b"told")]


async def test_a_failed_delivery_is_sent_again_until_it_is_confirmed() -> None:
    bench = Bench()
    bench.producer.outcomes = [KafkaTimeoutError() for _ in range(3)]
    await bench.handle(b"record", one_send)
    assert bench.producer.posts == [("p-out", b"k", b"told")]
    assert bench.exits == []


async def test_a_temporary_failure_calls_the_handler_again() -> None:
    bench = Bench()
    calls: list[InboxPosition] = []

    async def fails_twice(_: str, position: InboxPosition) -> Decision:
        calls.append(position)
        if len(calls) < 3:
            raise SourceUnavailable
        return NOTHING

    await bench.handle(b"record", fails_twice)
    assert calls == [InboxPosition(1, 7)] * 3
    assert bench.exits == []


async def test_a_temporary_failure_beyond_its_bound_ends_the_process() -> None:
    bench = Bench()
    bench.handling.temporary_failures_s = 0.01

    async def fails(*_: Any) -> Decision:
        raise SourceUnavailable

    await bench.handle(b"record", fails)
    assert bench.exits == [70]


@pytest.mark.parametrize("payload", [b"garbage", None])
async def test_bytes_that_are_no_record_are_buried(payload: bytes | None) -> None:
    bench = Bench()
    await bench.handle(payload, one_send)
    assert bench.producer.posts == [("p-dead-letters", b"k", payload)]


async def test_an_invalid_record_is_buried_with_its_bytes() -> None:
    bench = Bench()

    async def refuses(*_: Any) -> Decision:
        raise InvalidRecord("no")

    await bench.handle(b"record", refuses)
    assert bench.producer.posts == [("p-dead-letters", b"k", b"record")]


async def test_a_handler_may_send_and_bury() -> None:
    bench = Bench()

    async def both(*_: Any) -> Decision:
        return Decision(sends=(Send("out", "k", "told"),), dead_letter="why")

    await bench.handle(b"record", both)
    assert [post[0] for post in bench.producer.posts] == ["p-out", "p-dead-letters"]


async def test_an_unknown_record_type_is_passed_over() -> None:
    bench = Bench()
    bench.edge.codec.decode = lambda _: 5  # type: ignore[method-assign]
    await bench.handle(b"record", one_send)
    assert (bench.producer.posts, bench.exits) == ([], [])


async def test_a_bug_ends_the_process_and_is_blamed_on_its_record(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def bug(*_: Any) -> Decision:
        raise ZeroDivisionError

    await bench.handle(b"record", bug)
    assert bench.exits == [70]
    again = Bench(tmp_path)
    assert again.handling.black_box is not None
    assert again.handling.black_box.deaths == {InboxPosition(1, 7): 1}


async def test_a_record_too_large_for_the_broker_is_a_bug_and_not_tried_for_ever() -> None:
    bench = Bench()
    bench.producer.outcomes = [MessageSizeTooLargeError() for _ in range(2)]
    await bench.handle(b"record", one_send)
    assert bench.exits == [70]


async def test_a_lost_partition_ends_the_process_and_blames_no_record(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.lost = True
    await bench.handle(b"record", one_send)
    assert (bench.exits, bench.producer.posts) == ([70], [])
    again = Bench(tmp_path)
    assert again.handling.black_box is not None
    assert again.handling.black_box.deaths == {}


def full_disk(run_folder: Path) -> None:
    """No count can be written any more: its draft is a folder."""
    (run_folder / "in-hand-inbox.tmp").mkdir()


@pytest.mark.parametrize("is_lost", [False, True], ids=["a bug", "a lost partition"])
async def test_the_process_ends_though_nothing_can_be_written_on_the_disk(
    tmp_path: Path, is_lost: bool
) -> None:
    """Who returned instead would have acknowledged the record."""
    bench = Bench(tmp_path)
    bench.lost = is_lost
    full_disk(tmp_path)

    async def bug(*_: Any) -> Decision:
        raise ZeroDivisionError

    await bench.handle(b"record", bug)
    assert bench.exits == [70]


async def test_a_suspect_is_handled_though_it_cannot_be_forgiven_on_the_disk(
    tmp_path: Path,
) -> None:
    box = Bench(tmp_path).handling.black_box
    assert box is not None
    box.take_up(InboxPosition(1, 7))  # and the process dies
    bench = Bench(tmp_path)
    full_disk(tmp_path)
    await bench.handle(b"record", one_send)
    assert (bench.producer.posts, bench.exits) == ([("p-out", b"k", b"told")], [])


@pytest.mark.parametrize("exists", [True, False], ids=["full", "read-only"])
async def test_a_process_starts_though_nothing_can_be_written_on_the_disk(
    tmp_path: Path, exists: bool
) -> None:
    run_folder = tmp_path / "run"
    if exists:
        Bench(run_folder)
        full_disk(run_folder)
    else:
        run_folder.touch()  # no folder can be made there
    bench = Bench(run_folder)
    await bench.handle(b"record", one_send)
    assert (bench.producer.posts, bench.exits) == ([("p-out", b"k", b"told")], [])


async def test_the_suspects_of_a_death_are_handled_one_at_a_time(tmp_path: Path) -> None:
    box = Bench(tmp_path).handling.black_box
    assert box is not None
    for offset in range(3):
        box.take_up(InboxPosition(1, offset))
    bench = Bench(tmp_path)
    in_hand: set[int] = set()
    most_suspects = 0

    async def work(_: str, position: InboxPosition) -> Decision:
        nonlocal most_suspects
        in_hand.add(position.offset)
        most_suspects = max(most_suspects, len(in_hand & {0, 1, 2}))
        await asyncio.sleep(0)
        in_hand.remove(position.offset)
        return NOTHING

    await asyncio.gather(
        *(bench.handle(b"record", work, offset=offset) for offset in (0, 1, 2, 3, 4))
    )
    assert most_suspects == 1
    assert bench.handling.black_box is not None
    assert bench.handling.black_box.deaths == {}


async def test_poison_gets_its_failed_result_and_a_dead_letter(tmp_path: Path) -> None:
    for _ in range(3):
        box = Bench(tmp_path).handling.black_box
        assert box is not None
        box.take_up(InboxPosition(1, 7))
    bench = Bench(tmp_path)
    bench.handling.on_poison = lambda record, reason: (Send("out", str(record), reason),)
    await bench.handle(b"record", one_send)
    assert [post[0] for post in bench.producer.posts] == ["p-out", "p-dead-letters"]
    assert bench.producer.posts[0][1] == b"record"
    assert bench.exits == []


async def test_poison_whose_result_is_too_large_is_buried_all_the_same(tmp_path: Path) -> None:
    for _ in range(3):
        box = Bench(tmp_path).handling.black_box
        assert box is not None
        box.take_up(InboxPosition(1, 7))
    bench = Bench(tmp_path)
    bench.handling.on_poison = lambda record, reason: (Send("out", str(record), reason),)
    bench.producer.outcomes = [MessageSizeTooLargeError()]
    await bench.handle(b"record", one_send)
    assert [post[0] for post in bench.producer.posts] == ["p-dead-letters"]
    assert bench.exits == []


async def test_a_record_older_than_half_the_retention_is_buried_and_not_handled() -> None:
    bench = Bench()
    old_s = (bench.edge.now_ms() - OLDEST_HANDLED_MS) / 1000
    await bench.handle(b"record", one_send, timestamp_s=old_s - 60)
    assert bench.producer.posts == [("p-dead-letters", b"k", b"record")]
    await bench.handle(b"record", one_send, timestamp_s=old_s + 60)
    assert bench.producer.posts[1:] == [("p-out", b"k", b"told")]


async def test_a_letter_that_is_too_large_is_cut_and_says_so() -> None:
    bench = Bench()
    bench.producer.outcomes = [MessageSizeTooLargeError()]
    bench.edge.codec.decode = refuse_all  # type: ignore[method-assign]
    await bench.handle(b"x" * 20_000_000, one_send)
    assert bench.producer.posts == [("p-dead-letters", b"k", b"x" * CUT_VALUE_BYTES)]
    assert dict(bench.producer.headers[0])["cut"] == b"1 20000000"
    assert bench.exits == []


def refuse_all(_: bytes) -> Any:
    raise InvalidRecord("no record")


async def test_all_confirmations_are_awaited_before_a_failure_is_told() -> None:
    loop = asyncio.get_running_loop()
    fine, failed = loop.create_future(), loop.create_future()
    waiting = asyncio.create_task(confirmed([fine, failed]))
    failed.set_exception(KafkaTimeoutError())
    await asyncio.sleep(0)
    assert not waiting.done()
    fine.set_result(None)
    with pytest.raises(DeliveryFailed):
        await waiting
    refused = loop.create_future()
    refused.set_exception(MessageSizeTooLargeError())
    with pytest.raises(DeliveryRefused):
        await confirmed([refused])


async def test_a_thousand_sends_go_in_chunks() -> None:
    bench = Bench()
    outbox = Outbox(bench.edge.faust_app, TextCodec(), str)
    await outbox.send_all([Send("out", "k", number) for number in range(1200)])
    assert [value for _, _, value in bench.producer.posts] == [b"%d" % n for n in range(1200)]


async def test_a_crash_inside_faust_ends_the_process_before_anything_is_committed(
    tmp_path: Path,
) -> None:
    exits: list[int] = []
    app = build_worker_app(AppPlace(["localhost:1"], tmp_path, 6, leave=exits.append))
    app._crash(RuntimeError("consumer"))
    assert exits == [70]


def test_the_embedded_broker_needs_an_instance_id(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="instance_id"):
        AppPlace(["localhost:1"], tmp_path, 6, embedded=True)


async def test_an_app_opens_no_port_makes_no_topics_and_keeps_its_name(tmp_path: Path) -> None:
    place = AppPlace(["localhost:1"], tmp_path / "new", 6, prefix="t-", instance_id="w1")
    conf = build_worker_app(place).conf
    assert conf.id == "t-worker"
    assert not conf.web_enabled
    assert not conf.topic_allow_declare
    assert conf.topic_disable_leader
    assert str(conf.canonical_url) == "http://w1.worker.invalid:6066"
    assert conf.broker_session_timeout == 30
    assert conf.producer_acks == -1
    assert (tmp_path / "new").is_dir()
