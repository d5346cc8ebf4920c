"""Reading single tiles of packages, from many threads, with few files open."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.domain.errors import StorageUnavailable
from app.package import tile_reader
from app.package.tile_reader import TileReader


def make_package(path, tables):
    """Tables by name, each with its tiles by place."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE gpkg_contents (table_name TEXT, data_type TEXT)")
    for table, tiles in tables.items():
        connection.execute("INSERT INTO gpkg_contents VALUES (?, 'tiles')", (table,))
        connection.execute(
            f'CREATE TABLE "{table}" (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER,'
            " tile_data BLOB, UNIQUE (zoom_level, tile_column, tile_row))"
        )
        connection.executemany(
            f'INSERT INTO "{table}" VALUES (?, ?, ?, ?)',
            [(*place, image) for place, image in tiles.items()],
        )
    connection.commit()
    connection.close()
    return path


@pytest.fixture
def reader():
    made = TileReader()
    yield made
    made.close()


def test_a_tile_is_found_in_whichever_table_holds_it(tmp_path, reader):
    path = make_package(tmp_path / "a.gpkg", {"one": {(1, 2, 0): b"x"}, "two": {(3, 4, 1): b"y"}})
    assert reader.read(path, (1, 2, 0)) == b"x"
    assert reader.read(path, (3, 4, 1)) == b"y"
    assert reader.read(path, (3, 4, 2)) is None


def test_many_threads_read_more_packages_than_may_be_open(tmp_path, reader, monkeypatch):
    monkeypatch.setattr(tile_reader, "MAX_OPEN", 3)
    paths = [make_package(tmp_path / f"{n}.gpkg", {"t": {(0, 0, 0): b"%d" % n}}) for n in range(12)]
    with ThreadPoolExecutor(8) as pool:
        reads = [(n, pool.submit(reader.read, paths[n], (0, 0, 0))) for n in list(range(12)) * 40]
        assert all(read.result() == b"%d" % n for n, read in reads)
    assert len(reader._open) == 3


@pytest.mark.parametrize("content", [b"", b"no database" * 1000])
def test_what_is_no_package_cannot_be_read(tmp_path, reader, content):
    path = tmp_path / "broken.gpkg"
    path.write_bytes(content)
    with pytest.raises(StorageUnavailable, match=r"broken\.gpkg"):
        reader.read(path, (0, 0, 0))


def test_a_package_without_tiles_cannot_be_read(tmp_path, reader):
    path = make_package(tmp_path / "empty.gpkg", {})
    with pytest.raises(StorageUnavailable, match="holds no tiles"):
        reader.read(path, (0, 0, 0))
