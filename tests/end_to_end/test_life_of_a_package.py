"""A finished package is kept longer, pinned, deleted and made again, on the running service."""

import asyncio
import re
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Producer

from app.demo import DEMO_LAYER_ID
from app.domain.records import ExportCommanded, ExportRequested
from app.kafka.codec import Codec

CODEC = Codec.from_folder()
MOST_A_MINUTE = 12
GRACE_S = 5


@pytest.fixture(scope="module")
def service(start_service, tmp_path_factory):
    """Files go a few seconds after they may."""
    environment = {
        "EXPORT_REMOVAL_GRACE_S": str(GRACE_S),
        "EXPORT_MAX_REQUESTS_PER_MINUTE": str(MOST_A_MINUTE),
        "EXPORT_MAX_AREA_KM2": "300000000",
        "EXPORT_MAX_EXPORT_BYTES": "2000000",
        "EXPORT_MAX_LIVE_EXPORTS_PER_CLIENT": "1",
    }
    with start_service(tmp_path_factory.mktemp("life"), **environment) as started:
        yield started


def produce(service, *records):
    producer = Producer({"bootstrap.servers": service.broker, "acks": "all", "log_level": 0})
    for record in records:
        producer.produce("export-requests", key=record.request_id, value=CODEC.encode(record))
    assert producer.flush(120) == 0


@pytest.fixture
def ask(service, http):
    async def send(method, path, body=None):
        async with http.request(method, service.url.rstrip("/") + path, json=body) as answer:
            return answer.status, await answer.json()

    return send


async def until(look, deadline_s=300):
    """Wait until something is there."""
    async with asyncio.timeout(deadline_s):
        while True:
            found = await look()
            if found:
                return found
            await asyncio.sleep(0.1)


async def completed(ask, bbox):
    """Create an export and wait for it; its status."""
    _, told = await ask("POST", "/create", {"dbId": DEMO_LAYER_ID, "bbox": bbox})

    async def look():
        _, export = await ask("GET", f"/exports/{told['requestId']}")
        return export if export["status"] == "Completed" else None

    return await until(look)


def folders(service, export):
    return list((service.data_dir / "exports" / export["exportId"]).glob("*/*.gpkg"))


async def test_a_package_is_kept_pinned_deleted_and_made_again(service, http, ask):
    export = await completed(ask, [8.0, 46.0, 8.4, 46.4])
    path = f"/exports/{export['requestId']}"
    later = (datetime.now(UTC) + timedelta(days=90)).replace(microsecond=0)
    status, told = await ask("PATCH", path, {"expirationTime": later.isoformat(), "pinned": True})
    assert (status, told["pinned"]) == (200, True)
    assert datetime.fromisoformat(told["expirationTime"]) == later

    status, told = await ask("DELETE", path)
    assert (status, told["status"]) == (202, "Expired")
    assert folders(service, export)  # who was just offered it can still fetch it

    async def is_gone():
        return not folders(service, export)

    await until(is_gone)
    async with http.get(export["result"]["fileUri"]) as answer:
        assert answer.status == 410
    assert (await ask("DELETE", path))[0] == 409

    status, told = await ask("POST", f"{path}/retry")
    assert status == 200
    again_id = told["requestId"]

    async def is_made_again():
        _, again = await ask("GET", f"/exports/{again_id}")
        return again if again["status"] == "Completed" else None

    again = await until(is_made_again)
    assert again["retryOf"] == export["requestId"]
    assert again["result"]["packageName"] != export["result"]["packageName"]


async def test_a_package_stays_for_the_other_client_that_holds_it(service, http, ask, read_results):
    bbox = [30.0, 32.0, 30.4, 32.4]  # other tiles than those of the first test
    export = await completed(ask, bbox)
    held_by_nobody = await completed(ask, [60.0, 32.0, 60.4, 32.4])
    other = ExportRequested(
        str(uuid.uuid4()), DEMO_LAYER_ID, client="b", bbox_json=str(bbox), via_http=False
    )
    produce(service, other)

    async def has_result():
        found = await asyncio.to_thread(read_results, service.broker)
        return next((r for r in found if r["requestId"] == other.request_id), None)

    result = await until(has_result)
    assert result["fileUri"] == export["result"]["fileUri"]

    assert (await ask("DELETE", f"/exports/{export['requestId']}"))[1]["status"] == "Expired"
    await ask("DELETE", f"/exports/{held_by_nobody['requestId']}")
    deleted_at_s = time.monotonic()
    stranger = ExportCommanded(other.request_id, 0, "c", "delete")
    produce(service, stranger)

    async def grace_is_over():
        is_over = time.monotonic() > deleted_at_s + GRACE_S + 3
        return is_over and not folders(service, held_by_nobody)

    await until(grace_is_over)
    async with http.head(result["fileUri"]) as answer:
        assert answer.status == 200

    produce(service, ExportCommanded(other.request_id, 0, "b", "delete"))

    async def is_gone():
        return not folders(service, export)

    await until(is_gone)


async def test_a_limit_is_told_with_what_was_asked_and_what_may_be(service, ask):
    async def create(*bbox):
        return await ask("POST", "/create", {"dbId": DEMO_LAYER_ID, "bbox": bbox})

    status, told = await create(-180, -90, 180, 90)
    assert (status, "requestId" in told) == (413, False)
    assert re.search(
        r"bbox has 51\d,\d{3},\d{3}\.\d km2 .*, more than 300,000,000\.0", told["message"]
    )
    status, told = await create(-180, -90, 0, 90)
    assert status == 413
    (needed,) = re.findall(r"needs about (\d+) bytes; max_export_bytes is 2000000", told["message"])
    assert int(needed) > 2_000_000
    _, listed = await ask("GET", f"/exports/{told['requestId']}")
    assert (listed["status"], listed["errorReason"]) == ("Failed", told["message"])

    answers = await asyncio.gather(*(create(west, 0, west + 9, 9) for west in (20, 30, 40)))
    refused = [told for status, told in answers if status == 429]
    assert 0 < len(refused) < len(answers)
    limit = "has 1 exports that wait or run; max_live_exports_per_client is 1"
    assert {told["message"] for told in refused} == {f"client 'anonymous' {limit}"}

    accepted = [told["requestId"] for status, told in answers if status == 200]

    async def have_ended():
        told = [await ask("GET", f"/taskStatus/{request_id}") for request_id in accepted]
        return all(body["status"] == "Completed" for _, body in told)

    await until(have_ended)
    assert (await ask("POST", f"/exports/{refused[0]['requestId']}/retry"))[0] == 200


async def test_a_client_that_asks_too_often_by_kafka_is_refused_and_others_are_not(
    service, read_results
):
    loud = [
        ExportRequested(
            str(uuid.uuid4()), DEMO_LAYER_ID, client="loud", bbox_json="[7,46,7.1,46.1]"
        )
        for _ in range(MOST_A_MINUTE + 3)
    ]
    quiet = ExportRequested(
        str(uuid.uuid4()), DEMO_LAYER_ID, client="quiet", bbox_json="[7,46,7.1,46.1]"
    )
    produce(service, *loud, quiet)
    wanted = {record.request_id for record in (*loud, quiet)}

    async def have_results():
        found = await asyncio.to_thread(read_results, service.broker)
        told = {r["requestId"]: r for r in found if r["requestId"] in wanted}
        return told if told.keys() == wanted else None

    told = await until(have_results)
    refused = [told[r.request_id]["errorReason"] for r in loud if not told[r.request_id]["success"]]
    sent = f"client 'loud' has sent {MOST_A_MINUTE} requests within a minute"
    assert refused == [f"{sent}; max_requests_per_minute is {MOST_A_MINUTE}"] * 3
    assert told[quiet.request_id]["success"]
