"""Fault: kill -9 of worker and coordinator, again and again, in the middle of a large export.

Promise 2: it costs at most the ranges in flight; nothing starts over. Measured where it counts, by
the tiles that are read from the source.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from app.demo import DEMO_LAYER_ID
from app.planning.plan import WINDOW

ROOT = Path(__file__).parents[2]
WHOLE_WORLD = 2 * (4**6 - 1) // 3

# Python imports a `sitecustomize` on PYTHONPATH at its start, in every process of the service.
COUNTED_TILES = """
import os, time
from app.sources.folder import FolderTileSource

read_at_once = FolderTileSource.read_many
count = os.open(os.environ["TILES_READ"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def read_and_count(self, tiles):
    os.write(count, b"%d\\n" % len(tiles))
    time.sleep(0.25)
    return read_at_once(self, tiles)

FolderTileSource.read_many = read_and_count
"""
KILLS = ["worker", "coordinator", "worker", "coordinator", "worker"]


def tiles_by_range(service: Any) -> list[int]:
    """Tiles of each range that a worker wrote."""
    log = service.data_dir / "run" / "worker-1.log"
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [event["tiles"] for event in events if event["event"] == "range_written"]


@pytest.mark.long
async def test_kills_cost_the_ranges_in_flight_and_never_a_restart(
    tmp_path: Path,
    start_service: Any,
    http: Any,
    hooks: Any,
    eventually: Any,
    read_package: Any,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(COUNTED_TILES)
    counts = tmp_path / "tiles-read"
    with start_service(
        tmp_path / "data",
        EXPORT_RANGE_BYTES="200000",
        TILES_READ=str(counts),
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]),
    ) as service:
        body = {"dbId": DEMO_LAYER_ID, "callbackURLs": [hooks.url]}
        async with http.post(f"{service.url}/create", json=body) as answer:
            request_id = (await answer.json())["requestId"]
        done = 0
        for victim in KILLS:
            await eventually(
                lambda done=done: len(tiles_by_range(service)) >= done + 8, deadline_s=60
            )
            assert not hooks.calls, "the export ended before the last kill"
            service.child(victim).send_signal(signal.SIGKILL)
            done = len(tiles_by_range(service))
        result = await hooks.result(request_id)
        assert result["tiles"] == {"expected": WHOLE_WORLD, "written": WHOLE_WORLD, "missing": 0}
        tiles = await read_package(http, result, tmp_path)
        for (zoom, col, row), image in tiles.items():
            assert image == service.layer_tile(zoom, col, row).read_bytes()
        largest = max(tiles_by_range(service))
    read = sum(map(int, counts.read_text().split()))
    assert read <= WHOLE_WORLD + len(KILLS) * WINDOW * largest, f"{largest} tiles a range"
    assert done * largest > WHOLE_WORLD / 4, "the kills came too early to show anything"
