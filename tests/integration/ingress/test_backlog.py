"""Nobody reads the requests: the ingress notices before one grows too old to be handled."""

import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from app.domain.errors import TemporaryFailure
from app.ingress.backlog_watch import BacklogWatch
from app.kafka.backlog import BacklogUnknown, oldest_unread_at_ms
from app.kafka.topics import EXPORT_REQUESTS, OLDEST_HANDLED_MS, TASK_APP

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


async def test_the_oldest_unread_request_of_all_partitions_is_found(broker, topics):
    async def oldest():
        return await oldest_unread_at_ms(broker, topics, EXPORT_REQUESTS, TASK_APP)

    now_ms = time.time_ns() // 1_000_000
    assert await oldest() is None
    await put(broker, topics, (0, now_ms - 9_000), (0, now_ms - 2_000), (3, now_ms - 5_000))
    assert await oldest() == now_ms - 9_000
    await commit(broker, topics, p0=1)
    assert await oldest() == now_ms - 5_000
    await commit(broker, topics, p0=2, p3=1)
    assert await oldest() is None


async def test_a_broker_that_is_not_there_says_nothing(topics):
    with pytest.raises(BacklogUnknown):
        await oldest_unread_at_ms("127.0.0.1:1", topics, EXPORT_REQUESTS, TASK_APP)


NOW_MS = 1_800_000_000_000


def watch_that_finds(*found):
    """A watch whose looks find these, one after the other."""
    left = list(found)

    async def oldest():
        one = left.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    return BacklogWatch(oldest, OLDEST_HANDLED_MS, lambda: NOW_MS)


async def test_requests_are_refused_for_now_while_the_oldest_is_too_old():
    watch = watch_that_finds(NOW_MS - OLDEST_HANDLED_MS - HOUR_MS, NOW_MS - HOUR_MS, None)
    await watch.look()
    with pytest.raises(TemporaryFailure, match=r"waited for 85\.0 hours"):
        watch.check()
    await watch.look()
    watch.check()
    await watch.look()
    watch.check()


async def test_a_broker_without_an_answer_changes_nothing():
    watch = watch_that_finds(BacklogUnknown("no answer"), 0, BacklogUnknown("no answer"))
    await watch.look()
    watch.check()
    await watch.look()
    await watch.look()
    with pytest.raises(TemporaryFailure):
        watch.check()
