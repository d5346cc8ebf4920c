"""The finished file, opened by others: GDAL's validator, rasterio, SQLite on read-only media."""

import hashlib
import io
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import rasterio
from osgeo_utils.samples.validate_gpkg import check as validate_gpkg
from PIL import Image

from app.domain.area import BoundingBox
from app.domain.package_facts import PackageFacts
from app.package.geopackage import (
    APPLICATION_ID,
    USER_VERSION,
    Contents,
    create_tables,
    describe_tiles,
)
from app.package.verify import verify_package

TILES = 'SELECT zoom_level, tile_column, tile_row, tile_data FROM "BlueMarble" ORDER BY id'


@pytest.fixture
def published(export):
    export.write_all()
    facts = export.assemble()
    assert isinstance(facts, PackageFacts)
    return export, facts


def rows(path: Path, query: str):
    connection = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_gdals_validator_finds_nothing_to_complain_of(published):
    export, _ = published
    validate_gpkg(str(export.package), extra_checks=True, warning_as_error=True)


def test_a_package_with_webp_tiles_passes_gdals_validator_too(export):
    tile = export.tiles[-1]
    buffer = io.BytesIO()
    Image.new("RGB", (256, 256)).save(buffer, "WEBP")
    export.source_path(tile).write_bytes(buffer.getvalue())
    export.write_all()
    export.assemble()
    validate_gpkg(str(export.package), extra_checks=True, warning_as_error=True)
    assert rows(export.package, "SELECT extension_name FROM gpkg_extensions") == [("gpkg_webp",)]


def test_rasterio_opens_it_as_the_finest_tiles_and_reads_their_pixels(published):
    export, _ = published
    with rasterio.open(export.package) as dataset:
        assert (dataset.width, dataset.height) == (512, 512)
        assert dataset.crs.to_epsg() == 4326
        assert tuple(dataset.bounds) == pytest.approx(
            (34.8046875, 31.9482421875, 34.82666015625, 31.97021484375), abs=1e-12
        )
        pixels = dataset.read([1, 2, 3])
    for col in (0, 1):
        for row in (0, 1):
            image = Image.open(export.source_path((14, 19552 + col, 5282 + row)))
            window = pixels[:, row * 256 : row * 256 + 256, col * 256 : col * 256 + 256]
            assert np.array_equal(window, np.asarray(image).transpose(2, 0, 1))


def test_every_tile_is_there_byte_for_byte_and_in_export_order(published):
    export, facts = published
    stored = rows(export.package, TILES)
    assert [row[:3] for row in stored] == export.tiles
    assert len(stored) == facts.written == facts.expected == 18
    assert all(export.source_path(row[:3]).read_bytes() == row[3] for row in stored)


def test_the_file_holds_the_tables_of_a_geopackage_and_no_other(published):
    export, _ = published
    names = rows(export.package, "SELECT name FROM sqlite_master WHERE type = 'table'")
    assert {name for (name,) in names} == {
        "gpkg_spatial_ref_sys",
        "gpkg_contents",
        "gpkg_tile_matrix_set",
        "gpkg_tile_matrix",
        "BlueMarble",
        "sqlite_sequence",
    }
    assert b"owner0" not in export.package.read_bytes()


def test_the_header_and_the_checks_of_sqlite_are_clean(published):
    export, _ = published
    assert rows(export.package, "PRAGMA application_id") == [(0x47504B47,)]
    assert rows(export.package, "PRAGMA user_version")[0][0] >= 10200
    assert rows(export.package, "PRAGMA page_size") == [(4096,)]
    assert rows(export.package, "PRAGMA integrity_check") == [("ok",)]
    assert rows(export.package, "PRAGMA foreign_key_check") == []
    assert export.package.read_bytes()[18:20] == b"\x01\x01"


def test_contents_tell_the_bounds_of_the_finest_tiles_and_when_it_was_finished(published):
    export, _ = published
    (contents,) = rows(export.package, "SELECT * FROM gpkg_contents")
    assert contents == (
        "BlueMarble",
        "tiles",
        "Blue Marble 1.0",
        "",
        "2027-01-15T08:00:00.123Z",
        34.8046875,
        31.9482421875,
        34.82666015625,
        31.97021484375,
        4326,
    )
    zooms = rows(export.package, "SELECT zoom_level FROM gpkg_tile_matrix ORDER BY 1")
    assert zooms == [(zoom,) for zoom in range(15)]


def test_the_pair_stands_alone_in_its_folder(published):
    export, facts = published
    assert sorted(export.files) == sorted([facts.package_name, facts.metadata_name])


def test_the_facts_are_those_of_the_file(published):
    export, facts = published
    content = export.package.read_bytes()
    assert facts.file_bytes == len(content)
    assert facts.sha256 == hashlib.sha256(content).hexdigest()
    assert facts.finished_at_ms == 1_800_000_000_123
    assert sum(zoom.tile_bytes for zoom in facts.zooms) == sum(
        export.source_path(tile).stat().st_size for tile in export.tiles
    )


def test_the_metadata_is_the_layers_record_with_what_is_true_of_the_package(published):
    export, facts = published
    metadata = export.metadata
    assert "source" not in metadata
    assert metadata["unheardOf"] == {"kept": True}
    assert metadata["attribution"] == "NASA"
    assert metadata["maxResolutionDeg"] == 0.703125 / 2**14
    assert metadata["maxResolutionMeter"] == pytest.approx(4.7773, abs=1e-4)
    assert (
        metadata["productBoundingBox"] == "34.8046875,31.9482421875,34.82666015625,31.97021484375"
    )
    assert metadata["sha256"] == facts.sha256
    assert metadata["tiles"][14] == {
        "zoom": 14,
        "expected": 4,
        "written": 4,
        "missing": 0,
        "skipped": 0,
        "tileBytes": facts.zooms[14].tile_bytes,
    }


def test_it_opens_on_media_that_cannot_be_written(published):
    export, _ = published
    for path in (export.package, export.package.with_suffix(".json")):
        path.chmod(0o444)
    export.folder.chmod(0o555)
    try:
        assert len(rows(export.package, TILES)) == 18
        assert verify_package(export.package).problems == ()
        with rasterio.open(export.package) as dataset:
            assert dataset.read(1).shape == (512, 512)
        assert len(export.files) == 2
    finally:
        export.folder.chmod(0o755)


def test_verifying_a_good_package_finds_no_problem_and_counts_its_tiles(published):
    export, _ = published
    verification = verify_package(export.package)
    assert (verification.problems, verification.tiles) == ((), 18)
    assert verification.is_good


def edit(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ('DELETE FROM "BlueMarble" WHERE zoom_level = 14', "Zoom 14 has a tile matrix but holds"),
        ('DELETE FROM "BlueMarble" WHERE zoom_level = 3', "Zoom 3 holds 0 tiles"),
        ('UPDATE "BlueMarble" SET tile_column = 99999 WHERE id = 1', "outside the tile matrix"),
        ("UPDATE \"BlueMarble\" SET tile_data = x'ffd8ff00' WHERE id = 2", "cannot be decoded"),
        ("DELETE FROM gpkg_tile_matrix WHERE zoom_level = 5", "has no tile matrix"),
        (
            "UPDATE gpkg_tile_matrix SET matrix_width = 1 WHERE zoom_level = 5",
            "tile matrix of zoom",
        ),
        ("CREATE TABLE stray (x)", "table stray"),
        ("PRAGMA application_id = 1", "application_id"),
        ("PRAGMA journal_mode = WAL", "WAL"),
        ("UPDATE gpkg_contents SET srs_id = 77", "foreign key"),
    ],
)
def test_verifying_names_what_is_wrong(published, statement, sentence):
    export, _ = published
    edit(export.package, statement)
    problems = verify_package(export.package).problems
    assert any(sentence in problem for problem in problems), problems
    assert any("sha256" in problem for problem in problems)


def test_verifying_a_file_that_is_no_database_says_so(published):
    export, _ = published
    export.package.write_bytes(b"GIF89a" * 1000)
    assert any("no whole GeoPackage" in p for p in verify_package(export.package).problems)


def test_verifying_a_package_without_its_metadata_says_so(published):
    export, _ = published
    export.package.with_suffix(".json").unlink()
    assert any("no metadata file" in p for p in verify_package(export.package).problems)


def test_verifying_a_file_that_is_not_there_says_so(tmp_path):
    assert not verify_package(tmp_path / "nothing.gpkg").is_good


def test_a_tile_of_another_size_is_named(export):
    tile = export.tiles[5]
    Image.new("RGB", (300, 256)).save(export.source_path(tile))
    export.write_all()
    export.assemble()
    (problem,) = verify_package(export.package).problems
    assert "5/38/10 is 300 by 256 pixels" in problem


@pytest.mark.parametrize(("zoom", "opens"), [(21, True), (22, False)])
def test_gdal_opens_a_table_around_the_world_up_to_zoom_21(tmp_path, zoom, opens):
    """docs/package.md says so: at zoom 22 there are more pixels than GDAL can count."""
    path = tmp_path / "world.gpkg"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {USER_VERSION}")
    create_tables(connection, ["world"])
    bounds = BoundingBox(-180, 10, 180, 10 + 180 / 2**zoom)
    told = Contents("world", "world", bounds, [zoom], "2027-01-15T08:00:00.123Z", has_webp=False)
    describe_tiles(connection, [told])
    connection.commit()
    connection.close()
    if opens:
        with rasterio.open(path) as dataset:
            assert dataset.width == 2 ** (zoom + 1) * 256
    else:
        with pytest.raises(rasterio.errors.RasterioIOError):
            rasterio.open(path)
