"""Compare writing a package from a folder tree with SQLite's bare limit, paired, round by round.

    .venv/bin/python scripts/bench/write_range.py [--tiles 10000 --tiles 80000] [--rounds 5]

limit: the same images, already in memory, into a bare table with UNIQUE, one executemany, no
journal, one fsync. ours: from the first read to the published package, checks, ledger, fsync,
sha256 and metadata included, in ranges of about 64 MB. The ratio is limit / ours.
"""

import argparse
import io
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from app.domain.package_facts import PackageFacts, PackagePlan
from app.domain.tile_range import TileRange, TileRun
from app.domain.tile_tables import TileTables
from app.domain.world_crs84_quad import tiles_bounds
from app.package.assemble import AssemblyTask, assemble
from app.package.shard import Shard
from app.package.table_plan import TablePlan
from app.sources.folder import FolderTileSource
from app.writing.write_range import write_range

ZOOM = 9
ROWS = 400
VARIANTS = 64
RANGE_BYTES = 64 << 20
BARE_TABLE = (
    "CREATE TABLE tiles (id INTEGER PRIMARY KEY AUTOINCREMENT, zoom_level INTEGER NOT NULL,"
    " tile_column INTEGER NOT NULL, tile_row INTEGER NOT NULL, tile_data BLOB NOT NULL,"
    " UNIQUE (zoom_level, tile_column, tile_row))"
)
INSERT = "INSERT INTO tiles (zoom_level, tile_column, tile_row, tile_data) VALUES (?, ?, ?, ?)"


def make_tree(root: Path, columns: int) -> None:
    """Write columns of JPEG tiles of about 12 KB; each file differs from all others."""
    random = np.random.default_rng(3)
    ramp = np.add.outer(np.arange(256), np.arange(256))[..., None] * 0.35 + 40
    images = []
    for _ in range(VARIANTS):
        pixels = np.clip(ramp + random.normal(0, 14, (256, 256, 3)), 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=72)
        images.append(buffer.getvalue())
    for col in range(columns):
        folder = root / str(ZOOM) / str(col)
        folder.mkdir(parents=True)
        for row in range(ROWS):
            image = images[(col * 7 + row * 13) % VARIANTS] + b"%d/%d" % (col, row)
            (folder / f"{row}.jpeg").write_bytes(image)


def read_all(root: Path, columns: int) -> list[tuple[int, int, int, bytes]]:
    return [
        (ZOOM, col, row, (root / str(ZOOM) / str(col) / f"{row}.jpeg").read_bytes())
        for col in range(columns)
        for row in range(ROWS)
    ]


def time_limit(folder: Path, rows: list[tuple[int, int, int, bytes]]) -> float:
    path = folder / "limit.gpkg"
    started = time.perf_counter()
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = off", "synchronous = off", "locking_mode = exclusive"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    connection.execute(BARE_TABLE)
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(INSERT, rows)
    connection.execute("COMMIT")
    connection.close()
    file = os.open(path, os.O_RDWR)
    os.fsync(file)
    os.close(file)
    return time.perf_counter() - started


def ranges_of(columns: int, tile_bytes: int) -> list[TileRange]:
    each = max(1, RANGE_BYTES // tile_bytes // ROWS)
    return [
        TileRange(number, (TileRun(ZOOM, first, min(first + each, columns) - 1, 0, ROWS - 1),))
        for number, first in enumerate(range(0, columns, each))
    ]


def time_ours(folder: Path, root: Path, columns: int, tile_bytes: int) -> tuple[float, float]:
    """Seconds for all, and seconds of it after the last range."""
    ranges = ranges_of(columns, tile_bytes)
    plan = PackagePlan(
        package_name="bench_1_z9_0_0.gpkg",
        table="bench",
        identifier="bench 1",
        layer_json="{}",
        area_wkb=b"",
        min_zoom=ZOOM,
        max_zoom=ZOOM,
        tiles_per_range=ranges[0].tile_count,
        algorithm=1,
        on_error="fail",
    )
    bounds = tiles_bounds(ZOOM, (0, columns - 1), (0, ROWS - 1))
    task = AssemblyTask(
        plan=plan,
        export_id="bench",
        attempt="0",
        range_count=len(ranges),
        tables=(TablePlan("bench", "bench 1", 0, ((ZOOM, columns * ROWS),), bounds),),
        footprint={
            "type": "Polygon",
            "coordinates": [[[bounds.west, bounds.south], [bounds.east, bounds.north]]],
        },
    )
    attempt = folder / "ours"
    started = time.perf_counter()
    source = FolderTileSource(root)
    shard = Shard.create(attempt, owner="bench", tables=TileTables.single("bench"))
    for tile_range in ranges:
        write_range(shard, tile_range, source, on_error="fail")
    shard.close()
    written = time.perf_counter()
    facts = assemble(
        attempt, task, owner="bench", now_ms=lambda: int(time.time() * 1000), beat=lambda: None
    )
    ended = time.perf_counter()
    assert isinstance(facts, PackageFacts), facts
    assert facts.written == columns * ROWS
    return ended - started, ended - written


def measure(folder: Path, root: Path, columns: int, rounds: int) -> None:
    rows = read_all(root, columns)
    total_bytes = sum(len(row[3]) for row in rows)
    limits, ours, ends = [], [], []
    for number in range(rounds + 1):
        pair: dict[str, float] = {}
        for name in ("limit", "ours") if number % 2 else ("ours", "limit"):
            shutil.rmtree(folder)
            folder.mkdir()
            os.sync()
            if name == "limit":
                pair[name] = time_limit(folder, rows)
            else:
                pair[name], end = time_ours(folder, root, columns, total_bytes // len(rows))
        if number:  # the first round warms the caches
            limits.append(pair["limit"])
            ours.append(pair["ours"])
            ends.append(end)
    ratios = sorted(limit / own for limit, own in zip(limits, ours, strict=True))
    print(
        f"{len(rows)} tiles of {total_bytes // len(rows)} bytes:"
        f" limit {statistics.median(limits):.3f} s, ours {statistics.median(ours):.3f} s"
        f" (of it assembly {statistics.median(ends):.3f} s),"
        f" ratio {statistics.median(ratios):.2f} [{ratios[0]:.2f} .. {ratios[-1]:.2f}]",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    counts = options.tiles or [10_000, 80_000]
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        root, folder = Path(name) / "tree", Path(name) / "out"
        folder.mkdir()
        make_tree(root, max(counts) // ROWS)
        for count in counts:
            measure(folder, root, count // ROWS, options.rounds)


if __name__ == "__main__":
    main()
