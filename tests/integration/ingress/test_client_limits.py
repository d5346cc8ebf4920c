"""A client that asks for too much is refused before anything is published."""

import time
from uuid import uuid4

import orjson
import pytest

from app.domain.records import ExportRequested


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"max_requests_per_minute": 2})


async def create(client, body):
    async with client.post("/create", data=orjson.dumps(body)) as answer:
        return answer.status, answer.headers.get("Retry-After"), await answer.json()


async def test_the_third_request_within_a_minute_is_a_429_that_says_when_to_come_again(
    client, peer, golden
):
    began_s = time.monotonic()
    assert (await create(client, golden))[0] == 200
    assert (await create(client, golden | {"bbox": [1, 2, 3]}))[0] == 400  # nothing was taken in
    assert (await create(client, golden))[0] == 200
    status, retry_after_s, told = await create(client, golden)
    assert status == 429
    # When the first of them is a minute old.
    assert 59 - (time.monotonic() - began_s) <= int(retry_after_s) <= 60
    assert told["message"] == (
        "client 'anonymous' has sent 2 requests within a minute; max_requests_per_minute is 2"
    )
    assert len(peer.asked) == 2


async def test_requests_that_others_took_in_count_too(client, peer, say, golden, eventually):
    for _ in range(2):
        asked = ExportRequested(str(uuid4()), "l")
        await peer.send(say.progress(asked, accepted_at_ms=time.time_ns() // 1_000_000))

    async def are_known() -> bool:
        async with client.get("/exports") as answer:
            return len((await answer.json())["exports"]) == 2

    await eventually(are_known)
    assert (await create(client, golden))[0] == 429


async def test_a_429_of_the_registrar_is_told_with_a_time_to_come_again(client, peer, say, golden):
    reason = "client 'anonymous' has 7 exports that wait or run; max_live_exports_per_client is 7"
    peer.script = lambda asked: [
        say.progress(asked, verdict="Refused", http_status=429, reason=reason)
    ]
    status, retry_after_s, told = await create(client, golden)
    assert (status, told["message"]) == (429, reason)
    assert int(retry_after_s) > 0
