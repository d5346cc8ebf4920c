"""`POST /estimate` and `GET /storage` over HTTP, with a real broker and a real disk."""

import asyncio
import shutil
import threading

import orjson
import pytest

from app.domain.decision import Send
from app.domain.errors import StorageUnavailable
from app.domain.rows import LayerRow, ZoomMean
from app.ingress import storage
from app.ingress.space_endpoints import Estimate, Storage
from app.ingress.storage import StorageGauge


async def estimate(client, body: dict | bytes):
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    async with client.post("/estimate", data=data) as answer:
        told = await answer.json()
        if answer.status == 200:
            Estimate.model_validate(told)
        return answer.status, told


async def test_the_golden_export_is_estimated_and_nothing_is_started(client, peer, golden):
    status, told = await estimate(client, golden)
    assert (status, told["zoom"], told["tiles"], told["bytes"]) == (200, 14, 18, 225_000)
    assert (told["fits"], told["secondsBasis"]) == (True, "assumed")
    assert told["tilesByZoom"][-1] == {"zoom": 14, "tiles": 4, "bytes": 50_000}
    # A request that comes after it is the first that the registrar sees.
    async with client.post("/create", data=orjson.dumps(golden)) as answer:
        assert answer.status == 200
    assert len(peer.asked) == 1


async def test_finished_exports_teach_sizes_and_running_ones_reserve_space(
    client, peer, say, golden, eventually
):
    means = LayerRow(tuple(ZoomMean(zoom, 1_000) for zoom in range(15)))
    done = {"tiles_expected": 6_000, "started_at_ms": 1_000, "finished_at_ms": 3_000}
    await peer.send(
        Send("coordinator-layers-changelog", golden["dbId"], means),
        say.export(6_000, "Completed", **done),
        say.export(0, export_id="f" * 64, estimated_bytes=1_000_000),
    )

    async def has_learned() -> dict | None:
        _, told = await estimate(client, golden)
        return told if told["reservedBytes"] and told["bytes"] != 225_000 else None

    told = await eventually(has_learned)
    assert (told["bytes"], told["reservedBytes"]) == (18_000, 1_250_000)
    assert told["secondsBasis"] == "layer"


async def test_too_much_is_no_error_but_told_with_the_zoom_that_fits(client, golden):
    whole = {"dbId": golden["dbId"]}
    status, told = await estimate(client, whole)
    assert (status, told["fits"]) == (200, False)
    limit = next(one for one in told["limits"] if one["limit"] == "tiles")
    assert limit["actual"] == told["tiles"] > limit["value"] == 10_000
    assert 0 <= told["suggestedZoom"] < 14
    status, coarser = await estimate(
        client, whole | {"targetResolution": 0.703125 / 2 ** told["suggestedZoom"]}
    )
    assert (status, coarser["fits"]) == (200, True)
    async with client.post("/create", data=orjson.dumps(whole)) as answer:
        assert answer.status == 413


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"bbox": [50, 50, 60, 60]}, 400, "bbox"),
        ({"targetResolution": 1}, 400, "targetResolution"),
        ({"dbId": "5b0f3ab3-52ac-4ea5-86e9-30b2ad3ef38c"}, 404, "dbId"),
        ({"zoom": 3}, 400, "zoom"),
    ],
)
async def test_a_bad_body_is_refused_as_by_create(client, golden, change, status, message):
    told = await estimate(client, golden | change)
    assert told[0] == status
    assert message in told[1]["message"]
    async with client.post("/create", data=orjson.dumps(golden | change)) as answer:
        assert (answer.status, await answer.json()) == told


async def test_the_space_is_that_of_the_disk_less_what_is_reserved(
    client, peer, say, settings, eventually
):
    async def storage() -> dict:
        disk = shutil.disk_usage(settings.exports_dir)
        async with client.get("/storage") as answer:
            assert answer.status == 200
            told = await answer.json()
        Storage.model_validate(told)
        assert told["totalBytes"] == disk.total
        # Others fill the same disk, and may just have made or removed something large.
        assert abs(told["freeBytes"] - disk.free) < 1_000_000_000
        return told

    told = await eventually(storage)
    assert (told["reservedBytes"], told["availableBytes"] < told["freeBytes"]) == (0, True)


async def test_a_disk_that_hangs_holds_one_thread_and_is_told_as_unavailable(monkeypatch):
    monkeypatch.setattr(storage, "LOOK_TIMEOUT_S", 0.05)
    answers = threading.Event()

    class HangingDisk:
        looks = 0

        def total_bytes(self) -> int:
            self.looks += 1
            answers.wait(10)
            return 7

        def free_bytes(self) -> int:
            return 5

    disk = HangingDisk()
    gauge = StorageGauge(disk, lambda: 3)
    told = await asyncio.gather(*(gauge.space() for _ in range(50)), return_exceptions=True)
    assert all(isinstance(one, StorageUnavailable) for one in told)
    assert disk.looks == 1
    answers.set()
    monkeypatch.setattr(storage, "LOOK_TIMEOUT_S", 10)
    space = await gauge.space()
    assert (space.total, space.free, space.reserved, space.available) == (7, 5, 3, 0)
