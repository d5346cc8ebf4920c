"""Fault: whoever moves the shards of a failed attempt, or still owns them, dies, waits or wakes.

Promise 2: what was committed is kept, once; no shard has two writers.
"""

import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.domain.errors import ShardLost, StorageUnavailable
from app.domain.package_facts import PackageFacts
from app.domain.tile_tables import TileTables
from app.package import connection as connection_module
from app.package.assemble import MissingRanges
from app.package.failures import NotOwner
from app.package.taking import adopt_shards, shard_paths
from app.package.verify import verify_package
from app.writing.write_range import write_range

HERE = Path(__file__).parent
NEW = "2-0"


@pytest.fixture
def new_folder(export):
    return export.folder.with_name(NEW)


def adopt(export, new_folder, owner="adopter"):
    return adopt_shards(
        export.folder,
        new_folder,
        owner=owner,
        tables=TileTables.single("BlueMarble"),
        beat=lambda: None,
    )


def ranges_of(shards):
    return sorted(number for shard in shards for number in shard.ranges)


def finish(export, new_folder, *missing):
    export.folder = new_folder
    if missing:
        outcome = export.assemble()
        assert isinstance(outcome, MissingRanges)
        told = {n for first, last in outcome.spans for n in range(first, last + 1)}
        assert told == set(missing)
        export.write(*missing)
    assert isinstance(export.assemble(), PackageFacts)
    assert verify_package(export.package).problems == ()
    assert len(export.files) == 2


def test_an_adoption_killed_at_any_step_is_finished_by_the_next(export, tmp_path):
    export.write(0, 1)
    export.write(3)
    copies = tmp_path / "copies" / "exports"
    done = subprocess.run(
        [
            sys.executable,
            str(HERE / "killed_adoption.py"),
            str(export.folder.parent),
            export.folder.name,
            NEW,
            "BlueMarble",
            str(copies),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(HERE.parents[1])},
    )
    killed = int(done.stdout)
    assert killed > 20
    for step in range(1, killed + 2):
        export.folder = copies / str(step) / "1-0"
        new_folder = export.folder.with_name(NEW)
        shards = adopt(export, new_folder, owner="next")
        assert ranges_of(shards) == [0, 1, 3], step
        assert shard_paths(export.folder) == []
        assert [path for path in export.folder.iterdir() if path.suffix != ".tmp"] == [], step
        finish(export, new_folder, 2, 4)


KILLED_IN_A_RANGE = """
import os, signal, sys
from pathlib import Path
from app.domain.tile_range import TileRange, TileRun
from app.domain.tile_tables import TileTables
from app.package.shard import Shard
from app.writing.write_range import write_range

class Source:
    left = 1500
    def read_many(self, tiles):
        Source.left -= len(tiles)
        if Source.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return [b"\\xff\\xd8\\xff" + bytes(9000) + b"\\xff\\xd9" for _ in tiles]

shard = Shard.create(Path(sys.argv[1]), owner="killed", tables=TileTables.single("layer"))
for number in range(2):
    runs = (TileRun(9, number * 10, number * 10 + 4, 0, 199),)
    write_range(shard, TileRange(number, runs), Source(), on_error="fail")
"""


def test_a_killed_transaction_is_undone_before_its_shard_is_moved(tmp_path):
    """The journal belongs to the old name: a shard that moved without it would be torn."""
    old, new = (tmp_path / "data" / "exports" / "ab" / name for name in ("1-0", "2-0"))
    (tmp_path / "data").mkdir()
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_A_RANGE, str(old)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in old.glob("*-journal")], "the test needs a hot journal"
    (taken,) = adopt_shards(
        old, new, owner="adopter", tables=TileTables.single("layer"), beat=lambda: None
    )
    assert taken.ranges == {0}
    connection = sqlite3.connect(taken.path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT count(*) FROM layer").fetchone() == (1_000,)
    connection.close()
    assert list(old.iterdir()) == []
    assert [path.name for path in new.iterdir()] == [taken.path.name]


def test_an_old_owner_that_wakes_up_after_the_move_is_refused(export, new_folder):
    shard = export.new_shard()
    write_range(shard, export.ranges[0], export.source, on_error="fail")
    adopt(export, new_folder)
    with pytest.raises(ShardLost, match="gone"):
        write_range(shard, export.ranges[0], export.source, on_error="fail")
    # Even one that was past the look at its name: its file is the one that moved.
    with pytest.raises(NotOwner, match="adopter"), shard.writing(1):
        pytest.fail("two writers of one shard")
    shard.close()
    (moved,) = shard_paths(new_folder)
    assert [path.name for path in new_folder.iterdir()] == [moved.name]
    finish(export, new_folder, 1, 2, 3, 4)


def test_a_shard_whose_owner_is_at_work_is_left_behind(export, new_folder, monkeypatch):
    monkeypatch.setattr(connection_module, "LOCK_WAIT_S", 0.05)
    export.write(0)
    shard = export.new_shard()
    with shard.writing(1) as rows:
        rows.insert([(1, 0, 0, b"\xff\xd8\xff" + bytes(90) + b"\xff\xd9")])
        assert ranges_of(adopt(export, new_folder)) == [0]
        assert shard_paths(export.folder) == [shard.path]
        rows.record([])
    assert shard.recorded(1) == ()
    shard.close()


def test_two_adopters_at_once_move_every_shard_once(export, new_folder):
    for number in range(5):
        export.write(number)
    begin = threading.Barrier(2)

    def run(owner: str):
        begin.wait(timeout=60)
        return adopt(export, new_folder, owner)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, ["left", "right"]))
    assert ranges_of(adopt(export, new_folder)) == [0, 1, 2, 3, 4]
    assert shard_paths(export.folder) == []
    finish(export, new_folder)


def test_a_shard_that_was_adopted_but_not_told_of_is_told_of_by_the_next(export, new_folder):
    export.write(0, 1)
    assert ranges_of(adopt(export, new_folder)) == [0, 1]
    export.write(2)  # a late writer of the failed attempt
    assert ranges_of(adopt(export, new_folder, owner="again")) == [0, 1, 2]
    finish(export, new_folder, 3, 4)


def test_ranges_of_the_new_attempts_own_writers_are_told_and_not_taken(export, new_folder):
    export.write(0)
    old, export.folder = export.folder, new_folder
    own = export.new_shard()
    write_range(own, export.ranges[1], export.source, on_error="fail")
    export.folder = old
    assert ranges_of(adopt(export, new_folder)) == [0, 1]
    write_range(own, export.ranges[2], export.source, on_error="fail")
    own.close()
    finish(export, new_folder, 3, 4)


def test_a_damaged_shard_is_not_adopted(export, new_folder):
    export.write(0, 1)
    (damaged,) = shard_paths(export.folder)
    damaged.write_bytes(b"garbage" * 4_000)
    export.write(2)
    assert ranges_of(adopt(export, new_folder)) == [2]
    finish(export, new_folder, 0, 1, 3, 4)


def test_a_disk_that_answers_with_an_error_is_told_as_such(export, new_folder, small_disk):
    disk = small_disk(export.folder.parents[1], "4m")
    export.write(0)
    disk.remount("ro")
    with pytest.raises(StorageUnavailable, match="Read-only"):
        adopt(export, new_folder)
    disk.remount("rw")
    assert ranges_of(adopt(export, new_folder)) == [0]


def test_an_attempt_without_a_folder_has_nothing_to_adopt(export, new_folder):
    shutil.rmtree(export.folder, ignore_errors=True)
    assert adopt(export, new_folder) == []


def test_a_disk_that_is_not_mounted_is_told_as_such_and_no_other_is_filled(tmp_path):
    data = tmp_path / "not-mounted"
    old, new = (data / "exports" / "ab" / name for name in ("1-0", "2-0"))
    with pytest.raises(StorageUnavailable, match="not-mounted is not there"):
        adopt_shards(
            old, new, owner="adopter", tables=TileTables.single("layer"), beat=lambda: None
        )
    assert not data.exists()
