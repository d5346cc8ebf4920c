"""SIGTERM to a real worker in the middle of an export: it ends its range, and nothing twice."""

import json
import os
from pathlib import Path
from typing import Any

from app.demo import DEMO_LAYER_ID

ROOT = Path(__file__).parents[2]

# Python imports a `sitecustomize` on PYTHONPATH at its start, in every process of the service.
SLOW_TILES = """
import time
from app.sources.folder import FolderTileSource

read_at_once = FolderTileSource.read_many

def read_slowly(self, tiles):
    time.sleep(0.1)
    return read_at_once(self, tiles)

FolderTileSource.read_many = read_slowly
"""
WHOLE_WORLD = 2 * (4**6 - 1) // 3


def logged(service: Any) -> list[dict[str, Any]]:
    log = service.data_dir / "run" / "worker-1.log"
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def ranges_written(service: Any) -> list[int]:
    events = logged(service)
    return [event["range_number"] for event in events if event["event"] == "range_written"]


async def test_a_worker_that_is_told_to_stop_ends_its_range_and_no_range_is_done_twice(
    broker: str,
    topic_prefix: str,
    tmp_path: Path,
    start_service: Any,
    http: Any,
    hooks: Any,
    eventually: Any,
    read_package: Any,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_TILES)
    with start_service(
        tmp_path / "data",
        EXPORT_BROKER=broker,
        EXPORT_TOPIC_PREFIX=topic_prefix,
        EXPORT_RANGE_BYTES="200000",
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]),
    ) as service:
        body = {"dbId": DEMO_LAYER_ID, "callbackURLs": [hooks.url]}
        async with http.post(f"{service.url}/create", json=body) as answer:
            request_id = (await answer.json())["requestId"]
        await eventually(lambda: len(ranges_written(service)) >= 5, deadline_s=30)
        service.child("worker").terminate()
        await eventually(
            lambda: any("worker-1 ended with status 0" in line for line in service.lines),
            deadline_s=20,
        )
        # Those in hand, at most four side by side, and not all that wait in memory.
        told = [event["event"] for event in logged(service)]
        stopping = told[told.index("stopping") : told.index("stopped")]
        assert stopping.count("range_written") <= 8
        result = await hooks.result(request_id)
        assert result["tiles"] == {"expected": WHOLE_WORLD, "written": WHOLE_WORLD, "missing": 0}
        assert len(await read_package(http, result, tmp_path)) == WHOLE_WORLD
        written = ranges_written(service)
        assert sorted(written) == sorted(set(written))
