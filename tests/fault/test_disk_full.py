"""Fault: the disk is full while an export is made, or read-only, or gone.

Promise: the export ends with that reason or is tried again, nothing half-written stays, and the
next one goes on once there is space. The disks are real, and small.
"""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from app.domain.errors import ShardLost, StorageFull, StorageUnavailable
from app.domain.package_facts import PackageFacts
from app.domain.tile_tables import TileTables
from app.package import publishing, totals
from app.package.assemble import MissingRanges
from app.package.durable_file import write_durably
from app.package.shard import Shard
from app.package.taking import shard_paths
from app.package.verify import verify_package
from app.store.artifact_store import ArtifactStore
from app.writing.write_range import write_range

PAGE = 4096


@pytest.fixture
def disk(small_disk, export):
    """The folder of exports, on a disk of its own."""
    return small_disk(export.folder.parents[1], "8m")


def finish(export) -> PackageFacts:
    facts = export.assemble()
    assert isinstance(facts, PackageFacts)
    assert verify_package(export.package).problems == ()
    assert len(export.files) == 2
    return facts


def write_large(export, shard, number):
    """Write a range whose tiles have 400 kB each, beyond the disk's space."""

    class Large:
        def read_many(self, tiles):
            images = export.source.read_many(tiles)
            return [image + os.urandom(400_000) for image in images]

    write_range(shard, export.ranges[number], Large(), on_error="fail")


def test_a_disk_that_is_full_while_a_range_is_written_keeps_nothing_of_it(export, disk):
    shard = export.new_shard()
    write_range(shard, export.ranges[0], export.source, on_error="fail")
    filler = disk.fill(but=300_000)
    before, free = shard.path.read_bytes(), disk.free_bytes
    with pytest.raises(StorageFull, match="no space left while writing shard-"):
        write_large(export, shard, 1)
    assert shard.path.read_bytes() == before
    assert disk.free_bytes == free
    assert export.files == [shard.path.name]
    filler.unlink()
    for number in range(1, 5):
        write_range(shard, export.ranges[number], export.source, on_error="fail")
    shard.close()
    finish(export)


@pytest.mark.parametrize("pages", [0, 1, 2, 5, 10])
def test_a_disk_without_space_for_a_new_shard_keeps_nothing_of_it(export, disk, pages):
    export.folder.mkdir(parents=True)
    filler = disk.fill(but=pages * PAGE)
    with pytest.raises(StorageFull, match="no space left"):
        export.new_shard()
    assert export.files == []
    filler.unlink()
    export.write_all()
    finish(export)


def test_a_disk_without_a_free_inode_is_full_too(export, small_disk):
    disk = small_disk(export.folder.parents[1], "8m,nr_inodes=20")
    export.folder.mkdir(parents=True)
    shard = export.new_shard()
    fillers = [disk.path / f"filler-{number}" for number in range(40)]
    with suppress(OSError):
        for filler in fillers:
            filler.touch()
    with pytest.raises(StorageFull):  # there is no room for a journal
        write_range(shard, export.ranges[0], export.source, on_error="fail")
    with pytest.raises(StorageFull):
        export.new_shard()
    for filler in fillers:
        filler.unlink(missing_ok=True)
    write_range(shard, export.ranges[0], export.source, on_error="fail")
    shard.close()


def test_a_disk_that_is_full_while_shards_are_merged_leaves_them_as_they_are(export, disk):
    export.write(0, 1, 2)
    export.write(3, 4)
    filler = disk.fill(but=6 * PAGE)
    free = disk.free_bytes
    with pytest.raises(StorageFull, match="no space left"):
        export.assemble()
    assert disk.free_bytes == free
    assert sorted(export.files) == [path.name for path in shard_paths(export.folder)]
    filler.unlink()
    finish(export)


def test_an_assembly_with_any_number_of_free_pages_ends_whole_or_says_that_the_disk_is_full(
    export, disk
):
    """Every step meets the full disk: taking, proving, merging, sealing, facts and metadata."""
    export.write(0, 1, 2)
    export.write(3, 4)
    steps = set()
    for pages in range(120):
        filler = disk.fill(but=pages * PAGE)
        try:
            facts = export.assemble()
        except StorageFull as error:
            steps.add(str(error))
        else:
            assert isinstance(facts, PackageFacts)
            break
        finally:
            filler.unlink()
        left = [name for name in export.files if name.endswith((".tmp", ".whole", "-journal"))]
        assert left == [], f"with {pages} pages"
    else:
        pytest.fail("no package with 120 free pages")
    assert pages > 5
    finish(export)


@pytest.mark.parametrize("what", ["facts", "json"])
def test_a_disk_that_is_full_at_one_small_file_leaves_no_part_of_it(
    export, disk, monkeypatch, what
):
    export.write_all()
    fillers = []

    def full(path: Path, content: bytes, *, owner: str) -> None:
        if what in path.name and not fillers:
            fillers.append(disk.fill())
        write_durably(path, content, owner=owner)

    for module in (publishing, totals):
        monkeypatch.setattr(module, "write_durably", full)
    with pytest.raises(StorageFull, match="no space left"):
        export.assemble()
    assert not [name for name in export.files if name.endswith((".tmp", ".whole", "-journal"))]
    assert not export.package.exists()
    fillers[0].unlink()
    finish(export)


def test_a_read_only_disk_is_unavailable_and_not_a_lost_shard(export, disk):
    shard = export.new_shard()
    write_range(shard, export.ranges[0], export.source, on_error="fail")
    shard.close()  # a file that is open for writing keeps a disk from becoming read-only
    disk.remount("ro")
    with pytest.raises(StorageUnavailable, match="Read-only file system"):
        export.new_shard()
    with pytest.raises(StorageUnavailable, match="Read-only file system"):
        export.assemble()
    with pytest.raises(StorageUnavailable, match="Read-only file system"):
        ArtifactStore(disk.path).remove_attempt(export.task.export_id, export.task.attempt)
    disk.remount("rw")
    assert export.files == [shard.path.name]
    assert export.assemble() == MissingRanges(((1, 4),))
    export.write(1, 2, 3, 4)
    finish(export)


def test_a_data_folder_that_is_not_there_is_not_made_anew(tmp_path):
    folder = tmp_path / "not-mounted" / "exports" / "0123456789ab" / "1-0"
    with pytest.raises(StorageUnavailable, match="not-mounted is not there"):
        Shard.create(folder, owner="w", tables=TileTables.single("t"))
    assert not (tmp_path / "not-mounted").exists()


def test_a_folder_of_exports_that_vanished_is_made_anew_and_its_ranges_are_missing(export):
    export.write_all()
    root = export.folder.parents[1]
    root.rename(root.with_name("gone"))
    assert export.assemble() == MissingRanges(((0, 4),))
    export.write_all()
    finish(export)


REFUSED = """
import os, sys
from pathlib import Path
from app.domain.errors import StorageUnavailable
from app.domain.tile_tables import TileTables
from app.package.shard import Shard
os.setgid(65534); os.setuid(65534)
try:
    Shard.create(Path(sys.argv[1]), owner="w", tables=TileTables.single("t"))
except StorageUnavailable as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_we_may_not_write_to_is_unavailable(small_disk, tmp_path):
    # A disk of its own: pytest's folders are closed to everybody else.
    disk = small_disk(Path("/mnt") / f"disk-{os.getpid()}", "1m")
    folder = disk.path / "data" / "exports" / "0123456789ab" / "1-0"
    folder.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, str(folder)], capture_output=True, text=True, check=True
    )
    assert "Permission denied" in done.stdout


@pytest.mark.parametrize("_again", range(30))
def test_removers_and_writers_at_once_end_with_the_folder_gone(tmp_path, _again):
    store = ArtifactStore(tmp_path / "exports")
    folder = store.attempt_folder("0123abcd", "1700000000000-7")
    folder.mkdir(parents=True)
    for number in range(60):
        (folder / f"shard-{number}.gpkg.part").write_bytes(b"x")
    begin = threading.Barrier(4)

    def remove() -> None:
        begin.wait(timeout=60)
        store.remove_attempt("0123abcd", "1700000000000-7")

    def create() -> None:
        begin.wait(timeout=60)
        with suppress(OSError):
            for number in range(20):
                (folder / f"late-{number}").write_bytes(b"x")

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(what) for what in (remove, remove, remove, create)]:
            done.result()
    assert not folder.exists()


def test_files_that_keep_coming_are_told_and_not_waited_for(tmp_path, monkeypatch):
    store = ArtifactStore(tmp_path / "exports")
    folder = store.attempt_folder("0123abcd", "1700000000000-7")
    folder.mkdir(parents=True)
    remove_folder = os.rmdir

    def too_late(path, **options):
        (folder / "late").touch()
        remove_folder(path, **options)

    monkeypatch.setattr(os, "rmdir", too_late)
    with pytest.raises(StorageUnavailable, match="files keep coming"):
        store.remove_attempt("0123abcd", "1700000000000-7")


LEFTOVERS = [
    "shard-w1-1.gpkg.part",
    "shard-w1-1.gpkg.part-journal",
    "shard-w1-1.gpkg.part.facts",
    "shard-w1-1.gpkg.part.facts.w1.tmp",
    "shard-w1-2.gpkg.new",
    "shard-w1-2.gpkg.new-journal",
    "lost-shard-w1-3.gpkg.part",
    "lost-shard-w1-3.gpkg.part-journal",
    "trial-0123.tmp",
    "BlueMarble_1.0_z14_0123456789ab_1-0.json.w1.whole",
    "BlueMarble_1.0_z14_0123456789ab_1-0.json.w1.whole.w1.tmp",
]


@pytest.mark.parametrize("by", ["assembler", "sweep"])
def test_leftovers_of_dead_processes_go_and_the_published_pair_stays(export, by):
    export.write_all()
    facts = export.assemble()
    before = export.package.read_bytes()
    for name in LEFTOVERS:
        (export.folder / name).write_bytes(b"left")
    if by == "assembler":
        assert export.assemble() == facts
    else:
        store = ArtifactStore(export.folder.parents[1])
        (export.folder / "somebody's folder").mkdir()
        (export.folder / "linked.gpkg.part").hardlink_to(export.package)
        freed = store.sweep_attempt(export.task.export_id, export.task.attempt)
        assert freed == 4 * len(LEFTOVERS)
        assert store.sweep_attempt(export.task.export_id, export.task.attempt) == 0
    assert sorted(export.files) == sorted([facts.package_name, facts.metadata_name])
    assert export.package.read_bytes() == before


def test_a_sweep_of_an_attempt_without_a_package_leaves_nothing(export):
    export.write(0, 1)
    export.package.with_suffix(".json").write_text("{}")  # metadata without its package
    store = ArtifactStore(export.folder.parents[1])
    assert store.sweep_attempt(export.task.export_id, export.task.attempt) > 0
    assert not export.folder.parent.exists()
    assert store.sweep_attempt(export.task.export_id, export.task.attempt) == 0


def test_a_sweep_beside_a_writer_loses_its_work_and_says_nothing_false(export):
    shard = export.new_shard()
    write_range(shard, export.ranges[0], export.source, on_error="fail")
    store = ArtifactStore(export.folder.parents[1])
    store.sweep_attempt(export.task.export_id, export.task.attempt)
    with pytest.raises(ShardLost):
        write_range(shard, export.ranges[1], export.source, on_error="fail")
    shard.close()
    assert export.assemble() == MissingRanges(((0, 4),))
    export.write_all()
    finish(export)
