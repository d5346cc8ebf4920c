"""Nobody reads the requests: the ingress notices before one grows too old to be handled."""

import asyncio
import time
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from app.domain.errors import TemporaryFailure
from app.ingress import backlog_watch
from app.ingress.backlog_watch import BacklogWatch
from app.kafka.backlog import BacklogUnknown, Waiting, oldest_unread
from app.kafka.topics import EXPORT_REQUESTS, OLDEST_HANDLED_MS, TASK_APP, TILE_RANGE_WORK

HOUR_MS = 3_600_000


async def put(broker, topics, *records):
    """Records as partition and timestamp."""
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    name = topics.name(EXPORT_REQUESTS)
    for partition, at_ms in records:
        await producer.send_and_wait(name, b"x", partition=partition, timestamp_ms=at_ms)
    await producer.stop()


async def commit(broker, topics, **offsets):
    name = topics.name(EXPORT_REQUESTS)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker, group_id=topics.prefix + TASK_APP, enable_auto_commit=False
    )
    await consumer.start()
    places = {
        TopicPartition(name, int(partition[1:])): OffsetAndMetadata(offset, "")
        for partition, offset in offsets.items()
    }
    consumer.assign(list(places))
    await consumer.commit(places)
    await consumer.stop()


async def a_partition_without_records(broker, topics):
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, group_id=None)
    await consumer.start()
    name = topics.name(EXPORT_REQUESTS)
    places = [TopicPartition(name, number) for number in range(EXPORT_REQUESTS.partitions)]
    ends = await consumer.end_offsets(places)
    await consumer.stop()
    return next(place.partition for place, end in ends.items() if end == 0)


@pytest.fixture
def client_of_impatient_watch(monkeypatch, request):
    """A client of an ingress that looks at the backlog all the time."""
    monkeypatch.setattr(backlog_watch, "LOOK_EVERY_S", 0.01)
    return request.getfixturevalue("client")


READ_BY = ((EXPORT_REQUESTS, TASK_APP), (TILE_RANGE_WORK, TASK_APP))


async def test_the_oldest_unread_record_of_all_partitions_is_found(broker, topics):
    async def oldest_at_ms():
        waiting = await oldest_unread(broker, topics, READ_BY)
        return waiting and waiting.at_ms

    now_ms = time.time_ns() // 1_000_000
    assert await oldest_at_ms() is None
    await put(broker, topics, (0, now_ms - 9_000), (0, now_ms - 2_000), (3, now_ms - 5_000))
    assert await oldest_at_ms() == now_ms - 9_000
    await commit(broker, topics, p0=1)
    assert await oldest_at_ms() == now_ms - 5_000
    await commit(broker, topics, p0=2, p3=1)
    assert await oldest_at_ms() is None


async def test_a_broker_that_is_not_there_says_nothing(topics):
    with pytest.raises(BacklogUnknown):
        await oldest_unread("127.0.0.1:1", topics, READ_BY)


NOW_MS = 1_800_000_000_000
OLD = Waiting("export-requests", 0, 7, NOW_MS - OLDEST_HANDLED_MS - HOUR_MS)
YOUNG = Waiting("export-requests", 0, 9, NOW_MS - HOUR_MS)


def watch_that_finds(*found):
    """A watch whose looks find these, one after the other."""
    left = list(found)

    async def oldest():
        one = left.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    return BacklogWatch(oldest, OLDEST_HANDLED_MS, lambda: NOW_MS)


async def test_requests_are_refused_for_now_while_a_record_stays_unread_for_too_long():
    watch = watch_that_finds(OLD, OLD, YOUNG, YOUNG, None)
    await watch.look()
    watch.check()
    await watch.look()
    with pytest.raises(TemporaryFailure, match=r"export-requests has waited for 85\.0 hours"):
        watch.check()
    for _ in range(3):
        await watch.look()
        watch.check()


async def test_repeats_of_old_records_that_are_read_at_once_refuse_nothing():
    watch = watch_that_finds(OLD, replace(OLD, offset=8))
    for _ in range(2):
        await watch.look()
        watch.check()


async def test_a_broker_without_an_answer_changes_nothing():
    watch = watch_that_finds(BacklogUnknown("no answer"), OLD, OLD, BacklogUnknown("no answer"))
    for _ in range(4):
        await watch.look()
    with pytest.raises(TemporaryFailure):
        watch.check()


async def test_a_watch_that_is_cancelled_ends_its_look_first():
    began, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def oldest():
        began.set()
        await may_end.wait()
        ended.set()

    running = asyncio.create_task(BacklogWatch(oldest, OLDEST_HANDLED_MS, lambda: NOW_MS).run())
    await began.wait()
    for _ in range(3):
        running.cancel()
        await asyncio.sleep(0)
        assert not running.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


async def test_while_nobody_reads_requests_none_is_accepted(
    client_of_impatient_watch, broker, topics, golden, eventually
):
    client = client_of_impatient_watch

    async def answers(status):
        async with client.post("/create", json=golden) as answer:
            told = await answer.json()
            if answer.status == 503:
                assert "nobody reads it" in told["message"]
                assert int(answer.headers["Retry-After"]) > 0
            return answer.status == status

    assert await answers(200)
    # Behind the request that was accepted it would not be the first that is unread.
    number = await a_partition_without_records(broker, topics)
    await put(broker, topics, (number, time.time_ns() // 1_000_000 - OLDEST_HANDLED_MS))
    await eventually(lambda: answers(503), deadline_s=60)
    await commit(broker, topics, **{f"p{number}": 1})
    await eventually(lambda: answers(200), deadline_s=60)
