"""Fault: a shard is deleted, cut short or changed under its writer.

Promise: it is found out, its ranges are written again, and the package holds the source's bytes.
"""

import random
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from app.domain.errors import ShardLost
from app.domain.package_facts import PackageFacts
from app.package.assemble import MissingRanges
from app.package.failures import PackageFailed
from app.package.shard import Shard
from app.package.taking import shard_paths
from app.package.verify import verify_package
from app.writing.write_range import write_range

BITS = 0xFF


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ BITS]))


def place_of(export, shard: Path, number: int) -> int:
    """Where some bytes that only the first tile of a range has lie in the file."""
    tile = next(iter(export.ranges[number].tiles()))
    image, content = export.source_path(tile).read_bytes(), shard.read_bytes()
    windows = (image[start : start + 12] for start in range(40, len(image) - 12))
    (found, *_) = (content.find(one) for one in windows if content.count(one) == 1)
    return found


def finish(export, writer: Shard | None = None) -> list[tuple[tuple[int, int], ...]]:
    """Assemble and write what is missing, as planner and worker do; return what was missing.

    A worker goes on with the shard that it has open until that is refused.
    """
    told = []
    for _ in range(5):
        try:
            outcome = export.assemble()
        except ShardLost:  # the planner's lease orders it again
            continue
        if isinstance(outcome, PackageFacts):
            break
        told.append(outcome.spans)
        for first, last in outcome.spans:
            for number in range(first, last + 1):
                writer = write_again(export, writer, number)
    else:
        pytest.fail(f"no package, again and again missing: {told}")
    if writer is not None:
        writer.close()
    assert sorted(export.files) == sorted([export.package.name, export.package.stem + ".json"])
    assert verify_package(export.package).problems == ()
    with sqlite3.connect(export.package) as connection:
        rows = connection.execute(
            "SELECT zoom_level, tile_column, tile_row, tile_data FROM BlueMarble"
        ).fetchall()
    connection.close()
    assert {tuple(row[:3]): row[3] for row in rows} == {
        tile: export.source_path(tile).read_bytes() for tile in export.tiles
    }
    return told


def write_again(export, writer: Shard | None, number: int) -> Shard:
    for _ in range(2):
        writer = writer or export.new_shard()
        try:
            write_range(writer, export.ranges[number], export.source, on_error="fail")
        except ShardLost:
            writer.close()
            writer = None
        else:
            return writer
    pytest.fail("two shards were lost in a row")


def test_a_flipped_byte_within_a_tile_costs_that_range_only(export):
    export.write_all()
    (shard,) = shard_paths(export.folder)
    flip(shard, place_of(export, shard, 3))
    assert finish(export) == [((3, 3),)]


def test_a_flipped_byte_in_one_of_two_shards_costs_nothing_when_the_other_has_the_range(export):
    export.write(0, 1, 2)
    (first,) = shard_paths(export.folder)
    export.write(2, 3, 4)
    flip(first, place_of(export, first, 2))
    assert finish(export) == []


def test_a_flipped_byte_in_the_smaller_shard_is_not_merged(export):
    export.write(0, 1, 2, 3)
    (first,) = shard_paths(export.folder)
    export.write(4)
    (second,) = set(shard_paths(export.folder)) - {first}
    flip(second, place_of(export, second, 4))
    assert finish(export) == [((4, 4),)]


def test_counts_that_changed_in_the_ledger_cost_their_range_only(export):
    export.write_all()
    (shard,) = shard_paths(export.folder)
    with sqlite3.connect(shard) as connection:
        connection.execute("UPDATE _range_ledger SET missing = '[[3,0,0,0]]' WHERE range_number=1")
    connection.close()
    assert finish(export) == [((1, 1),)]


def test_the_writer_of_a_damaged_range_writes_it_again_into_another_shard(export):
    """Its open shard would answer that the range is there."""
    shard = export.new_shard()
    for tile_range in export.ranges:
        write_range(shard, tile_range, export.source, on_error="fail")
    flip(shard.path, place_of(export, shard.path, 0))
    assert finish(export, shard) == [((0, 0),)]


@pytest.mark.parametrize("seed", range(60))
def test_a_byte_flipped_anywhere_never_gets_into_a_package(export, seed):
    export.write(0, 1, 2)
    export.write(2, 3, 4)
    chosen = random.Random(seed)
    shard = chosen.choice(shard_paths(export.folder))
    # Every tenth in the first pages, where the tables and the ledger begin.
    size = shard.stat().st_size if seed % 10 else 8192
    flip(shard, chosen.randrange(size))
    finish(export)


@pytest.mark.parametrize("seed", range(60))
def test_many_flipped_bytes_never_get_into_a_package(export, seed):
    export.write_all()
    (shard,) = shard_paths(export.folder)
    chosen = random.Random(seed)
    for _ in range(5):
        flip(shard, chosen.randrange(shard.stat().st_size))
    finish(export)


CUTS: dict[str, Callable[[int], int]] = {
    "to nothing": lambda _: 0,
    "in the first page": lambda _: 100,
    "to half a page": lambda size: size // 8192 * 4096 + 2048,
    "in the middle": lambda size: size // 8192 * 4096,
    "before its last page": lambda size: size - 4096,
}


def cut(path: Path, where: str) -> None:
    with path.open("r+b") as file:
        file.truncate(CUTS[where](path.stat().st_size))


@pytest.mark.parametrize("where", CUTS)
def test_a_shard_cut_short_between_two_ranges_is_replaced(export, where):
    shard = export.new_shard()
    for tile_range in export.ranges[:3]:
        write_range(shard, tile_range, export.source, on_error="fail")
    cut(shard.path, where)
    writer = write_again(export, shard, 3)
    writer = write_again(export, writer, 4)
    assert finish(export, writer) == [((0, 2),)]


@pytest.mark.parametrize("where", CUTS)
def test_a_shard_cut_short_after_its_last_range_is_found_by_the_assembler(export, where):
    shard = export.new_shard()
    for tile_range in export.ranges:
        write_range(shard, tile_range, export.source, on_error="fail")
    cut(shard.path, where)
    assert finish(export, shard) == [((0, 4),)]


class Interrupted:
    """A source that does something to the disk while a range is read."""

    def __init__(self, source, fault: Callable[[], None]) -> None:
        self._source, self._fault = source, fault
        self._left = 1

    def read_many(self, tiles):
        if self._left:
            self._left -= 1
            self._fault()
        return self._source.read_many(tiles)


@pytest.mark.parametrize("where", CUTS)
def test_a_shard_cut_short_during_a_range_is_found(export, where):
    shard = export.new_shard()
    for tile_range in export.ranges[:3]:
        write_range(shard, tile_range, export.source, on_error="fail")
    source = Interrupted(export.source, lambda: cut(shard.path, where))
    writer = shard
    try:
        write_range(shard, export.ranges[3], source, on_error="fail")
    except ShardLost:
        writer.close()
        writer = None
    writer = write_again(export, writer, 4)
    finish(export, writer)


def test_a_shard_deleted_between_two_ranges_is_replaced(export):
    shard = export.new_shard()
    for tile_range in export.ranges[:3]:
        write_range(shard, tile_range, export.source, on_error="fail")
    shard.path.unlink()
    writer = write_again(export, shard, 3)
    writer = write_again(export, writer, 4)
    assert finish(export, writer) == [((0, 2),)]


def test_a_shard_deleted_during_a_range_is_replaced(export):
    shard = export.new_shard()
    source = Interrupted(export.source, shard.path.unlink)
    with suppress(ShardLost):
        write_range(shard, export.ranges[0], source, on_error="fail")
    assert finish(export, shard) == [((0, 4),)]


def test_a_range_in_a_shard_that_is_gone_does_not_count_as_written(export):
    shard = export.new_shard()
    write_range(shard, export.ranges[0], export.source, on_error="fail")
    shard.path.rename(shard.path.with_name("lost-shard"))
    with pytest.raises(ShardLost, match="gone"):
        shard.recorded(0)
    assert shard.is_gone
    shard.close()


def test_metadata_damaged_after_publishing_ends_in_a_reason_and_not_in_a_crash(export):
    export.write_all()
    export.assemble()
    export.package.with_suffix(".json").write_bytes(b'{"sha256": ')
    with pytest.raises(PackageFailed, match="damaged"):
        export.assemble()


def test_facts_cut_short_after_sealing_cost_the_shard_and_nothing_else(export, monkeypatch):
    export.write_all()
    monkeypatch.setattr("app.package.assemble.publish", lambda *_, **__: None)
    export.assemble()
    monkeypatch.undo()
    (facts,) = export.folder.glob("*.facts")
    facts.write_bytes(b"")
    assert finish(export) == [((0, 4),)]


def test_a_package_whose_metadata_was_removed_gets_metadata_of_its_own_bytes(export):
    export.write(0, 1, 2, 3, 4)
    export.assemble()
    export.package.with_suffix(".json").unlink()
    assert export.assemble() == MissingRanges(((0, 4),))
    export.write(3, 4)
    export.write(0, 1, 2)
    assert finish(export) == []


def test_a_shard_that_a_killed_assembler_sealed_and_did_not_prove_is_proven_by_the_next(
    export, monkeypatch
):
    export.write_all()
    monkeypatch.setattr("app.package.assemble.publish", lambda *_, **__: None)
    export.assemble()
    monkeypatch.undo()
    (sealed,) = shard_paths(export.folder)
    flip(sealed, place_of(export, sealed, 3))
    assert finish(export) == [((0, 4),)]


def test_an_assembler_killed_while_it_takes_a_sealing_back_costs_no_more_than_the_shard(
    export, monkeypatch
):
    export.write_all()
    (shard,) = shard_paths(export.folder)
    flip(shard, place_of(export, shard, 3))

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("app.package.sealing.undescribe_tiles", killed)
    with pytest.raises(KeyboardInterrupt):
        export.assemble()
    monkeypatch.undo()
    assert finish(export) == [((0, 4),)]


def test_a_damaged_range_is_never_published_beside_its_metadata(export):
    export.write_all()
    (shard,) = shard_paths(export.folder)
    flip(shard, place_of(export, shard, 3))
    assert export.assemble() == MissingRanges(((3, 3),))
    (reopened,) = shard_paths(export.folder)
    assert export.files == [reopened.name]
