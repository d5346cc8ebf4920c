"""`GET /taskStatus` over HTTP and a real broker."""

import asyncio
from uuid import uuid4

import orjson
import pytest

from app.ingress import web_app
from app.ingress.answers import TaskStatusAnswer


async def ask(client, request_id: str):
    async with client.get(f"/taskStatus/{request_id}") as answer:
        told = await answer.json()
        if answer.status == 200:
            TaskStatusAnswer.model_validate(told)
        return answer.status, told


async def create(client, body: dict) -> str:
    async with client.post("/create", data=orjson.dumps(body)) as answer:
        assert answer.status == 200
        return (await answer.json())["requestId"]


async def test_a_request_is_followed_from_pending_to_completed(
    client, peer, say, golden, eventually
):
    request_id = await create(client, golden)

    async def reads(percentage: int, status: str) -> bool:
        return await ask(client, request_id) == (
            200,
            {"percentage": percentage, "status": status},
        )

    await eventually(lambda: reads(0, "Pending"))
    await peer.send(say.export(5))
    await eventually(lambda: reads(27, "In-Progress"))
    await peer.send(say.export(18))
    await eventually(lambda: reads(99, "In-Progress"))
    await peer.send(say.finished(request_id))
    await eventually(lambda: reads(100, "Completed"))
    await peer.forget("export-finished", request_id)
    await eventually(lambda: reads(99, "In-Progress"))


async def test_a_failed_export_says_so(client, peer, say, golden, eventually):
    request_id = await create(client, golden)
    await peer.send(say.finished(request_id, "Failed"))

    async def has_failed() -> bool:
        return (await ask(client, request_id))[1]["status"] == "Failed"

    await eventually(has_failed)


async def test_an_unknown_request_is_a_404_after_a_short_wait(client):
    began = asyncio.get_running_loop().time()
    request_id = str(uuid4())
    async with asyncio.timeout(60):
        status, told = await ask(client, request_id)
    assert status == 404
    assert request_id in told["message"]
    assert asyncio.get_running_loop().time() - began > web_app.VIEW_WAIT_S - 0.5


async def test_a_request_of_another_ingress_is_waited_for(client, peer, say, golden, monkeypatch):
    monkeypatch.setattr(web_app, "VIEW_WAIT_S", 60)
    request_id = str(uuid4())
    waiting = asyncio.create_task(ask(client, request_id))
    await asyncio.sleep(0)
    await peer.send(say.finished(request_id))
    assert await waiting == (200, {"percentage": 100, "status": "Completed"})


async def test_what_can_be_no_id_is_a_400(client):
    status, told = await ask(client, "x" * 101)
    assert status == 400
    assert "id is" in told["message"]


@pytest.mark.parametrize("text", ["7", "x" * 36, "%00", "..%2fcreate", "a b", "%F0%9F%98%80"])
async def test_what_is_known_under_no_spelling_is_a_404(client, text, monkeypatch):
    monkeypatch.setattr(web_app, "VIEW_WAIT_S", 0.1)
    status, told = await ask(client, text)
    assert status == 404
    assert "there is no such request" in told["message"]
