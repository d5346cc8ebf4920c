"""Ranges and the shard they are written to: all or nothing, once, and only by the owner."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest

from app.domain.errors import ShardLost, SourceUnavailable, StorageFull
from app.domain.package_facts import TileColumnRun
from app.domain.tile_range import TileRange, TileRun
from app.domain.tile_tables import TileTables
from app.package import connection as connection_module
from app.package.ownership import boot_id
from app.package.shard import Shard
from app.package.taking import take_shards
from app.sources.tile_source import Tile
from app.writing import reading_thread
from app.writing.write_range import BATCH_TILES, write_range

JPEG = b"\xff\xd8\xff" + bytes(9_000) + b"\xff\xd9"
LAYER = TileTables.single("layer")


class CountingSource:
    """Tiles of one image; remembers how often and by whom it was asked."""

    def __init__(self, image: bytes = JPEG) -> None:
        self.image = image
        self.asked: list[Tile] = []
        self.threads: set[int] = set()
        self.largest = 0

    def read_many(self, tiles: Sequence[Tile]) -> list[bytes | None]:
        self.threads.add(threading.get_ident())
        self.largest = max(self.largest, len(tiles))
        self.asked += tiles
        return [self.image for _ in tiles]


class OutOfReach(CountingSource):
    """Fails at every tile of column 3."""

    def read_many(self, tiles: Sequence[Tile]) -> list[bytes | None]:
        for zoom, col, row in tiles:
            if col == 3:
                raise SourceUnavailable(f"tile {zoom}/{col}/{row} cannot be read: timeout")
        return super().read_many(tiles)


@pytest.fixture
def shard(tmp_path):
    made = Shard.create(tmp_path / "attempt", owner="w1", tables=LAYER)
    yield made
    made.close()


def block(number: int, columns: int, rows: int) -> TileRange:
    return TileRange(number, (TileRun(9, number * 10, number * 10 + columns - 1, 0, rows - 1),))


def stored(shard: Shard) -> list[tuple[int, int]]:
    connection = sqlite3.connect(shard.path)
    try:
        return connection.execute(
            'SELECT tile_column, tile_row FROM "layer" ORDER BY id'
        ).fetchall()
    finally:
        connection.close()


def test_a_range_is_counted_by_zoom(shard):
    mixed = TileRange(0, (TileRun(1, 0, 1, 0, 0), TileRun(2, 3, 3, 0, 2)))
    coarse, fine = write_range(shard, mixed, CountingSource(), on_error="fail")
    assert (coarse.zoom, coarse.expected, coarse.written) == (1, 2, 2)
    assert (fine.zoom, fine.expected, fine.written, fine.tile_bytes) == (2, 3, 3, 3 * len(JPEG))


def test_a_range_in_the_ledger_is_answered_without_reading(shard):
    source = CountingSource()
    first = write_range(shard, block(0, 2, 30), source, on_error="fail")
    source.asked.clear()
    assert write_range(shard, block(0, 2, 30), source, on_error="fail") == first
    assert source.asked == []
    assert len(stored(shard)) == 60


def test_tiles_are_stored_in_export_order_whatever_the_batches(shard):
    source = CountingSource()
    tile_range = block(0, 3, 217)
    write_range(shard, tile_range, source, on_error="fail")
    assert stored(shard) == [(col, row) for _, col, row in tile_range.tiles()]
    assert source.largest <= BATCH_TILES
    assert threading.get_ident() not in source.threads


def test_large_tiles_are_read_a_few_at_a_time(shard):
    source = CountingSource(JPEG + bytes(1 << 20))
    write_range(shard, block(0, 1, 40), source, on_error="fail")
    assert source.largest <= 16
    assert len(stored(shard)) == 40


def test_an_unreadable_tile_fails_the_range_and_leaves_nothing_of_it(shard):
    with pytest.raises(SourceUnavailable, match=r"9/3/0.*timeout"):
        write_range(shard, block(0, 5, 100), OutOfReach(), on_error="fail")
    assert stored(shard) == []
    assert shard.recorded(0) is None
    write_range(shard, block(0, 5, 100), CountingSource(), on_error="fail")
    assert len(stored(shard)) == 500


class Slow(CountingSource):
    """Takes a while to find out that it has no tile to give."""

    def read_many(self, tiles: Sequence[Tile]) -> list[bytes | None]:
        threading.Event().wait(0.1)
        raise SourceUnavailable(f"none of {len(tiles)} tiles can be read: a bad block")


def test_with_skip_a_batch_of_unreadable_tiles_may_take_longer_than_one_answer(shard, monkeypatch):
    monkeypatch.setattr(reading_thread, "READ_DEADLINE_S", 1.0)
    (counts,) = write_range(shard, block(0, 1, 16), Slow(), on_error="skip")
    assert counts.skipped == 16


def test_with_skip_only_the_unreadable_tiles_are_left_out(shard, tmp_path):
    (counts,) = write_range(shard, block(0, 5, 30), OutOfReach(), on_error="skip")
    assert (counts.expected, counts.written, counts.skipped) == (150, 120, 30)
    assert (3, 0) not in stored(shard)
    connection = sqlite3.connect(shard.path)
    ((skipped,),) = connection.execute("SELECT skipped FROM _range_ledger").fetchall()
    connection.close()
    assert skipped == "[[9,3,0,29]]"


def test_missing_tiles_are_counted_and_kept_as_runs(export):
    for row in (5282, 5283):
        export.source_path((14, 19553, row)).unlink()
    shard = export.new_shard()
    last = export.ranges[-1]
    counts = write_range(shard, last, export.source, on_error="fail")
    shard.close()
    assert sum(zoom.missing for zoom in counts) == 2
    from app.package.ledger import column_runs

    assert column_runs([(14, 19553, 5282), (14, 19553, 5283)]) == (
        TileColumnRun(14, 19553, 5282, 5283),
    )


@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_bytes_that_no_geopackage_may_hold_are_not_stored(shard, on_error):
    source = CountingSource(b"II*\0 a TIFF, let through by a careless source")
    if on_error == "fail":
        with pytest.raises(SourceUnavailable, match="no JPEG, PNG or WebP"):
            write_range(shard, block(0, 1, 3), source, on_error=on_error)
    else:
        (counts,) = write_range(shard, block(0, 1, 3), source, on_error=on_error)
        assert (counts.written, counts.skipped) == (0, 3)
    assert stored(shard) == []


def test_a_writer_whose_shard_was_taken_is_refused_and_can_open_another(shard):
    write_range(shard, block(0, 1, 10), CountingSource(), on_error="fail")
    folder = shard.path.parent
    (taken,) = take_shards(folder, owner="assembler", tables=LAYER, beat=lambda: None)
    assert taken.ranges == {0}
    with pytest.raises(ShardLost, match="assembler"):
        write_range(shard, block(1, 1, 10), CountingSource(), on_error="fail")
    other = Shard.create(folder, owner="w1", tables=LAYER)
    write_range(other, block(1, 1, 10), CountingSource(), on_error="fail")
    other.close()
    assert other.path != shard.path


def test_a_writer_whose_shard_was_removed_is_refused(shard):
    shard.path.unlink()
    with pytest.raises(ShardLost):
        write_range(shard, block(0, 5, 400), CountingSource(), on_error="fail")


def test_a_shard_at_work_is_left_behind_by_the_assembler(shard, monkeypatch):
    monkeypatch.setattr(connection_module, "LOCK_WAIT_S", 0.05)
    with shard.writing(0) as rows:
        rows.insert([(1, 0, 0, JPEG)])
        assert take_shards(shard.path.parent, owner="a", tables=LAYER, beat=lambda: None) == []
        rows.record([])
    assert shard.recorded(0) == ()


def test_no_shard_is_seen_before_its_tables_and_owner_exist(tmp_path, monkeypatch):
    seen = []

    def create_owner(*_: object) -> None:
        seen.extend(take_shards(tmp_path, owner="a", tables=LAYER, beat=lambda: None))
        seen.append("looked")

    monkeypatch.setattr("app.package.shard.create_owner", create_owner)
    Shard.create(tmp_path, owner="w1", tables=LAYER).close()
    assert seen == ["looked"]


@pytest.mark.parametrize(("owner", "table"), [("../x", "t"), ("w", 'a"b'), ("w", "gpkg_contents")])
def test_names_that_could_do_harm_are_refused(tmp_path, owner, table):
    with pytest.raises(ValueError, match="cannot name"):
        Shard.create(tmp_path, owner=owner, tables=TileTables.single(table))


def test_a_full_disk_is_told_as_such_and_leaves_nothing_of_the_range(shard):
    write_range(shard, block(0, 1, 10), CountingSource(), on_error="fail")
    (pages,) = shard._connection.execute("PRAGMA page_count").fetchone()
    shard._connection.execute(f"PRAGMA max_page_count = {pages + 20}")
    with pytest.raises(StorageFull):
        write_range(shard, block(1, 2, 400), CountingSource(), on_error="fail")
    assert len(stored(shard)) == 10
    shard._connection.execute("PRAGMA max_page_count = 1000000")
    write_range(shard, block(1, 2, 400), CountingSource(), on_error="fail")


def test_a_disk_without_room_for_a_new_shard_is_told_as_such(tmp_path):
    code = (
        "import resource, signal\n"
        "from pathlib import Path\n"
        "from app.domain.errors import StorageFull, StorageUnavailable\n"
        "from app.domain.tile_tables import TileTables\n"
        "from app.package.shard import Shard\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        "try:\n"
        f"    Shard.create(Path({str(tmp_path)!r}), owner='w', tables=TileTables.single('t'))\n"
        "except (StorageFull, StorageUnavailable):\n"
        "    print('told')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "told\n"


KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from app.domain.tile_range import TileRange, TileRun
from app.domain.tile_tables import TileTables
from app.package.shard import Shard
from app.writing.write_range import write_range

class Source:
    left = int(sys.argv[2])
    def read_many(self, tiles):
        Source.left -= len(tiles)
        if Source.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return [b"\\xff\\xd8\\xff" + bytes(9000) + b"\\xff\\xd9" for _ in tiles]

shard = Shard.create(Path(sys.argv[1]), owner="killed", tables=TileTables.single("layer"))
for number in range(3):
    runs = (TileRun(9, number * 10, number * 10 + 4, 0, 199),)
    write_range(shard, TileRange(number, runs), Source(), on_error="fail")
"""


@pytest.mark.parametrize("tiles_before", [0, 900, 1_010, 1_800, 2_950])
def test_killed_in_the_middle_of_a_range_a_shard_keeps_the_ranges_before_it(tmp_path, tiles_before):
    """Fault: kill -9 with pages spilled to the file. Promise 2: only the range at work is lost."""
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WRITER, str(tmp_path), str(tiles_before)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    (taken,) = take_shards(tmp_path, owner="assembler", tables=LAYER, beat=lambda: None)
    done = tiles_before // 1_000
    assert taken.ranges == set(range(done))
    connection = sqlite3.connect(taken.path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    (count,) = connection.execute('SELECT count(*) FROM "layer"').fetchone()
    connection.close()
    assert count == 1_000 * done
    assert [path.name for path in tmp_path.iterdir()] == [taken.path.name]


def test_a_shard_from_before_a_restart_of_the_machine_is_looked_through(shard, monkeypatch):
    write_range(shard, block(0, 2, 50), CountingSource(), on_error="fail")
    shard.close()
    boot_id.cache_clear()
    monkeypatch.setattr("app.package.taking.boot_id", lambda: "another")
    (taken,) = take_shards(shard.path.parent, owner="a", tables=LAYER, beat=lambda: None)
    assert taken.ranges == {0}


def test_pages_lost_in_a_power_cut_are_found_and_the_shard_is_set_aside(shard, monkeypatch):
    write_range(shard, block(0, 2, 50), CountingSource(), on_error="fail")
    shard.close()
    with shard.path.open("r+b") as file:  # the last page of a tile never reached the disk
        file.seek(-4096, os.SEEK_END)
        file.write(bytes(4096))
    monkeypatch.setattr("app.package.taking.boot_id", lambda: "another")
    assert take_shards(shard.path.parent, owner="a", tables=LAYER, beat=lambda: None) == []
    assert [path.name for path in shard.path.parent.iterdir()] == [f"lost-{shard.path.name}"]


MEASURED_WRITER = """
import resource, sys
from pathlib import Path
from app.domain.tile_range import TileRange, TileRun
from app.domain.tile_tables import TileTables
from app.package.shard import Shard
from app.writing.write_range import write_range

class Source:
    def read_many(self, tiles):
        return [b"\\xff\\xd8\\xff" + bytes(int(sys.argv[2])) + b"\\xff\\xd9" for _ in tiles]

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

shard = Shard.create(Path(sys.argv[1]), owner="measured", tables=TileTables.single("layer"))
first = TileRange(0, (TileRun(9, 0, 0, 0, 0),))
write_range(shard, first, Source(), on_error="fail")
idle = peak_mb()
write_range(shard, TileRange(1, (TileRun(9, 1, 5, 0, 255),)), Source(), on_error="fail")
print(peak_mb() - idle)
"""


@pytest.mark.parametrize("tile_bytes", [12_000, 100_000, 260_000])
def test_memory_stays_far_below_64_mb_whatever_the_size_of_tiles(tmp_path, tile_bytes):
    done = subprocess.run(
        [sys.executable, "-c", MEASURED_WRITER, str(tmp_path), str(tile_bytes)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 32
