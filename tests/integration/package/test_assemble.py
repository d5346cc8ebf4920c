"""From shards to one package: complete or told what is missing, the same at every repeat."""

import shutil
import sqlite3
from dataclasses import replace

import pytest

from app.domain.area import BoundingBox
from app.domain.errors import ShardLost
from app.domain.package_facts import PackageFacts
from app.package import taking
from app.package.assemble import MissingRanges
from app.package.failures import EmptyPackage, LedgerMismatch
from app.package.metadata import metadata_name
from app.package.taking import adopt_shards, shard_paths
from app.package.verify import verify_package


def test_ranges_that_no_ledger_holds_are_told_and_nothing_is_published(export):
    export.write(0, 3)
    assert export.assemble() == MissingRanges(((1, 2), (4, 4)))
    assert not export.package.exists()


def test_an_attempt_without_a_folder_misses_every_range(export):
    assert export.assemble() == MissingRanges(((0, 4),))


def test_ranges_written_after_they_were_missed_complete_the_package(export):
    export.write(0, 3)
    export.assemble()
    export.write(1, 2, 4)
    facts = export.assemble()
    assert isinstance(facts, PackageFacts)
    assert verify_package(export.package).problems == ()


def test_several_shards_become_one_package_with_every_tile_once(export):
    export.write(3)
    export.write(0, 1, 4)
    export.write(2)
    facts = export.assemble()
    assert (facts.written, facts.expected) == (18, 18)
    assert verify_package(export.package).problems == ()
    assert sorted(export.files) == sorted([facts.package_name, facts.metadata_name])


def test_a_range_in_two_shards_counts_once_even_if_they_found_different_tiles(export):
    """A tile that appeared between two tries: tiles and counts come from the same shard."""
    tile = export.ranges[2].runs[0]
    path = export.source_path((tile.zoom, tile.min_col, tile.min_row))
    image = path.read_bytes()
    path.unlink()
    export.write(0, 1, 2, 3)
    path.write_bytes(image)
    export.write(2, 4)
    facts = export.assemble()
    assert facts.expected == 18
    assert facts.written == 17
    assert facts.missing == 1
    assert verify_package(export.package).problems == ()


def test_a_repeat_answers_with_the_same_facts_and_touches_nothing(export):
    export.write_all()
    facts = export.assemble()
    before = export.package.stat()
    assert export.assemble() == facts
    after = export.package.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_shards_left_by_a_zombie_after_publishing_are_removed_by_the_next_repeat(export):
    export.write_all()
    facts = export.assemble()
    export.write(0)
    assert export.assemble() == facts
    assert len(export.files) == 2


def test_missing_tiles_are_listed_by_zoom_in_the_metadata(export):
    for col, row in ((19552, 5282), (19552, 5283), (19553, 5283)):
        export.source_path((14, col, row)).unlink()
    export.write_all()
    facts = export.assemble()
    assert (facts.written, facts.missing) == (15, 3)
    assert export.metadata["missingTiles"] == {
        "zooms": [
            {
                "zoom": 14,
                "runs": [
                    {"column": 19552, "minRow": 5282, "maxRow": 5283},
                    {"column": 19553, "minRow": 5283, "maxRow": 5283},
                ],
            }
        ],
        "more": 0,
    }
    assert export.metadata["skippedTiles"] == {"zooms": [], "more": 0}


def test_a_list_of_missing_tiles_is_bounded_and_says_how_many_more(export, monkeypatch):
    monkeypatch.setattr("app.package.totals.MAX_LISTED_RUNS", 2)
    for tile in export.tiles[5:10]:
        export.source_path(tile).unlink()
    export.write_all()
    export.assemble()
    assert len(export.metadata["missingTiles"]["zooms"]) == 2
    assert export.metadata["missingTiles"]["more"] == 3
    assert sum(zoom["missing"] for zoom in export.metadata["tiles"]) == 5


def test_skipped_tiles_are_told_apart_from_missing_ones(skipping):
    skipping.source_path(skipping.tiles[4]).write_bytes(b"<html>503</html>")
    skipping.source_path(skipping.tiles[7]).unlink()
    skipping.write_all(on_error="skip")
    facts = skipping.assemble()
    assert [zoom.skipped for zoom in facts.zooms][4] == 1
    assert [zoom.missing for zoom in facts.zooms][7] == 1
    assert facts.missing == 2
    assert [zoom["zoom"] for zoom in skipping.metadata["skippedTiles"]["zooms"]] == [4]
    assert verify_package(skipping.package).problems == ()


def test_a_package_without_its_finest_tiles_tells_the_bounds_of_those_it_has(export):
    for tile in export.tiles:
        if tile[0] == 14:
            export.source_path(tile).unlink()
    export.write_all()
    export.assemble()
    connection = sqlite3.connect(export.package)
    bounds = connection.execute("SELECT min_x, min_y, max_x, max_y FROM gpkg_contents").fetchone()
    zooms = connection.execute("SELECT max(zoom_level) FROM gpkg_tile_matrix").fetchone()
    connection.close()
    assert zooms == (13,)
    assert BoundingBox(*bounds) == BoundingBox(
        34.8046875, 31.9482421875, 34.82666015625, 31.97021484375
    )


def test_all_tiles_missing_is_a_failure_with_a_reason(export):
    shutil.rmtree(export.tree)
    export.tree.mkdir()
    export.write_all()
    with pytest.raises(EmptyPackage, match="none of the 18 tiles"):
        export.assemble()
    assert not export.package.exists()


def test_ledgers_that_count_other_tiles_than_the_plan_are_a_failure(export):
    export.write_all()
    (table,) = export.task.tables
    planned = replace(table, tiles_by_zoom=((0, 1), (1, 99)))
    export.task = replace(export.task, tables=(planned,))
    with pytest.raises(LedgerMismatch, match="99"):
        export.assemble()


def test_a_damaged_shard_is_set_aside_and_its_ranges_are_missing(export):
    export.write(0, 1)
    (damaged,) = shard_paths(export.folder)
    damaged.write_bytes(b"garbage" * 4_000)
    export.write(2, 3, 4)
    assert export.assemble() == MissingRanges(((0, 1),))
    assert (export.folder / f"lost-{damaged.name}").exists()
    export.write(0, 1)
    assert isinstance(export.assemble(), PackageFacts)
    assert len(export.files) == 2


def test_a_shard_damaged_where_nobody_looked_yet_is_set_aside_during_the_merge(export):
    export.write(0, 1, 2, 3)
    (first,) = shard_paths(export.folder)
    export.write(4)
    (second,) = set(shard_paths(export.folder)) - {first}
    connection = sqlite3.connect(second)
    connection.execute('DELETE FROM "BlueMarble" WHERE id = 1')
    connection.commit()
    connection.close()
    assert export.assemble() == MissingRanges(((4, 4),))


def test_an_assembler_that_was_overtaken_stops(export, monkeypatch):
    export.write_all()
    original = taking.take_shards

    def overtaken(folder, **options):
        taken = original(folder, **options)
        original(folder, **{**options, "owner": "faster"})
        return taken

    monkeypatch.setattr("app.package.assemble.take_shards", overtaken)
    with pytest.raises(ShardLost, match="faster"):
        export.assemble()
    monkeypatch.undo()
    assert isinstance(export.assemble(), PackageFacts)


def test_metadata_left_by_an_assembler_whose_shard_was_lost_is_replaced(export):
    export.write_all()
    export.package.with_suffix(".json").write_text('{"sha256": "of another file"}')
    facts = export.assemble()
    assert export.metadata["sha256"] == facts.sha256
    assert verify_package(export.package).problems == ()


def test_a_continued_attempt_adopts_the_shards_of_the_failed_one(export, tmp_path):
    export.write(0, 1)
    export.write(3)
    new = tmp_path / "exports" / "0123456789ab" / "2-0"
    options = {"owner": "w9", "tables": export.task.tile_tables, "beat": lambda: None}
    adopted = adopt_shards(export.folder, new, **options)
    assert sorted(number for shard in adopted for number in shard.ranges) == [0, 1, 3]
    again = adopt_shards(export.folder, new, **options)
    assert [shard.path for shard in again] == [shard.path for shard in adopted]
    export.folder = new
    assert export.assemble() == MissingRanges(((2, 2), (4, 4)))
    export.write(2, 4)
    assert isinstance(export.assemble(), PackageFacts)


def test_the_metadata_stands_beside_the_package_under_the_same_name(export):
    assert metadata_name(export.task.plan.package_name) == export.package.with_suffix(".json").name
