#!/usr/bin/env python3
"""Measure whole exports, from POST to webhook, beside a bare sqlite3 insert of the same tiles.

    .venv/bin/python scripts/bench/export.py [--sizes 1000,10000,80000] [--rounds 5] [--folder DIR]

Starts the service as a person would (broker, ingress, coordinator, one worker), on a layer of
12 KB tiles made for it. Each round takes one export and one insert on the same disk, in turns, and
only the ratios of a round count: this machine is never quiet. Prints medians.

The bare insert has the tiles in memory, one table with the UNIQUE of GeoPackage, no journal, one
executemany, and ends with fsync; it reads nothing, checks nothing and keeps no result.
"""

import argparse
import asyncio
import io
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
from aiohttp import web
from PIL import Image

LAYER_ID = "0bec0000-0000-4000-8000-000000000001"
ZOOM = 9
TILE_DEG = 180 / 2**ZOOM
ROW0 = 40
# Columns x rows at zoom 9, so that all zooms together hold about the number of tiles.
SIZES = {1_000: (30, 25), 10_000: (100, 75), 80_000: (300, 200)}
TILE_BYTES = 12_000
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Box:
    """Tiles of the finest zoom, by column and row, and all zooms above them."""

    first_col: int
    cols: int
    rows: int

    @property
    def bbox(self) -> list[float]:
        west, north = -180 + self.first_col * TILE_DEG, 90 - ROW0 * TILE_DEG
        return [west, north - self.rows * TILE_DEG, west + self.cols * TILE_DEG, north]

    def tiles(self, zooms: range) -> list[tuple[int, int, int]]:
        """All tiles in export order."""
        found = []
        for zoom in zooms:
            up = ZOOM - zoom
            cols = range(self.first_col >> up, ((self.first_col + self.cols - 1) >> up) + 1)
            rows = range(ROW0 >> up, ((ROW0 + self.rows - 1) >> up) + 1)
            found += [(zoom, col, row) for col in cols for row in rows]
        return found


def make_layer(data_dir: Path, box: Box) -> None:
    """Write the pyramid of a box: JPEG images of noise, padded to 12 KB, no two alike."""
    root = data_dir / "layers" / "bench"
    if (root / "done").exists():
        return
    noise = random.Random(1)
    image = Image.frombytes("RGB", (256, 256), noise.randbytes(256 * 256 * 3)).resize((256, 256))
    buffer = io.BytesIO()
    image.resize((64, 64)).resize((256, 256)).save(buffer, "JPEG", quality=70)
    head = buffer.getvalue()[:TILE_BYTES]
    for zoom, col, row in box.tiles(range(ZOOM + 1)):
        folder = root / str(zoom) / str(col)
        folder.mkdir(parents=True, exist_ok=True)
        pad = noise.randbytes(max(0, TILE_BYTES - len(head)))
        (folder / f"{row}.jpeg").write_bytes(head + pad)
    catalogue = data_dir / "catalogue"
    catalogue.mkdir(parents=True, exist_ok=True)
    record = {
        "id": LAYER_ID,
        "type": "RECORD_RASTER",
        "productId": "bench",
        "productName": "Bench",
        "productVersion": "1.0",
        "productType": "Orthophoto",
        "maxResolutionDeg": 0.703125 / 2**ZOOM,
        "meanTileBytes": TILE_BYTES,
        "tileOutputFormat": "JPEG",
        "transparency": "OPAQUE",
        "footprint": {
            "type": "Polygon",
            "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]],
        },
        "source": {"type": "folder", "path": "bench", "rows": "xyz", "extension": "jpeg"},
    }
    (catalogue / "bench.json").write_text(json.dumps(record))
    (root / "done").touch()


def bare_insert(blobs: list[tuple[int, int, int, bytes]], folder: Path) -> float:
    """Insert tiles that are in memory into a bare table; seconds, fsync included."""
    path = folder / "bare.sqlite"
    path.unlink(missing_ok=True)
    started = time.perf_counter()
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("page_size=4096", "journal_mode=off", "synchronous=off"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    connection.execute(
        "CREATE TABLE tiles (id INTEGER PRIMARY KEY AUTOINCREMENT, zoom_level INTEGER NOT NULL, "
        "tile_column INTEGER NOT NULL, tile_row INTEGER NOT NULL, tile_data BLOB NOT NULL, "
        "UNIQUE (zoom_level, tile_column, tile_row))"
    )
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO tiles (zoom_level, tile_column, tile_row, tile_data) VALUES (?,?,?,?)", blobs
    )
    connection.execute("COMMIT")
    connection.close()
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.close(descriptor)
    took = time.perf_counter() - started
    path.unlink()
    return took


class Service:
    """The running service and a receiver for its webhooks."""

    def __init__(self, url: str, process: psutil.Process, hook: str, data_dir: Path) -> None:
        self.url, self.process, self.hook, self.data_dir = url, process, hook, data_dir
        self.arrived: dict[str, asyncio.Future[tuple[float, dict]]] = {}
        self.session: aiohttp.ClientSession

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = request.match_info["name"]
        if name in self.arrived and not self.arrived[name].done():
            self.arrived[name].set_result((time.perf_counter(), body))
        return web.Response()

    async def export(self, name: str, body: dict) -> tuple[float, dict]:
        """Ask and wait for the webhook; seconds from POST to webhook, and the result."""
        self.arrived[name] = asyncio.get_running_loop().create_future()
        body |= {"dbId": LAYER_ID, "callbackURLs": [f"{self.hook}/{name}"]}
        started = time.perf_counter()
        async with self.session.post(f"{self.url}/create", json=body) as answer:
            assert answer.status == 200, await answer.text()
        at, result = await asyncio.wait_for(self.arrived[name], 120)
        assert result["success"], result
        return at - started, result

    def processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def worker(self) -> psutil.Process:
        return next(p for p in self.processes() if p.cmdline()[-1:] == ["worker"])

    def cpu_s(self) -> float:
        return sum(sum(p.cpu_times()[:2]) for p in self.processes())


@asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[Service]:
    """Start the service as scripts/run does, without the demo layer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-P", "-m", "app", "up", "--no-demo"]
    command += ["--port", str(port), "--data-dir", str(data_dir)]
    up = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    service = Service(f"http://127.0.0.1:{port}", psutil.Process(up.pid), "", data_dir)
    app = web.Application()
    app.router.add_post("/{name}", service.receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    service.hook = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as service.session:
        try:
            async with asyncio.timeout(60):
                while True:
                    try:
                        async with service.session.get(f"{service.url}/readyz") as answer:
                            if answer.status == 200:
                                break
                    except aiohttp.ClientError:
                        pass
                    await asyncio.sleep(0.1)
            yield service
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(60)
            await runner.cleanup()


def peak_bytes(process: psutil.Process) -> int:
    """The process's peak resident memory since it was last reset, bytes."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM")


def reset_peak(process: psutil.Process) -> None:
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")


async def measure_exports(service: Service, sizes: list[int], rounds: int) -> None:
    idle_bytes = service.worker().memory_info().rss
    print(f"worker, idle: {idle_bytes / 2**20:.0f} MB")
    serial = 0
    for size in sizes:
        cols, rows = SIZES[size]
        shares, rates, peaks = [], [], []
        for number in range(rounds + 1):  # the first round only warms the page cache
            box = Box(first_col=100 + serial, cols=cols, rows=rows)
            serial += 1
            tiles = box.tiles(range(ZOOM + 1))
            root = service.data_dir / "layers" / "bench"
            blobs = [(z, c, r, (root / f"{z}/{c}/{r}.jpeg").read_bytes()) for z, c, r in tiles]
            os.sync()
            steps = ["bare", "export"] if number % 2 else ["export", "bare"]
            for step in steps:
                os.sync()
                if step == "bare":
                    bare_s = await asyncio.to_thread(bare_insert, blobs, service.data_dir)
                else:
                    worker = service.worker()
                    reset_peak(worker)
                    took_s, result = await service.export(f"e{serial}", {"bbox": box.bbox})
                    peak = peak_bytes(worker)
            assert result["tiles"]["written"] == len(tiles), (result["tiles"], len(tiles))
            shutil.rmtree(service.data_dir / "exports", ignore_errors=True)
            del blobs
            if number:
                shares.append(bare_s / took_s)
                rates.append(len(tiles) / took_s)
                peaks.append((peak - idle_bytes) / 2**20)
        print(
            f"{size:>6} tiles: {statistics.median(rates):8.0f} tiles/s, "
            f"share of a bare insert {statistics.median(shares):.2f} "
            f"({min(shares):.2f} to {max(shares):.2f}), "
            f"worker over idle {max(peaks):.0f} MB, {len(shares)} rounds",
            flush=True,
        )


async def measure_tiny(service: Service, count: int) -> None:
    """Exports of one tile, one after the other."""
    took = []
    for number in range(count + 5):
        box = Box(first_col=100 + number, cols=1, rows=1)
        body = {"bbox": box.bbox, "minResolution": 0.703125 / 2**ZOOM}
        took.append((await service.export(f"t{number}", body))[0])
    took = sorted(took[5:])
    p50, p99 = statistics.median(took), took[int(len(took) * 0.99)]
    print(
        f"one tile, POST to webhook: p50 {p50 * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms, {count} times"
    )


async def measure_idle(service: Service, seconds: float) -> None:
    await asyncio.sleep(5)
    before = service.cpu_s()
    parts = {p.pid: sum(p.cpu_times()[:2]) for p in service.processes()}
    await asyncio.sleep(seconds)
    print(
        f"idle service: {(service.cpu_s() - before) / seconds:.3f} of a core over {seconds:.0f} s"
    )
    for p in service.processes():
        used = (sum(p.cpu_times()[:2]) - parts[p.pid]) / seconds
        print(f"    {used:.3f}  {' '.join(p.cmdline()[-3:])[:60]}")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1000,10000,80000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", type=int, default=100)
    parser.add_argument("--idle-s", type=float, default=30)
    parser.add_argument(
        "--folder",
        type=Path,
        help="keep the layer here for the next run; default: a temporary folder",
    )
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",") if size]
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        data_dir = (options.folder or Path(temporary)).resolve()
        for stale in ("broker", "run", "exports"):
            # Of an earlier run: its finished exports would answer at once.
            shutil.rmtree(data_dir / stale, ignore_errors=True)
        print("making the layer ...", flush=True)
        make_layer(data_dir, Box(first_col=100, cols=340, rows=200))
        async with running(data_dir) as service:
            await measure_idle(service, options.idle_s)
            await measure_tiny(service, options.tiny)
            await measure_exports(service, sizes, options.rounds)


if __name__ == "__main__":
    asyncio.run(main())
