"""A broker that is away or comes back, and an ingress that is told to stop."""

import asyncio
import os
from uuid import uuid4

import aiohttp
import orjson
import pytest
from structlog.testing import capture_logs

from app.catalogue.folder import FolderCatalogue
from app.domain.decision import Send
from app.domain.records import ExportRequested
from app.domain.rows import DeliveryRow
from app.ingress.run import run_ingress
from app.kafka.codec import Codec
from app.kafka.embedded_broker import EmbeddedBroker
from app.kafka.producer import RecordProducer
from app.kafka.topic_admin import create_topics
from app.kafka.topic_view import TopicView
from app.kafka.topics import EXPORT_REQUESTS, Topics

LAYER_ID = "0c3e455f-4aeb-4258-982d-f7773469a92d"
EXPORT_ID = "e" * 64
ATTEMPT = "1795404000000-17"


@pytest.fixture
def own_broker(tmp_path_factory):
    """A broker of this test alone, to be killed and started again."""
    broker = EmbeddedBroker(tmp_path_factory.mktemp("own-broker"))
    broker.start()
    yield broker
    broker.stop()


async def test_without_a_broker_nothing_is_accepted(settings, ingress_of, golden):
    # Port 9 is discard: nobody listens there.
    async with ingress_of(settings, "127.0.0.1:9") as client:
        async with client.post("/create", data=orjson.dumps(golden)) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
        async with client.get("/readyz") as answer:
            assert answer.status == 503
            assert "broker" in (await answer.json())["message"]
        async with client.get("/livez") as answer:
            assert answer.status == 200


async def test_without_a_broker_no_order_is_accepted(
    own_broker, settings, ingress_of, eventually, topic_prefix, codec, say
):
    names = Topics(topic_prefix)
    await create_topics(own_broker.address, names)
    good, bad = (ExportRequested(str(uuid4()), LAYER_ID, client="anonymous") for _ in range(2))
    delivery = DeliveryRow(good.request_id, "http://h/", "delivered", 1)
    async with RecordProducer(own_broker.address, codec, names) as producer:
        for send in (
            Send("coordinator-deliveries-changelog", "d" * 32, delivery),
            *(say.progress(one, bbox_json="[34.81,31.95,34.82,31.96]") for one in (good, bad)),
            say.export(18, "Completed"),
            say.finished(good.request_id),
            say.finished(bad.request_id, "Failed"),
        ):
            await producer.send(send.topic, send.key, send.record)
    async with ingress_of(settings, own_broker.address) as client:

        async def has_status(path: str, status: int) -> bool:
            async with client.get(path) as answer:
                return answer.status == status

        await eventually(lambda: has_status("/readyz", 200))
        await asyncio.to_thread(own_broker.stop)
        await eventually(lambda: has_status("/readyz", 503))

        async def order(method: str, path: str, body: bytes = b"") -> tuple[int, bool]:
            async with client.request(method, f"/exports/{path}", data=body) as answer:
                assert (await answer.json())["message"]
                return answer.status, "Retry-After" in answer.headers

        answers = await asyncio.gather(
            order("DELETE", good.request_id),
            order("PATCH", good.request_id, b'{"pinned": true}'),
            order("POST", f"{bad.request_id}/retry"),
            order("POST", f"{good.request_id}/deliveries/{'d' * 32}/redeliver"),
        )
        assert answers == [(503, True)] * 4
        # What is known is told all the same.
        assert await has_status(f"/exports/{good.request_id}/deliveries", 200)


async def test_a_broker_that_comes_back_gets_the_young_requests_again(
    own_broker, settings, ingress_of, golden, eventually, topic_prefix
):
    names = Topics(topic_prefix)
    await create_topics(own_broker.address, names)
    async with ingress_of(settings, own_broker.address) as client:

        async def answers(path: str, status: int) -> bool:
            async with client.get(path) as answer:
                return answer.status == status

        await eventually(lambda: answers("/readyz", 200))
        async with client.post("/create", data=orjson.dumps(golden)) as answer:
            assert answer.status == 200
            request_id = (await answer.json())["requestId"]
        await asyncio.to_thread(own_broker.stop)
        await eventually(lambda: answers("/readyz", 503))
        async with client.post("/create", data=orjson.dumps(golden)) as answer:
            assert answer.status == 503
        await asyncio.to_thread(own_broker.start)
        await eventually(lambda: answers("/readyz", 200), deadline_s=20)

        seen: list[str] = []
        reader = TopicView(
            own_broker.address,
            names,
            [EXPORT_REQUESTS],
            Codec.from_folder(),
            on_record=lambda viewed: seen.append(viewed.key),
        )
        reading = asyncio.create_task(reader.run())
        try:
            await eventually(lambda: seen.count(request_id) >= 2, deadline_s=20)
        finally:
            reading.cancel()
            await asyncio.wait([reading])


async def test_a_stop_ends_the_ingress_within_seconds_though_a_download_is_open(
    settings, broker, topics, package, export_folder
):
    package.write_bytes(os.urandom(50_000_000))
    stop = asyncio.Event()
    serving = asyncio.create_task(
        run_ingress(
            settings,
            stop,
            bootstrap=broker,
            catalogue=FolderCatalogue(settings.catalogue_dir),
            files=export_folder,
        )
    )
    url = f"{settings.base_url}/downloads/{EXPORT_ID}/{ATTEMPT}/{package.name}"
    async with aiohttp.ClientSession() as client:
        async with asyncio.timeout(60):
            while True:
                try:
                    answer = await client.get(url)
                    break
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.02)
        await answer.content.readexactly(1000)
        stop.set()
        # A download that is not read would never end.
        async with asyncio.timeout(60):
            await serving
        answer.close()


async def test_each_request_is_one_line_without_its_query(client, eventually):
    with capture_logs() as lines:
        async with client.get("/nothing?token=secret") as answer:
            assert answer.status == 404
        await eventually(lambda: lines)
    (line,) = lines
    assert line["event"] == "http_request"
    assert (line["method"], line["path"], line["status"]) == ("GET", "/nothing", 404)
    assert "secret" not in str(line)
