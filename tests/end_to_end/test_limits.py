"""Limits before work, on the running service: a refusal says limit and actual, and begins nothing.

What is counted is counted for each client, by the name in its token.
"""

import asyncio
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest

from app.demo import DEMO_LAYER_ID
from tests.end_to_end.conftest import Service
from tests.end_to_end.guarded import Caller, guarded_service, put_layer, put_stuck_layer
from tests.end_to_end.test_straight_to_kafka import read_all

MOST_A_MINUTE, MOST_OPEN = 6, 2
LIMITS = {
    "EXPORT_MAX_TILES": "1000",
    "EXPORT_MAX_VERTICES": "50",
    "EXPORT_MAX_AREA_KM2": "300000000",
    "EXPORT_MAX_BODY_BYTES": "5000",
    "EXPORT_MAX_EXPORT_BYTES": "2000000",
    "EXPORT_MAX_REQUESTS_PER_MINUTE": str(MOST_A_MINUTE),
    "EXPORT_MAX_LIVE_EXPORTS_PER_CLIENT": str(MOST_OPEN),
    "EXPORT_VERDICT_WAIT_S": "30",  # or a slow machine would tell the refusal later, as a result
}
HALF, WORLD = [-180, -90, 0, 90], [-180, -90, 180, 90]
Z3, Z4, Z5 = (0.703125 / 2**zoom for zoom in (3, 4, 5))
DEADLINE_S = 60


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Service]:
    with guarded_service(tmp_path_factory.mktemp("limits"), **LIMITS) as started:
        yield started


@pytest.fixture
def caller(service, http):
    """A client by its name."""
    return lambda name: Caller(service, http, name)


def circle(vertices: int) -> dict[str, Any]:
    """A polygon of so many positions."""
    turns = [2 * math.pi * number / (vertices - 1) for number in range(vertices - 1)]
    ring = [[round(math.cos(turn), 6), round(math.sin(turn), 6)] for turn in turns]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


TOO_MUCH = {
    "tiles": (
        {"bbox": HALF, "targetResolution": Z5},
        413,
        r"bbox makes (?:at least )?(1\d+) tiles, more than 1000",
    ),
    "vertices": ({"bbox": circle(60)}, 400, r"bbox has (60) vertices, more than 50"),
    "area": (
        {"bbox": WORLD, "targetResolution": Z3},
        413,
        r"bbox has (51\d,\d{3},\d{3}\.\d) km2 .*, more than 300,000,000\.0",
    ),
    "body": ({"description": "x" * 6_000}, 413, r"body has (6\d{3}) bytes, more than 5000"),
    "bytes": (
        {"bbox": HALF, "targetResolution": Z4},
        413,
        r"needs about (3410000) bytes; max_export_bytes is 2000000",
    ),
}


@pytest.mark.parametrize(("fields", "status", "words"), TOO_MUCH.values(), ids=TOO_MUCH)
async def test_too_much_is_refused_with_limit_and_actual_before_any_work(
    service, caller, fields, status, words
):
    def begun() -> tuple[int, list]:
        work = len(read_all(service.broker, "tile-range-work"))
        return work, list((service.data_dir / "exports").rglob("*"))

    before = await asyncio.to_thread(begun)
    asked = len(await asyncio.to_thread(read_all, service.broker, "export-requests"))
    layer = put_layer(service, "heavy", 5, meanTileBytes=10_000)
    told = await caller("vera")("POST", "/create", {"dbId": layer, **fields})
    assert told.status == status, told
    assert re.search(words, told.body["message"]), told.body["message"]
    # Only the size in bytes is judged behind the topic, where the sizes of tiles are learned.
    taken = len(await asyncio.to_thread(read_all, service.broker, "export-requests")) - asked
    assert taken == ("requestId" in told.body) == ("max_export_bytes" in words)
    assert await asyncio.to_thread(begun) == before


async def test_an_estimate_tells_the_same_limits_with_what_the_export_would_have(caller):
    told = await caller("emil")("POST", "/estimate", {"dbId": DEMO_LAYER_ID, "bbox": HALF})
    assert (told.status, told.body["fits"]) == (200, False)
    limits = {one["limit"]: one for one in told.body["limits"]}
    assert limits["tiles"]["value"] == 1_000 < limits["tiles"]["actual"] == told.body["tiles"]
    assert limits["bytes"]["value"] == 2_000_000 < limits["bytes"]["actual"] == told.body["bytes"]
    smaller = {"dbId": DEMO_LAYER_ID, "bbox": HALF}
    smaller["targetResolution"] = 0.703125 / 2 ** told.body["suggestedZoom"]
    assert (await caller("emil")("POST", "/estimate", smaller)).body["fits"]


async def test_a_client_with_as_many_open_exports_as_it_may_have_waits_until_one_has_ended(
    service, caller
):
    lou, mia = caller("lou"), caller("mia")
    stuck = put_stuck_layer(service)
    west, east, both = [-10, 0, -5, 5], [5, 0, 10, 5], [-5, 0, 5, 5]
    first, _ = [await lou.create(stuck, bbox) for bbox in (west, east)]
    refused = await lou("POST", "/create", {"dbId": stuck, "bbox": both})
    assert refused.status == 429
    has, limit = (
        f"{MOST_OPEN} exports that wait or run",
        f"max_live_exports_per_client is {MOST_OPEN}",
    )
    assert refused.body["message"] == f"client 'lou' has {has}; {limit}"
    assert int(refused.headers["Retry-After"]) > 0
    await mia.create(put_layer(service, "free", 2), west)
    await lou.create(stuck, west)  # it repeats the first one, which makes no other export
    assert (await lou("DELETE", f"/exports/{first}")).status == 202
    assert await lou.create(stuck, both) != refused.body["requestId"]


async def test_a_client_that_asks_too_often_is_told_when_to_come_again_and_others_go_on(
    service, caller
):
    pia, quinn = caller("pia"), caller("quinn")
    layer = put_layer(service, "often", 1)
    wish = {"dbId": layer, "bbox": [1, 1, 2, 2]}
    assert (await pia("POST", "/create", wish | {"bbox": [1, 2, 3]})).status == 400  # not counted
    for _ in range(MOST_A_MINUTE):
        await pia.create(layer, wish["bbox"])
    refused = await pia("POST", "/create", wish)
    sent, limit = f"{MOST_A_MINUTE} requests within a minute", "max_requests_per_minute is"
    message = f"client 'pia' has sent {sent}; {limit} {MOST_A_MINUTE}"
    assert (refused.status, refused.body) == (429, {"message": message})
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    await quinn.create(layer, wish["bbox"])
    assert (await pia("GET", "/exports")).status == 200  # to look is not to ask
