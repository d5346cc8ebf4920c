"""Webhooks of the running service: signed, and under one id until they are answered."""

import asyncio
import signal
from base64 import b64encode

import orjson
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from app.demo import DEMO_LAYER_ID

OLD, NEW = (f"whsec_{b64encode(bytes([number]) * 32).decode()}" for number in (1, 2))
KEYS = {"EXPORT_WEBHOOK_SECRETS": orjson.dumps([NEW, OLD]).decode()}


@pytest.fixture
async def serve():
    """Start a receiver; returns its address."""
    runners = []

    async def start(handler):
        app = web.Application()
        app.router.add_post("/hook", handler)
        runners.append(web.AppRunner(app))
        await runners[-1].setup()
        await web.TCPSite(runners[-1], "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runners[-1].addresses[0][1]}/hook"

    yield start
    for runner in runners:
        await runner.cleanup()


async def calls_beyond(hooks, count):
    """Wait until a receiver has been called more often than that."""
    async with asyncio.timeout(300):
        while len(hooks.calls) <= count:
            hooks.called.clear()
            await hooks.called.wait()


async def test_a_delivery_goes_on_under_its_id_after_a_kill_and_after_a_second_start(
    start_service, http, hooks, eventually, tmp_path, read_results
):
    hooks.status = 500
    body = {"dbId": DEMO_LAYER_ID, "bbox": [20, 20, 21, 21], "callbackURLs": [hooks.url]}
    with start_service(tmp_path / "data", **KEYS) as first:
        async with http.post(f"{first.url}/create", json=body) as answer:
            assert answer.status == 200, await answer.text()
            request_id = (await answer.json())["requestId"]
        await calls_beyond(hooks, 0)
        killed = first.child("coordinator")
        killed.send_signal(signal.SIGKILL)
        await eventually(lambda: not killed.is_running(), deadline_s=30)
        await calls_beyond(hooks, len(hooks.calls))
    failed = len(hooks.calls)
    hooks.status = 204
    with start_service(tmp_path / "data", **KEYS) as second:
        await calls_beyond(hooks, failed)
        (result,) = await asyncio.to_thread(read_results, second.broker)
    assert len(hooks.calls) == failed + 1
    assert len({headers["webhook-id"] for headers, _ in hooks.calls}) == 1
    for headers, told in hooks.calls:
        assert told == orjson.loads(orjson.dumps(result))
        assert (told["requestId"], told["success"]) == (request_id, True)
        assert headers["webhook-event"] == "completed"
        for secret in (OLD, NEW):
            Webhook(secret).verify(orjson.dumps(result), headers)


async def delivery_that(http, url, is_so):
    """Wait until the only delivery of an export is as it should be."""
    async with asyncio.timeout(300):
        while True:
            async with http.get(url) as answer:
                deliveries = (await answer.json())["deliveries"]
            if deliveries and is_so(deliveries[0]):
                assert len(deliveries) == 1
                return deliveries[0]
            await asyncio.sleep(0.1)


async def test_a_caller_sees_what_became_of_each_call_and_has_it_made_again(service, http, serve):
    ids = []
    answers = [web.Response(status=307, headers={"location": "http://10.9.9.9/x"})]

    async def receive(request):
        ids.append(request.headers["webhook-id"])
        return answers[-1]

    body = {"dbId": DEMO_LAYER_ID, "bbox": [30, 30, 31, 31], "callbackURLs": [await serve(receive)]}
    async with http.post(f"{service.url}/create", json=body) as answer:
        assert answer.status == 200, await answer.text()
        request_id = (await answer.json())["requestId"]
    url = f"{service.url}/exports/{request_id}/deliveries"
    refused = await delivery_that(http, url, lambda told: told["history"])
    assert refused["state"] == "pending"
    assert refused["history"][0]["status"] is None
    assert "10.9.9.9 is a private address" in refused["history"][0]["error"]
    answers.append(web.Response(status=410))
    given_up = await delivery_that(http, url, lambda told: told["state"] == "given-up")
    assert given_up["history"][-1]["status"] == 410
    answers.append(web.Response(status=202))
    async with http.post(f"{url}/{given_up['id']}/redeliver") as answer:
        assert answer.status == 202, await answer.text()
    delivered = await delivery_that(http, url, lambda told: told["state"] == "delivered")
    assert delivered["history"][-1]["status"] == 202
    assert len(delivered["history"]) == delivered["tries"] == len(ids)
    assert set(ids) == {delivered["id"]}


async def test_a_literal_address_of_an_inner_network_is_a_400_at_once(service, http):
    body = {"dbId": DEMO_LAYER_ID, "callbackURLs": ["http://169.254.169.254/latest"]}
    async with http.post(f"{service.url}/create", json=body) as answer:
        assert answer.status == 400
        told = (await answer.json())["message"]
    assert "callbackURLs[0]" in told
    assert "169.254.169.254 is a link-local address" in told
