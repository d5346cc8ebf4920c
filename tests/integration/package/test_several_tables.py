"""Packages of areas with zooms of their own: one tile table for each finest zoom."""

import shutil
import sqlite3
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import shapely
from osgeo_utils.samples.validate_gpkg import check as validate_gpkg
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from shapely.geometry import box, mapping

from app.assembly.make_package import delivered_footprint
from app.domain.export_cover import ExportCover
from app.domain.package_facts import PackageFacts
from app.package.assemble import MissingRanges
from app.package.failures import EmptyPackage
from app.package.taking import adopt_shards, shard_paths
from app.package.verify import verify_package

COARSE, FINE = "BlueMarble_z9", "BlueMarble_z14"
COUNTRY = (34.2, 31.2, 35.6, 33.4)


def rows(path, query):
    connection = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_each_table_holds_the_pyramid_of_its_finest_zoom(several):
    several.write_all()
    facts = several.assemble()
    assert isinstance(facts, PackageFacts)
    for name, table in zip((COARSE, FINE), several.task.tables, strict=True):
        found = rows(several.package, f'SELECT zoom_level, count(*) FROM "{name}" GROUP BY 1')
        assert tuple(found) == table.tiles_by_zoom
        columns = "zoom_level, tile_column, tile_row, tile_data"
        images = rows(several.package, f'SELECT {columns} FROM "{name}"')
        assert all(several.source_path(row[:3]).read_bytes() == row[3] for row in images)
    zooms = rows(several.package, "SELECT table_name, zoom_level FROM gpkg_tile_matrix")
    assert {zoom for name, zoom in zooms if name == COARSE} == set(range(10))
    assert {zoom for name, zoom in zooms if name == FINE} == set(range(3, 15))
    assert facts.expected == facts.written == len(several.tiles)


def test_gdals_validator_and_ours_find_nothing_to_complain_of(several):
    several.write_all()
    several.assemble()
    validate_gpkg(str(several.package), extra_checks=True, warning_as_error=True)
    verification = verify_package(several.package)
    assert (verification.problems, verification.tiles) == ((), len(several.tiles))


def test_gdal_opens_each_table_at_its_finest_zoom_and_reads_its_pixels(several):
    several.write_all()
    several.assemble()
    with pytest.warns(NotGeoreferencedWarning), rasterio.open(several.package) as dataset:
        assert len(dataset.subdatasets) == 2  # the file itself is only a list of them
    with rasterio.open(f"GPKG:{several.package}:{FINE}") as dataset:
        assert (dataset.width, dataset.height) == (512, 512)
        assert tuple(dataset.bounds) == pytest.approx(
            (34.8046875, 31.9482421875, 34.82666015625, 31.97021484375), abs=1e-12
        )
        image = Image.open(several.source_path((14, 19553, 5282)))
        assert np.array_equal(
            dataset.read([1, 2, 3])[:, :256, 256:], np.asarray(image).transpose(2, 0, 1)
        )
    with rasterio.open(f"GPKG:{several.package}:{COARSE}") as dataset:
        assert dataset.res == pytest.approx((0.703125 / 2**9, 0.703125 / 2**9))
        pixels = dataset.read([1, 2, 3])[:, :256, :256]
        west, _, _, north = dataset.bounds
    size = 180 / 2**9
    assert west <= COUNTRY[0] < west + size
    assert north >= COUNTRY[3] > north - size
    corner = (9, round((west + 180) / size), round((90 - north) / size))
    image = Image.open(several.source_path(corner))
    assert np.array_equal(pixels, np.asarray(image).transpose(2, 0, 1))


def test_the_metadata_tells_the_tables_and_the_area_of_both(several):
    several.write_all()
    facts = several.assemble()
    metadata = several.metadata
    coarse, fine = metadata["tileTables"]
    assert (coarse["table"], coarse["identifier"]) == (COARSE, "Blue Marble 1.0 zoom 9")
    assert (fine["minZoom"], fine["maxZoom"]) == (3, 14)
    assert fine["maxResolutionDeg"] == metadata["maxResolutionDeg"] == 0.703125 / 2**14
    assert fine["bounds"] == [34.8046875, 31.9482421875, 34.82666015625, 31.97021484375]
    by_zoom = {zoom["zoom"]: zoom["written"] for zoom in metadata["tiles"]}
    assert sum(by_zoom.values()) == facts.written
    assert by_zoom[5] == coarse["tiles"][5]["written"] + fine["tiles"][2]["written"]
    bounds = [box(*table["bounds"]) for table in (coarse, fine)]
    footprint = shapely.geometry.shape(metadata["footprint"])
    assert shapely.equals(footprint, shapely.union_all(bounds))


def test_contents_tell_each_tables_own_bounds_and_name(several):
    several.write_all()
    several.assemble()
    contents = rows(
        several.package, "SELECT table_name, identifier, min_x, max_y FROM gpkg_contents"
    )
    assert contents[1] == (FINE, "Blue Marble 1.0 zoom 14", 34.8046875, 31.97021484375)
    assert contents[0][:2] == (COARSE, "Blue Marble 1.0 zoom 9")


def test_shards_of_several_workers_become_one_package(several):
    numbers = range(len(several.ranges))
    several.write(*numbers[::3])
    several.write(*numbers[1::3])
    several.write(*numbers[1::3], *numbers[2::3])  # some ranges twice: counted once
    facts = several.assemble()
    assert facts.written == len(several.tiles)
    assert verify_package(several.package).problems == ()


def test_ranges_of_either_table_that_no_ledger_holds_are_told(several):
    first_fine = several.task.tables[1].first_range
    last = len(several.ranges) - 1
    several.write(*(n for n in range(last) if n != first_fine))
    assert several.assemble() == MissingRanges(((first_fine, first_fine), (last, last)))
    several.write(first_fine, last)
    assert isinstance(several.assemble(), PackageFacts)


def test_a_continued_attempt_adopts_the_shards_with_all_their_tables(several, tmp_path):
    several.write(*range(0, len(several.ranges), 2))
    new = tmp_path / "exports" / "0123456789ab" / "2-0"
    adopted = adopt_shards(
        several.folder, new, owner="w9", tables=several.task.tile_tables, beat=lambda: None
    )
    assert adopted[0].ranges == set(range(0, len(several.ranges), 2))
    several.folder = new
    several.write(*range(1, len(several.ranges), 2))
    assert isinstance(several.assemble(), PackageFacts)
    assert verify_package(several.package).problems == ()


def test_a_shard_from_before_a_restart_is_checked_table_by_table(several, monkeypatch):
    several.write_all()
    (shard,) = shard_paths(several.folder)
    connection = sqlite3.connect(shard)
    connection.execute(f'DELETE FROM "{FINE}" WHERE id = 3')
    connection.commit()
    connection.close()
    monkeypatch.setattr("app.package.taking.boot_id", lambda: "another")
    assert several.assemble() == MissingRanges(((0, len(several.ranges) - 1),))
    assert [path.name for path in several.folder.iterdir()] == [f"lost-{shard.name}"]


@pytest.mark.parametrize("shard_count", [1, 2], ids=["proven while hashed", "proven before merge"])
def test_only_the_range_of_a_damaged_tile_is_written_again(several, shard_count):
    """The same ids stand in both tables: damage in one must not be looked for in the other."""
    numbers = range(len(several.ranges))
    for part in range(shard_count):
        several.write(*numbers[part::shard_count])
    damaged = several.task.tables[1].first_range + 1
    place = next(several.ranges[damaged].tiles())
    for path in shard_paths(several.folder):
        connection = sqlite3.connect(path)
        connection.execute(
            f'UPDATE "{FINE}" SET tile_data = zeroblob(length(tile_data))'
            " WHERE (zoom_level, tile_column, tile_row) = (?, ?, ?)",
            place,
        )
        connection.commit()
        connection.close()
    assert several.assemble() == MissingRanges(((damaged, damaged),))
    several.write(damaged)
    assert isinstance(several.assemble(), PackageFacts)
    assert verify_package(several.package).problems == ()


def delete_tiles(several, table):
    """Take away the source's tiles of one table that the other does not need."""
    own = {t for n, r in enumerate(several.ranges) for t in r.tiles()
           if several.task.tile_tables.of_range(n) == table}  # fmt: skip
    for tile in own:
        several.source_path(tile).unlink(missing_ok=True)
    return own


def test_a_table_without_any_tile_is_left_out_and_the_other_stays(several):
    deep = {t for t in delete_tiles(several, FINE) if t[0] > 9}
    kept = ExportCover.of_plan(several.task.plan, max_tiles=1000).tables[0]
    assert deep
    several.write_all()
    facts = several.assemble()
    assert facts.missing >= len(deep)
    assert 0 < facts.written <= kept.tile_count
    assert rows(several.package, "SELECT table_name FROM gpkg_contents") == [(COARSE,)]
    assert rows(several.package, f"SELECT name FROM sqlite_master WHERE name = '{FINE}'") == []
    validate_gpkg(str(several.package), extra_checks=True, warning_as_error=True)
    assert verify_package(several.package).problems == ()
    fine = several.metadata["tileTables"][1]
    assert sum(zoom["written"] for zoom in fine["tiles"]) == 0
    assert sum(zoom["missing"] for zoom in fine["tiles"]) == sum(
        zoom["expected"] for zoom in fine["tiles"]
    )


def test_damage_found_while_hashing_brings_an_empty_table_back(several):
    delete_tiles(several, FINE)
    several.write_all()
    (shard,) = shard_paths(several.folder)
    connection = sqlite3.connect(shard)
    (first,) = connection.execute(f'SELECT min(id) FROM "{COARSE}"').fetchone()
    connection.execute(
        f'UPDATE "{COARSE}" SET tile_data = zeroblob(length(tile_data)) WHERE id = {first}'
    )
    connection.commit()
    connection.close()
    missing = several.assemble()
    assert isinstance(missing, MissingRanges)
    several.write(*(n for first, last in missing.spans for n in range(first, last + 1)))
    assert isinstance(several.assemble(), PackageFacts)
    assert verify_package(several.package).problems == ()


def test_all_tiles_of_all_tables_missing_is_a_failure(several):
    shutil.rmtree(several.tree)
    several.tree.mkdir()
    several.write_all()
    with pytest.raises(EmptyPackage, match=f"none of the {len(several.tiles)} tiles"):
        several.assemble()


def test_a_tile_that_two_tables_lack_is_missing_in_both(several):
    for zoom in (4,):
        for tile in {t for t in several.tiles if t[0] == zoom}:
            several.source_path(tile).unlink()
    several.write_all()
    several.assemble()
    (zoom,) = several.metadata["missingTiles"]["zooms"]
    listed = sum(run["maxRow"] - run["minRow"] + 1 for run in zoom["runs"])
    told = {counts["zoom"]: counts["missing"] for counts in several.metadata["tiles"]}
    assert listed == told[4] == sum(1 for tile in several.tiles if tile[0] == 4)
    assert verify_package(several.package).problems == ()


def test_the_footprint_is_that_of_the_layer_where_the_tiles_reach_beyond_it(several):
    plan = several.task.plan
    layer = plan.layer_json.replace("[90,90],[0,90]", "[90,32],[0,32]")
    cover = ExportCover.of_plan(plan, max_tiles=1000)
    told = delivered_footprint(replace(plan, layer_json=layer), cover)
    assert shapely.geometry.shape(told).bounds[3] == 32
    assert mapping(shapely.geometry.shape(told))["type"] in ("Polygon", "MultiPolygon")
