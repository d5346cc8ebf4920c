"""kill -9 in the middle of an export: it still ends, once, with the same tiles."""

import asyncio
import signal
from contextlib import suppress

import pytest

from app.demo import DEMO_LAYER_ID
from tests.end_to_end.conftest import slowed

WHOLE_WORLD = 2 * (4**6 - 1) // 3
"""Tiles of the demo layer: zooms 0 to 5."""


@pytest.fixture(scope="module")
def service(start_service, tmp_path_factory):
    """A service of these tests alone: elsewhere the whole layer may have been exported already."""
    folder = tmp_path_factory.mktemp("kills")
    with start_service(folder / "data", **slowed(folder)) as started:
        yield started


async def begin(service, http, hooks, resolution=None):
    """Ask for the whole demo layer and wait until tiles are being written."""
    body = {"dbId": DEMO_LAYER_ID, "callbackURLs": [hooks.url]}
    if resolution is not None:
        body["minResolution"] = resolution
    async with http.post(f"{service.url}/create", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return (await answer.json())["requestId"]


async def until_shards_grow(service, eventually):
    def sizes():
        found = {}
        for path in (service.data_dir / "exports").rglob("*.part"):
            with suppress(FileNotFoundError):  # a shard that became a package meanwhile
                found[path] = path.stat().st_size
        return found

    known = sizes()
    await eventually(lambda: any(size > known.get(path, 200_000) for path, size in sizes().items()))


@pytest.mark.parametrize(
    ("victim", "resolution"), [("worker", 0.703125), ("coordinator", 0.3515625)]
)
async def test_an_export_ends_once_with_the_same_tiles_although_a_process_is_killed(
    service, http, hooks, eventually, tmp_path, read_results, read_package, victim, resolution
):
    request_id = await begin(service, http, hooks, resolution)
    await until_shards_grow(service, eventually)
    service.child(victim).send_signal(signal.SIGKILL)
    result = await hooks.result(request_id)
    assert result["success"], result
    tiles = await read_package(http, result, tmp_path)
    expected = WHOLE_WORLD if resolution > 0.7 else WHOLE_WORLD - 2
    assert len(tiles) == expected
    for (zoom, col, row), data in tiles.items():
        assert data == service.layer_tile(zoom, col, row).read_bytes()
    found = await asyncio.to_thread(read_results, service.broker)
    assert len([body for body in found if body["requestId"] == request_id]) == 1


async def test_a_second_start_goes_on_where_the_first_stopped(
    http, hooks, eventually, tmp_path, start_service
):
    with start_service(tmp_path / "data", **slowed(tmp_path)) as first:
        request_id = await begin(first, http, hooks)
        await until_shards_grow(first, eventually)
    assert not hooks.calls
    with start_service(tmp_path / "data", EXPORT_RANGE_BYTES="100000") as second:
        result = await hooks.result(request_id)
        assert result["success"], result
        assert result["tiles"]["written"] == WHOLE_WORLD

        async def is_completed():
            async with http.get(f"{second.url}/taskStatus/{request_id}") as answer:
                return (await answer.json())["status"] == "Completed"

        await eventually(is_completed)  # the webhook may be quicker than the ingress' view
