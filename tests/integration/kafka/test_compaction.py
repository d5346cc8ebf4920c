import asyncio

import pytest
from aiokafka import AIOKafkaProducer

from app.domain.records import Tick
from app.kafka.compaction import compact_at_rest
from app.kafka.owned_table import RowVersion
from app.kafka.topic_admin import check_topics
from app.kafka.topic_view import TopicView

pytestmark = pytest.mark.timeout(60)

TABLE = "coordinator-requests-changelog"


async def write(broker, topic, rows, partition=0):
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    try:
        sent = [
            await producer.send(
                topic, value, key=key, partition=partition, headers=headers, timestamp_ms=number + 1
            )
            for number, (key, value, headers) in enumerate(rows)
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def read(broker, topics, codec, topic):
    seen = []
    view = TopicView(broker, topics, [topic], codec, on_record=seen.append)
    task = asyncio.create_task(view.run())
    await asyncio.wait_for(view.caught_up.wait(), 10)
    task.cancel()
    await asyncio.wait([task])
    return seen


def row(codec, key, number, *, version=None):
    headers = RowVersion(version, 0).headers() if version is not None else []
    return key, codec.encode(Tick(number)), headers


async def test_only_the_newest_row_of_each_key_stays(broker, topics, codec):
    rows = [row(codec, b"k%d" % (number % 3), number) for number in range(300)]
    await write(broker, topics.name(TABLE), [*rows, (b"k0", None, [])])
    dropped = await compact_at_rest(broker, topics, least_garbage_count=100)
    assert dropped == {topics.name(TABLE): 299}
    seen = await read(broker, topics, codec, TABLE)
    assert [(viewed.key, viewed.record.at_ms) for viewed in seen] == [("k1", 298), ("k2", 299)]
    assert [viewed.timestamp_ms for viewed in seen] == [299, 300]
    assert await compact_at_rest(broker, topics, least_garbage_count=1) == {}
    assert (await check_topics(broker, topics)).is_sound


async def test_an_older_row_written_later_does_not_win(broker, topics, codec):
    rows = [row(codec, b"k", number, version=number) for number in range(200)]
    await write(broker, topics.name(TABLE), [*rows, row(codec, b"k", 7, version=7)])
    await compact_at_rest(broker, topics, least_garbage_count=100)
    (seen,) = await read(broker, topics, codec, TABLE)
    assert seen.record == Tick(199)
    assert seen.headers == (("row-version", b"199-0"),)


async def test_consumers_of_results_see_none_again(broker, topics, codec):
    gone = [row(codec, b"old-%d" % number, number) for number in range(100)]
    tombstones = [(key, None, []) for key, _value, _headers in gone]
    kept = [row(codec, b"new", 1000)]
    await write(broker, topics.name("export-finished"), [*gone, *tombstones, *kept])
    before = (await read(broker, topics, codec, "export-finished"))[-1]
    await compact_at_rest(broker, topics, least_garbage_count=50)
    assert await read(broker, topics, codec, "export-finished") == [before]


async def test_small_partitions_and_inboxes_are_left_alone(broker, topics, codec):
    rows = [row(codec, b"k", number) for number in range(50)]
    await write(broker, topics.name(TABLE), rows)
    await write(broker, topics.name("export-registry"), rows * 30)
    assert await compact_at_rest(broker, topics) == {}
    assert len(await read(broker, topics, codec, TABLE)) == 50
