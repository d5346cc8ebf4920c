import asyncio

import pytest

from app.domain.records import RequestConfirmed
from app.kafka import producer as producer_module
from app.kafka.delivery import DeliveryFailed, DeliveryRefused
from app.kafka.embedded_broker import EmbeddedBroker
from app.kafka.producer import RecordProducer
from app.kafka.topic_admin import create_topics
from app.kafka.topics import EXPORT_REGISTRY, MAX_MESSAGE_BYTES, Topics

A_RECORD = RequestConfirmed("r-1", 1_700_000_000_000)


async def test_a_send_returns_the_offset_the_broker_gave(broker, topics, codec):
    async with RecordProducer(broker, codec, topics) as producer:
        offsets = [await producer.send(EXPORT_REGISTRY, "r-1", A_RECORD) for _ in range(3)]
    assert offsets == [0, 1, 2]


async def test_a_record_of_seven_million_bytes_passes(broker, topics, codec):
    large = RequestConfirmed("r" * 7_000_000, 0)
    async with RecordProducer(broker, codec, topics) as producer:
        assert await producer.send("export-registry", "r-1", large) == 0


async def test_a_record_beyond_the_limit_is_refused_for_good(broker, topics, codec):
    too_large = RequestConfirmed("r" * MAX_MESSAGE_BYTES, 0)
    async with RecordProducer(broker, codec, topics) as producer:
        with pytest.raises(DeliveryRefused):
            await producer.send("export-registry", "r-1", too_large)


async def test_without_a_broker_the_start_fails(codec):
    producer = RecordProducer("127.0.0.1:1", codec, Topics())
    with pytest.raises(DeliveryFailed):
        await producer.start()
    await producer.stop()


@pytest.fixture
def own_broker(tmp_path):
    """Run a broker that a test may stop and kill."""
    with EmbeddedBroker(tmp_path) as embedded:
        yield embedded


async def test_a_send_while_the_broker_is_down_fails_and_later_ones_pass(
    own_broker, codec, eventually
):
    topics = Topics()
    await create_topics(own_broker.address, topics)
    async with RecordProducer(own_broker.address, codec, topics, send_deadline_s=5.0) as producer:
        await producer.send("export-registry", "r-1", A_RECORD)
        own_broker.stop()
        with pytest.raises(DeliveryFailed, match="export-registry: not confirmed within 5 s"):
            await producer.send("export-registry", "r-1", A_RECORD)
        own_broker.start()

        async def is_sent():
            try:
                return await producer.send("export-registry", "r-1", A_RECORD) >= 1
            except DeliveryFailed:  # it is still connecting
                return False

        await eventually(is_sent)


async def test_a_broker_that_lost_its_tail_is_sent_to_again(own_broker, codec, eventually):
    topics = Topics()
    await create_topics(own_broker.address, topics)
    async with RecordProducer(own_broker.address, codec, topics, send_deadline_s=10.0) as producer:
        for _ in range(500):
            await producer.send("export-registry", "r-1", A_RECORD)
        own_broker.kill()
        own_broker.start()
        await create_topics(own_broker.address, topics)

        async def is_sent():
            try:
                return await producer.send("export-registry", "r-1", A_RECORD) >= 0
            except DeliveryFailed:
                return False

        await eventually(is_sent, deadline_s=20)


async def test_a_stop_without_a_broker_ends(own_broker, codec, monkeypatch):
    monkeypatch.setattr(producer_module, "STOP_DEADLINE_S", 0.3)
    topics = Topics()
    await create_topics(own_broker.address, topics)
    producer = RecordProducer(own_broker.address, codec, topics, send_deadline_s=0.3)
    await producer.start()
    own_broker.stop()
    with pytest.raises(DeliveryFailed):
        await producer.send("export-registry", "r-1", A_RECORD)
    async with asyncio.timeout(60):
        await producer.stop()
