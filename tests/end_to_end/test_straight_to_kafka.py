"""Producers that never met the ingress: any Avro client, sound requests and broken ones."""

import asyncio
import json
import os
import re
import sys
import uuid
from pathlib import Path
from urllib.parse import quote

import pytest
from confluent_kafka import Consumer, Producer

from app.demo import DEMO_LAYER_ID
from app.domain.records import ExportFinished, ExportRequested
from app.kafka.codec import Codec
from tests.topic_reading import records_now

ROOT = Path(__file__).resolve().parents[2]
CODEC = Codec.from_folder()


def produce(broker, *records):
    """Produce (key, value bytes or None) pairs with librdkafka."""
    producer = Producer({"bootstrap.servers": broker, "acks": "all", "log_level": 0})
    for key, value in records:
        producer.produce("export-requests", key=key, value=value)
    assert producer.flush(120) == 0


def read_all(broker, topic):
    """Every record of a topic that is there now, as (key, value, headers)."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "unused", "log_level": 0})
    try:
        return [
            (message.key(), message.value(), dict(message.headers() or ()))
            for message in records_now(consumer, topic)
        ]
    finally:
        consumer.close()


@pytest.fixture
def results(service, eventually):
    """Wait for the results of requests; returns them by request id."""

    async def wait(*request_ids):
        def look():
            found = {
                key.decode(): CODEC.decode(value)
                for key, value, _ in read_all(service.broker, "export-finished")
            }
            return found if found.keys() >= set(request_ids) else None

        return await eventually(lambda: asyncio.to_thread(look), deadline_s=60)

    return wait


def request(**fields):
    fields.setdefault("request_id", str(uuid.uuid4()))
    fields.setdefault("layer_id", DEMO_LAYER_ID)
    fields.setdefault("bbox_json", "[8.0,46.0,8.5,46.5]")
    return ExportRequested(**fields)


async def test_the_script_of_the_manual_exports_through_the_running_service(service):
    manual = (ROOT / "docs" / "kafka.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", manual, re.DOTALL)
    environment = {
        **os.environ,
        "EXPORT_BROKER": service.broker,
        "EXPORT_LAYER": DEMO_LAYER_ID,
        "EXPORT_SCHEMAS": str(ROOT / "schemas"),
        "EXPORT_WAIT_S": "300",
    }
    ran = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await ran.communicate()
    assert ran.returncode == 0, err.decode()
    result = json.loads(out)
    assert result["success"]
    assert result["dbId"] == DEMO_LAYER_ID
    assert result["tiles"]["written"] == result["tiles"]["expected"] > 0


async def test_what_kafka_asked_for_is_found_over_http_and_what_was_refused_is_not_asked_for_again(
    service, results, http
):
    named = str(uuid.uuid4()).upper(), f"Küste 7/{uuid.uuid4()}"
    sound = [request(request_id=name, client="a producer") for name in named]
    refused = request(bbox_json="[1,2", priority=7, client="")
    produce(service.broker, *((one.request_id, CODEC.encode(one)) for one in (*sound, refused)))
    await results(*named, refused.request_id)

    async def ask(method, path):
        async with http.request(method, f"{service.url.rstrip('/')}{path}") as answer:
            return answer.status, await answer.json()

    async def is_there(path, client):
        # The result stands in Kafka; the ingress reads it a moment later.
        async with asyncio.timeout(60):
            while True:
                status, told = await ask("GET", path)
                if status == 200 and told["status"] not in ("Pending", "In-Progress"):
                    assert told["client"] == client
                    return told
                await asyncio.sleep(0.05)

    for name in named:
        told = await is_there(f"/exports/{quote(name, safe='')}", "a producer")
        assert (told["requestId"], told["status"]) == (name, "Completed")
        assert (await ask("GET", f"/taskStatus/{quote(name, safe='')}"))[1]["percentage"] == 100
    path = f"/exports/{refused.request_id}"
    told = await is_there(path, "anonymous")
    assert (told["priority"], told["onError"], told["zoom"]) == (None, None, None)
    status, told = await ask("POST", f"{path}/retry")
    assert (status, "was refused: bbox is" in told["message"]) == (409, True)


BAD_REQUESTS = {
    "no such layer": ({"layer_id": "00000000-0000-4000-8000-000000000000"}, "dbId"),
    "a layer id that is no uuid": ({"layer_id": "blue marble"}, "dbId"),
    "a bbox that is no JSON": ({"bbox_json": "[1,2"}, "bbox"),
    "an empty bbox": ({"bbox_json": "[]"}, "bbox"),
    "a bbox off the globe": ({"bbox_json": "[0,0,999,1]"}, "bbox"),
    "a bbox of text": ({"bbox_json": '["a","b","c","d"]'}, "bbox"),
    "a self-crossing polygon": (
        {"bbox_json": '{"type":"Polygon","coordinates":[[[0,0],[4,4],[4,0],[0,4],[0,0]]]}'},
        "bbox",
    ),
    "a resolution finer than the layer": ({"target_resolution_deg": 0.001}, "targetResolution"),
    "a resolution that is not a number": (
        {"target_resolution_deg": float("nan")},
        "targetResolution",
    ),
    "a minimum finer than the target": (
        {"target_resolution_deg": 0.703125, "min_resolution_deg": 0.3515625},
        "minResolution",
    ),
    "another crs": ({"crs": "EPSG:3857"}, "crs"),
    "a negative priority": ({"priority": -1}, "priority"),
    "an endless description": ({"description": "x" * 1001}, "description"),
    "another onError": ({"on_error": "shrug"}, "onError"),
    "another format": ({"format": "webp"}, "format"),
    "a callback that is no address": ({"callback_urls": ("ftp://x",)}, "callbackURLs"),
    "no request id": ({"request_id": ""}, "requestId"),
    "an endless request id": ({"request_id": "r" * 101}, "requestId"),
}


async def test_bad_requests_become_failed_results_and_dead_letters_and_lose_no_other(
    service, results, eventually
):
    bad = {name: request(**fields) for name, (fields, _) in BAD_REQUESTS.items()}
    garbage = [
        (b"garbage", b"\xff\x00garbage"),
        (b"nothing", None),
        (None, b"neither key nor sense"),
        (b"unknown schema", b"\x00\x00\x0f\xff\xff" + b"x" * 20),
        (b"cut short", CODEC.encode(request())[:-7]),
    ]
    good = [request(bbox_json=f"[{8 + n}.0,40.0,{8 + n}.5,40.5]") for n in range(3)]
    records = [(r.request_id.encode(), CODEC.encode(r)) for r in bad.values()]
    await asyncio.to_thread(produce, service.broker, (None, None))
    mixed = [garbage[0], *records[:6], garbage[1], *records[6:], *garbage[2:]]
    for record in good:
        mixed.insert(len(mixed) // 2, (record.request_id.encode(), CODEC.encode(record)))
    await asyncio.to_thread(produce, service.broker, *mixed)

    found = await results(*(r.request_id for r in (*bad.values(), *good)))
    for record in good:
        assert found[record.request_id].success
    for name, (_, field) in BAD_REQUESTS.items():
        result: ExportFinished = found[bad[name].request_id]
        assert not result.success, name
        assert field in result.error_reason, (name, result.error_reason)
        assert result.file_uri == ""

    # What is no record has no result, and stands in partitions that others read.
    async def all_letters():
        letters = await asyncio.to_thread(read_all, service.broker, "dead-letters")
        known = {key for key, _, _ in letters}
        assert known >= {b"", *(key for key, _ in (*garbage, *records))}
        return letters

    letters = await eventually(all_letters, deadline_s=60)
    by_key = {key: (value, headers) for key, value, headers in letters}
    assert (b"", None) in [(key, value) for key, value, _ in letters]
    for key, value in (*garbage, *records):
        assert by_key[key][0] == value
        assert by_key[key][1]["reason"]


async def test_the_same_id_with_other_content_leaves_the_first_alone(service, results):
    first = request(bbox_json="[12.0,44.0,12.5,44.5]")
    other = request(request_id=first.request_id, bbox_json="[13.0,44.0,13.5,44.5]")
    replay = first
    records = [(r.request_id, CODEC.encode(r)) for r in (first, other, replay)]
    after = request(bbox_json="[14.0,44.0,14.5,44.5]")
    await asyncio.to_thread(produce, service.broker, *records)
    await asyncio.to_thread(produce, service.broker, (after.request_id, CODEC.encode(after)))
    found = await results(first.request_id, after.request_id)
    assert found[first.request_id].success
    assert found[first.request_id].bbox_json == first.bbox_json


async def test_a_direct_request_joins_what_was_asked_over_http(service, http, hooks, results):
    bbox = [16.0, 44.0, 16.5, 44.5]
    body = {"dbId": DEMO_LAYER_ID, "bbox": bbox, "callbackURLs": [hooks.url]}
    async with http.post(f"{service.url}/create", json=body) as answer:
        asked = (await answer.json())["requestId"]
    direct = request(bbox_json=json.dumps(bbox))
    await asyncio.to_thread(produce, service.broker, (direct.request_id, CODEC.encode(direct)))
    found = await results(asked, direct.request_id)
    assert found[asked].sha256 == found[direct.request_id].sha256
    assert found[asked].file_uri == found[direct.request_id].file_uri
