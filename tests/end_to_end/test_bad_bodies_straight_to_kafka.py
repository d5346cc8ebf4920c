"""The table of bad bodies past the ingress: a failed result with the same words."""

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from app.domain.errors import InvalidRequest
from app.ingress.request_body import parse_create_request
from app.kafka.codec import Codec

LAYER = {
    "id": "0c3e455f-4aeb-4258-982d-f7773469a92d",
    "productId": "BLUE_MARBLE",
    "productVersion": "1.0",
    "maxResolutionDeg": 0.0000429153442382812,
    "footprint": {
        "type": "Polygon",
        "coordinates": [[[34, 31], [36, 31], [36, 33], [34, 33], [34, 31]]],
    },
    "source": {"type": "folder", "path": "nowhere"},
}


@pytest.fixture
def limited_service(start_service, tmp_path) -> Iterator[Any]:
    """A service with the layer and the limits that the table is written for."""
    limits = {"EXPORT_MAX_VERTICES": "50", "EXPORT_MAX_TILES": "10000"}
    with start_service(tmp_path / "data", **limits) as service:
        path = service.data_dir / "catalogue" / "table.json"
        path.write_bytes(orjson.dumps(LAYER))
        yield service


def records_of(rows) -> dict[str, tuple[bytes, str]]:
    """What of the table an Avro record can say, each with the message it must get."""
    codec = Codec.from_folder()
    found = {}
    for row in rows:
        if row.about == "Of HTTP alone":
            continue
        request_id = str(uuid.uuid4())
        try:
            asked = parse_create_request(row.body, request_id=request_id, at_ms=0)
            record = codec.encode(replace(asked, via_http=False))
        except (InvalidRequest, OverflowError):
            continue  # a wrong type, a wrong name, more than 64 bits: no such record can be written
        found[request_id] = record, row.message
    return found


async def test_what_http_refuses_becomes_a_failed_result_with_the_same_message(
    limited_service, bad_bodies, read_results, eventually
):
    asked = records_of(bad_bodies)
    assert len(asked) > 100
    producer = Producer({"bootstrap.servers": limited_service.broker, "log_level": 0})
    for request_id, (record, _) in asked.items():
        producer.produce("export-requests", key=request_id, value=record)
    assert await asyncio.to_thread(producer.flush, 120) == 0

    async def results() -> dict[str, Any] | None:
        bodies = await asyncio.to_thread(read_results, limited_service.broker)
        told = {body["requestId"]: body for body in bodies}
        return told if told.keys() >= asked.keys() else None

    told = await eventually(results, deadline_s=60)
    for request_id, (_, message) in asked.items():
        body = told[request_id]
        assert (body["success"], body["status"], body["fileUri"]) == (False, "Failed", "")
        assert body["errorReason"] == message
