"""`POST /create` over HTTP and a real broker, with a registrar that plays a script."""

import asyncio
import json
from uuid import UUID

import orjson
import pytest

from app.ingress import request_body
from app.ingress.answers import Message, Result, Waiting

GOLDEN_BBOX = [34.811938017107494, 31.95475033759175, 34.82237261707599, 31.96426962177354]


async def post(client, body, **options):
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    async with client.post("/create", data=data, **options) as answer:
        assert answer.content_type == "application/json"
        told = await answer.json()
        if answer.status >= 400:
            Message.model_validate(told)
        return answer.status, told


async def test_an_accepted_request_stands_in_the_topic_as_it_was_asked(client, peer, golden):
    body = golden | {"priority": 5, "callbackURLs": ["http://example.com/"], "onError": "skip"}
    status, told = await post(client, body)
    assert status == 200
    Waiting.model_validate(told)
    request_id = told["requestId"]
    assert UUID(request_id).version == 4
    assert told == {
        "status": "Pending",
        "requestId": request_id,
        "id": request_id,
        "taskIds": [request_id],
        "isDuplicated": False,
        "zoom": 14,
    }
    (asked,) = peer.asked
    assert (asked.request_id, asked.layer_id) == (request_id, golden["dbId"])
    assert (asked.via_http, asked.client, asked.priority) == (True, "anonymous", 5)
    assert (asked.callback_urls, asked.on_error) == (("http://example.com/",), "skip")
    assert json.loads(asked.bbox_json) == GOLDEN_BBOX
    assert asked.at_ms > 1_700_000_000_000


async def test_the_content_type_does_not_matter_when_it_is_json(client, peer, golden):
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "x/y; charset=utf-7"):
        status, _ = await post(client, golden, headers={"Content-Type": content_type})
        assert status == 200


async def test_who_joins_a_running_export_is_told(client, peer, say, golden):
    peer.script = lambda asked: [say.export(9), say.progress(asked, "Joined")]
    status, told = await post(client, golden)
    assert (status, told["status"], told["isDuplicated"]) == (200, "In-Progress", True)


async def test_a_repeat_is_answered_with_the_first_request(client, peer, say, golden):
    _, first = await post(client, golden)
    peer.script = lambda asked: [say.progress(asked, "Repeated", repeats=first["requestId"])]
    status, again = await post(client, golden)
    assert (status, again) == (200, first | {"isDuplicated": True})


async def test_a_cached_export_is_answered_whole_with_this_callers_bbox(client, peer, say, golden):
    peer.script = lambda asked: [
        say.progress(asked, "Cached"),
        say.export(18, "Completed"),
        say.finished(asked.request_id),
    ]
    status, told = await post(client, golden)
    assert status == 200
    Result.model_validate(told)
    assert told["requestId"] == peer.asked[0].request_id
    assert told["bbox"] == GOLDEN_BBOX
    assert told["targetResolution"] == golden["targetResolution"]
    assert told["tiles"] == {"expected": 18, "written": 17, "missing": 1}
    assert "errorReason" not in told


async def test_a_repeat_of_a_finished_export_gets_the_first_ones_result(client, peer, say, golden):
    _, first = await post(client, golden)
    await peer.send(say.export(18, "Completed"))
    peer.script = lambda asked: [
        say.progress(asked, "Repeated", repeats=first["requestId"]),
        say.finished(asked.request_id),
        say.finished(first["requestId"]),
    ]
    status, told = await post(client, golden)
    assert (status, told["status"]) == (200, "Completed")
    assert told["requestId"] == told["id"] == first["requestId"]


async def test_a_polygon_comes_back_as_it_was_sent(client, peer, say, golden):
    ring = [[34.5, 31.5], [34.6, 31.5], [34.6, 31.6, 12], [34.5, 31.5]]
    golden |= {"bbox": {"type": "Polygon", "coordinates": [ring]}, "targetResolution": 0.001}
    peer.script = lambda asked: [say.progress(asked, "Cached"), say.finished(asked.request_id)]
    _, told = await post(client, golden)
    assert told["bbox"] == golden["bbox"]


async def test_without_a_bbox_the_footprint_is_meant(client, peer, say, golden):
    asked_for = {"dbId": golden["dbId"], "targetResolution": 0.01}
    peer.script = lambda asked: [say.progress(asked, "Cached"), say.finished(asked.request_id)]
    _, told = await post(client, asked_for)
    assert told["bbox"] is None
    assert told["zoom"] == 6


@pytest.mark.parametrize("status", [429, 507])
async def test_a_refusal_is_told_with_its_status_and_reason(client, peer, say, golden, status):
    reason = "the export needs 281250 bytes, 12 are free"
    peer.script = lambda asked: [
        say.progress(asked, "Refused", export_id=None, http_status=status, reason=reason)
    ]
    told = await post(client, golden)
    assert told == (status, {"message": reason, "requestId": peer.asked[0].request_id})


async def test_without_a_verdict_in_time_the_answer_is_pending(
    client, peer, golden, verdict_wait_s
):
    peer.script = lambda _: []
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(60):
        status, told = await post(client, golden)
    assert (status, told["status"], told["isDuplicated"]) == (200, "Pending", False)
    assert asyncio.get_running_loop().time() - began > verdict_wait_s - 0.1
    async with client.get(f"/taskStatus/{told['requestId']}") as answer:
        assert await answer.json() == {"percentage": 0, "status": "Pending"}


async def test_an_unknown_layer_is_named(client, peer, golden):
    other = "11111111-4aeb-4258-982d-f7773469a92d"
    status, told = await post(client, golden | {"dbId": other})
    assert status == 404
    assert other in told["message"]
    assert peer.asked == []


async def test_a_layer_is_found_whatever_the_case_of_its_id(client, peer, golden):
    status, _ = await post(client, golden | {"dbId": golden["dbId"].upper()})
    assert status == 200


async def test_a_catalogue_out_of_reach_is_a_503(client, settings, golden):
    settings.catalogue_dir.rename(settings.data_dir / "elsewhere")
    async with client.post("/create", json=golden) as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "catalogue" in (await answer.json())["message"]


async def test_a_bad_body_is_refused_though_the_catalogue_is_out_of_reach(client, settings, golden):
    settings.catalogue_dir.rename(settings.data_dir / "elsewhere")
    status, told = await post(client, golden | {"crs": "EPSG:3857"})
    assert status == 400
    assert "crs" in told["message"]


async def test_a_body_beyond_the_limit_is_a_413_with_and_without_its_length(client, settings):
    body = b" " * (settings.max_body_bytes + 1)

    async def chunks():
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    for data in (body, chunks()):
        async with client.post("/create", data=data) as answer:
            assert answer.status == 413
            assert str(settings.max_body_bytes) in (await answer.json())["message"]


async def test_a_body_of_exactly_the_limit_is_read(client, peer, settings, golden):
    body = orjson.dumps(golden)
    status, _ = await post(client, body + b" " * (settings.max_body_bytes - len(body)))
    assert status == 200


async def test_a_compressed_body_counts_as_what_it_unpacks_to(client, golden):
    import zlib

    bomb = zlib.compress(b" " * 5_000_000)
    status, _ = await post(client, bomb, headers={"Content-Encoding": "deflate"})
    assert status == 413
    status, _ = await post(client, b"no zlib", headers={"Content-Encoding": "deflate"})
    assert status == 400


async def raw(port: int, text: bytes) -> bytes:
    """Send bytes that no HTTP client would, and read the answer's first bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(text)
        async with asyncio.timeout(60):
            return await reader.read(1000)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_broken_chunks_are_a_400(client, port):
    # aiohttp's parser answers this one by itself, in plain text.
    head = b"POST /create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await raw(port, head + b"zz\r\n{}\r\n0\r\n\r\n")
    assert answer.split()[1] == b"400"


async def test_a_body_that_does_not_come_is_a_408_and_its_connection_is_closed(
    client, port, monkeypatch
):
    monkeypatch.setattr(request_body, "BODY_DEADLINE_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /create HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
    async with asyncio.timeout(60):
        answer = await reader.read()  # until it is closed
    assert answer.split()[1] == b"408"
    assert b"body has not come within 0.2 s" in answer
    writer.close()
    await writer.wait_closed()


async def test_many_at_once_each_get_their_own_answer(client, peer, golden):
    answers = await asyncio.gather(*(post(client, golden) for _ in range(200)))
    assert {status for status, _ in answers} == {200}
    assert len({told["requestId"] for _, told in answers}) == 200
    assert {told["requestId"] for _, told in answers} == {one.request_id for one in peer.asked}
