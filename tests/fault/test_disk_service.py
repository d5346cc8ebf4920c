"""Fault: the disk of a running service is full. Promises 1 and 4, the whole way round."""

import asyncio
import os
from pathlib import Path
from typing import Any

from app.demo import DEMO_LAYER_ID

ROOT = Path(__file__).parents[2]

SLOW_TILES = """
import time
from pathlib import Path
from app.sources.folder import FolderTileSource

HELD = Path(__file__).with_name("held")
read_at_once = FolderTileSource.read_many

def read_slowly(self, tiles):
    time.sleep(0.05)
    while HELD.exists():
        time.sleep(0.05)
    return read_at_once(self, tiles)

FolderTileSource.read_many = read_slowly
"""


async def ask(service: Any, http: Any, hooks: Any, resolution: float) -> str:
    body = {"dbId": DEMO_LAYER_ID, "minResolution": resolution, "callbackURLs": [hooks.url]}
    async with http.post(f"{service.url}/create", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["requestId"])


async def test_a_full_disk_fails_the_export_with_that_reason_and_others_go_on(
    tmp_path: Path,
    small_disk: Any,
    start_service: Any,
    http: Any,
    hooks: Any,
    eventually: Any,
    read_package: Any,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_TILES)
    data_dir = tmp_path / "data"
    # Larger than what admission wants to see free; it fills up after the request was accepted.
    disk = small_disk(data_dir / "exports", "400m")
    with start_service(
        data_dir,
        EXPORT_RANGE_BYTES="200000",
        EXPORT_REMOVAL_GRACE_S="1",
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]),
    ) as service:
        failing = await ask(service, http, hooks, 0.02)
        await eventually(
            lambda: any(path.stat().st_size > 300_000 for path in disk.path.rglob("*.part")),
            deadline_s=30,
        )
        worker = service.child("worker").pid
        # However long it takes to fill the disk, the export has tiles to write after it.
        held = tmp_path / "held"
        held.touch()
        filler = await asyncio.to_thread(disk.fill)
        held.unlink()
        result = await hooks.result(failing)
        assert result["success"] is False
        assert "no space left" in result["errorReason"], result
        # Nothing but whole shards, and those go with the attempt.
        await eventually(lambda: not list(disk.path.rglob("*.gpkg*")), deadline_s=60)
        filler.unlink()
        good = await hooks.result(await ask(service, http, hooks, 0.2))
        assert good["success"], good
        tiles = await read_package(http, good, tmp_path)
        assert len(tiles) == good["tiles"]["written"]
        for (zoom, col, row), image in tiles.items():
            assert image == service.layer_tile(zoom, col, row).read_bytes()
        assert service.child("worker").pid == worker, "the full disk cost the worker's life"


async def test_an_export_waits_for_a_disk_that_is_read_only_for_a_while_and_no_worker_dies(
    tmp_path: Path, small_disk: Any, start_service: Any, http: Any, hooks: Any, eventually: Any
) -> None:
    data_dir = tmp_path / "data"
    disk = small_disk(data_dir / "exports", "400m")
    with start_service(data_dir, EXPORT_RANGE_BYTES="200000") as service:
        worker = service.child("worker").pid
        disk.remount("ro")
        healed = await ask(service, http, hooks, 0.2)
        log = data_dir / "run" / "worker-1.log"
        await eventually(lambda: log.read_text().count("Read-only file system") >= 2, deadline_s=30)
        assert not hooks.calls
        disk.remount("rw")
        result = await hooks.result(healed)
        assert result["success"], result
        assert service.child("worker").pid == worker
