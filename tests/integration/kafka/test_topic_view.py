import asyncio
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer

from app.domain.records import RequestConfirmed, Tick
from app.kafka.embedded_broker import EmbeddedBroker
from app.kafka.producer import RecordProducer
from app.kafka.topic_admin import create_topics
from app.kafka.topic_view import TopicView
from app.kafka.topics import EXPORT_PROGRESS, EXPORT_REGISTRY, Topics

REGISTRY = [EXPORT_REGISTRY]


class Seen:
    """What a view called back with."""

    def __init__(self):
        self.records = []
        self.resets = []

    def on_record(self, viewed):
        self.records.append(viewed)

    def on_reset(self, topic, partition):
        self.resets.append((topic, partition))
        self.records = [
            viewed for viewed in self.records if (viewed.topic, viewed.partition) != self.resets[-1]
        ]

    def times(self):
        return [viewed.record.at_ms for viewed in self.records]


@asynccontextmanager
async def viewing(bootstrap, topics, codec, seen, names=REGISTRY):
    view = TopicView(
        bootstrap, topics, names, codec, on_record=seen.on_record, on_reset=seen.on_reset
    )
    task = asyncio.create_task(view.run())
    try:
        yield view
    finally:
        task.cancel()
        await asyncio.wait([task])


async def send_raw(bootstrap, topic, value, key=b"k"):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, key=key, headers=[("from", b"test")])
    finally:
        await producer.stop()


async def test_it_shows_what_was_there_and_what_comes(broker, topics, codec, eventually):
    seen = Seen()
    async with RecordProducer(broker, codec, topics) as producer:
        for at_ms in range(3):
            await producer.send(EXPORT_REGISTRY, f"r-{at_ms}", Tick(at_ms))
        async with viewing(broker, topics, codec, seen) as view:
            await asyncio.wait_for(view.caught_up.wait(), 60)
            assert seen.times() == [0, 1, 2]
            assert [viewed.key for viewed in seen.records] == ["r-0", "r-1", "r-2"]
            assert {viewed.topic for viewed in seen.records} == {"export-registry"}
            await producer.send(EXPORT_REGISTRY, "r-3", Tick(3))
            await eventually(lambda: seen.times() == [0, 1, 2, 3])
            assert view.next_offsets() == {("export-registry", 0): 4}
            assert view.is_connected


async def test_it_reads_all_partitions_of_several_topics(broker, topics, codec, eventually):
    seen = Seen()
    async with RecordProducer(broker, codec, topics) as producer:
        for partition in range(6):
            await producer.send(EXPORT_PROGRESS, "k", Tick(partition), partition)
        await producer.send(EXPORT_REGISTRY, "k", Tick(6))
    names = ["export-progress", EXPORT_REGISTRY]
    async with viewing(broker, topics, codec, seen, names) as view:
        await asyncio.wait_for(view.caught_up.wait(), 60)
        assert sorted(seen.times()) == list(range(7))


async def test_an_empty_topic_is_caught_up_at_once(broker, topics, codec):
    async with viewing(broker, topics, codec, Seen()) as view:
        await asyncio.wait_for(view.caught_up.wait(), 60)


async def test_a_tombstone_is_shown_and_garbage_is_counted(broker, topics, codec):
    seen = Seen()
    name = topics.name(EXPORT_REGISTRY)
    await send_raw(broker, name, b"garbage")
    await send_raw(broker, name, None, key=b"gone")
    await send_raw(broker, name, codec.encode(Tick(1)))
    async with viewing(broker, topics, codec, seen) as view:
        await asyncio.wait_for(view.caught_up.wait(), 60)
        assert view.invalid_count == 1
    assert [(viewed.key, viewed.record) for viewed in seen.records] == [
        ("gone", None),
        ("k", Tick(1)),
    ]
    assert seen.records[0].headers == (("from", b"test"),)


async def test_it_waits_for_topics_and_creates_none(broker, topic_prefix, codec, eventually):
    topics = Topics(topic_prefix)
    async with viewing(broker, topics, codec, Seen()) as view:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(view.caught_up.wait(), 0.5)
        report = await create_topics(broker, topics)
        assert len(report.created) == len(list(topics))
        await asyncio.wait_for(view.caught_up.wait(), 60)


async def test_what_the_callback_raises_ends_the_view(broker, topics, codec):
    def fail(_viewed):
        raise ZeroDivisionError

    await send_raw(broker, topics.name(EXPORT_REGISTRY), codec.encode(Tick(1)))
    view = TopicView(broker, topics, REGISTRY, codec, on_record=fail)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(view.run(), 60)


@pytest.fixture
async def own_broker(tmp_path):
    """Run a broker that a test may stop and kill, with the topics of the catalogue."""
    with EmbeddedBroker(tmp_path) as embedded:
        await create_topics(embedded.address, Topics())
        yield embedded


async def test_a_broker_that_comes_back_is_read_on_from_where_it_was(own_broker, codec, eventually):
    seen = Seen()
    topics = Topics()
    async with viewing(own_broker.address, topics, codec, seen) as view:
        await send_raw(own_broker.address, "export-registry", codec.encode(Tick(1)))
        await eventually(lambda: seen.times() == [1])
        own_broker.stop()
        await eventually(lambda: not view.is_connected)
        own_broker.start()
        await send_raw(own_broker.address, "export-registry", codec.encode(Tick(2)))
        await eventually(lambda: seen.times() == [1, 2])
        assert view.reset_count == 0


async def test_a_broker_that_lost_everything_is_read_again(own_broker, codec, eventually):
    seen = Seen()
    topics = Topics()
    async with viewing(own_broker.address, topics, codec, seen) as view:
        for at_ms in (1, 2):
            await send_raw(own_broker.address, "export-registry", codec.encode(Tick(at_ms)))
        await eventually(lambda: seen.times() == [1, 2])
        own_broker.stop()
        (own_broker.data_dir / "kafka.json").unlink()
        own_broker.start()
        await create_topics(own_broker.address, topics)
        await send_raw(own_broker.address, "export-registry", codec.encode(Tick(3)))
        await eventually(lambda: seen.times() == [3])
        assert seen.resets == [("export-registry", 0)]
        await asyncio.wait_for(view.caught_up.wait(), 60)


async def test_offsets_given_again_while_it_was_away_are_noticed(own_broker, codec, eventually):
    # As many records as before stand in the topic: the offsets alone say nothing is new.
    seen = Seen()
    topics = Topics()
    async with viewing(own_broker.address, topics, codec, seen) as view:
        for at_ms in (1, 2):
            await send_raw(own_broker.address, "export-registry", codec.encode(Tick(at_ms)))
        await eventually(lambda: seen.times() == [1, 2])
        away = view._bootstrap
        view._bootstrap = "127.0.0.1:1"
        own_broker.stop()
        await eventually(lambda: not view.is_connected)
        (own_broker.data_dir / "kafka.json").unlink()
        own_broker.start()
        await create_topics(own_broker.address, topics)
        for at_ms in (3, 4, 5):
            await send_raw(own_broker.address, "export-registry", codec.encode(Tick(at_ms)))
        view._bootstrap = away
        await eventually(lambda: seen.times() == [3, 4, 5])
        assert view.reset_count == 1


async def test_after_kill_9_the_view_equals_the_broker(own_broker, codec, eventually):
    seen = Seen()
    topics = Topics()
    async with viewing(own_broker.address, topics, codec, seen):
        async with RecordProducer(own_broker.address, codec, topics) as producer:
            for number in range(300):
                await producer.send(EXPORT_REGISTRY, "k", RequestConfirmed("r", number))
        await eventually(lambda: len(seen.records) == 300)
        own_broker.kill()
        own_broker.start()
        await create_topics(own_broker.address, topics)
        async with RecordProducer(own_broker.address, codec, topics) as producer:
            for number in range(1000, 1400):
                await producer.send(EXPORT_REGISTRY, "k", RequestConfirmed("r", number))

        fresh = Seen()
        async with viewing(own_broker.address, topics, codec, fresh) as other:
            await asyncio.wait_for(other.caught_up.wait(), 60)
        await eventually(lambda: seen.times() == fresh.times())
        assert seen.times()[-1] == 1399
