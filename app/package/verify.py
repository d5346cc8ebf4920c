"""Checking a finished package as a careful reader would: file, tables, tiles, metadata."""

import hashlib
import io
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
from PIL import Image

from app.domain.package_facts import PackageFacts
from app.domain.world_crs84_quad import TILE_SIZE_PX, matrix_height, matrix_width, resolution_deg
from app.package.connection import connect_read_only
from app.package.geopackage import APPLICATION_ID, TABLE_NAME, USER_VERSION
from app.package.metadata import facts_of, metadata_name

FORMATS: Final = ("JPEG", "PNG", "WEBP")
MAX_TILE_PROBLEMS: Final = 20

_ALLOWED_TABLES: Final = {
    "gpkg_spatial_ref_sys",
    "gpkg_contents",
    "gpkg_tile_matrix_set",
    "gpkg_tile_matrix",
    "gpkg_extensions",
    "sqlite_sequence",
}


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found.

    Attributes:
        problems: One sentence each; none: the package is good.
        tiles: Tiles that were decoded.
    """

    problems: tuple[str, ...]
    tiles: int

    @property
    def is_good(self) -> bool:
        """Whether there is no problem."""
        return not self.problems


def verify_package(path: Path) -> Verification:
    """Check a package and the metadata beside it; decodes every tile, so it takes a while.

    Nothing is written, not even a side file, so it works on read-only media.
    """
    problems: list[str] = []
    tiles = 0
    try:
        facts = _facts(path, problems)
        connection = connect_read_only(path)
    except (OSError, sqlite3.DatabaseError) as error:
        return Verification((*problems, f"{path.name} cannot be opened: {error}."), 0)
    try:
        problems += _file_problems(connection, path)
        problems += _table_problems(connection)
        for table in _tile_tables(connection):
            problems += _matrix_problems(connection, table)
            checked, found = _tile_problems(connection, table)
            tiles += checked
            problems += found
        if facts is not None:
            problems += _count_problems(connection, _tile_tables(connection), facts)
    except sqlite3.DatabaseError as error:
        problems.append(f"{path.name} is no whole GeoPackage: {error}.")
    finally:
        connection.close()
    if facts is not None:
        problems += _digest_problems(path, facts)
    return Verification(tuple(problems), tiles)


def _facts(path: Path, problems: list[str]) -> PackageFacts | None:
    name = metadata_name(path.name)
    try:
        return facts_of(orjson.loads(path.with_name(name).read_bytes()))
    except FileNotFoundError:
        problems.append(f"There is no metadata file {name} beside the package.")
    except (KeyError, TypeError, ValueError) as error:
        problems.append(f"The metadata file {name} is not of our making: {error!r}.")
    return None


def _file_problems(connection: sqlite3.Connection, path: Path) -> Iterator[str]:
    for pragma, wanted in (("application_id", APPLICATION_ID), ("user_version", USER_VERSION)):
        (found,) = connection.execute(f"PRAGMA {pragma}").fetchone()
        if found != wanted:
            yield f"The {pragma} is {found}, not {wanted}."
    with path.open("rb") as file:
        header = file.read(20)
    if header[18:20] != b"\x01\x01":
        yield "The file is in WAL mode, which needs side files."
    for suffix in ("-journal", "-wal", "-shm"):
        if path.with_name(path.name + suffix).exists():
            yield f"There is a side file {path.name}{suffix}."
    for (found,) in connection.execute("PRAGMA integrity_check"):
        if found != "ok":
            yield f"The integrity check says: {found}."
    for row in connection.execute("PRAGMA foreign_key_check"):
        yield f"The foreign key check says: {row}."


def _table_problems(connection: sqlite3.Connection) -> Iterator[str]:
    names = {
        name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
    }
    tables = set(_tile_tables(connection))
    if not tables:
        yield "gpkg_contents names no table of tiles."
    for name in sorted(names - tables - _ALLOWED_TABLES):
        yield f"There is a table {name} that does not belong into a package."
    for name in sorted(tables - names):
        yield f"The table {name} of gpkg_contents does not exist."


def _tile_tables(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT table_name FROM gpkg_contents WHERE data_type = 'tiles'")
    return [name for (name,) in rows if TABLE_NAME.fullmatch(name)]


def _matrix_problems(connection: sqlite3.Connection, table: str) -> Iterator[str]:
    told = {
        row[0]: row[1:]
        for row in connection.execute(
            "SELECT zoom_level, matrix_width, matrix_height, tile_width, tile_height,"
            " pixel_x_size, pixel_y_size FROM gpkg_tile_matrix WHERE table_name = ?",
            (table,),
        )
    }
    for zoom, found in told.items():
        pixel = resolution_deg(zoom)
        wanted = (
            matrix_width(zoom),
            matrix_height(zoom),
            TILE_SIZE_PX,
            TILE_SIZE_PX,
            pixel,
            pixel,
        )
        if found != wanted:
            yield f"The tile matrix of zoom {zoom} is {found}, not {wanted}."
    limits = connection.execute(
        f"""
        SELECT zoom_level, min(tile_column), max(tile_column), min(tile_row), max(tile_row)
        FROM "{table}" GROUP BY zoom_level"""  # noqa: S608 - matched TABLE_NAME
    ).fetchall()
    for zoom, min_col, max_col, min_row, max_row in limits:
        if zoom not in told:
            yield f"Zoom {zoom} holds tiles but has no tile matrix."
        elif min_col < 0 or min_row < 0 or max_col >= told[zoom][0] or max_row >= told[zoom][1]:
            yield (
                f"Tiles of zoom {zoom} lie outside the tile matrix: columns {min_col} to"
                f" {max_col}, rows {min_row} to {max_row}."
            )
    for zoom in sorted(told.keys() - {row[0] for row in limits}):
        yield f"Zoom {zoom} has a tile matrix but holds no tiles."


def _tile_problems(connection: sqlite3.Connection, table: str) -> tuple[int, list[str]]:
    count = 0
    flawed = _Counting()
    rows = connection.execute(
        f'SELECT zoom_level, tile_column, tile_row, tile_data FROM "{table}" ORDER BY id'  # noqa: S608 - matched TABLE_NAME
    )
    for zoom, col, row, image in rows:
        count += 1
        flaw = _flaw(image)
        if flaw is not None:
            flawed.add(f"Tile {zoom}/{col}/{row} {flaw}.")
    return count, flawed.sentences()


def _flaw(image: bytes) -> str | None:
    try:
        with Image.open(io.BytesIO(image), formats=FORMATS) as opened:
            opened.load()
            size = opened.size
    except Exception as error:  # noqa: BLE001 - decoders raise whatever a broken file makes them
        return f"cannot be decoded: {error}"
    if size != (TILE_SIZE_PX, TILE_SIZE_PX):
        return f"is {size[0]} by {size[1]} pixels, not {TILE_SIZE_PX} by {TILE_SIZE_PX}"
    return None


def _count_problems(
    connection: sqlite3.Connection, tables: Iterable[str], facts: PackageFacts
) -> Iterator[str]:
    found: dict[int, tuple[int, int]] = {}
    for table in tables:
        for zoom, count, size in connection.execute(
            f"""
            SELECT zoom_level, count(*), sum(length(tile_data))
            FROM "{table}" GROUP BY zoom_level"""  # noqa: S608 - matched TABLE_NAME
        ):
            other = found.get(zoom, (0, 0))
            found[zoom] = (other[0] + count, other[1] + size)
    for counts in facts.zooms:
        count, size = found.pop(counts.zoom, (0, 0))
        if (count, size) != (counts.written, counts.tile_bytes):
            yield (
                f"Zoom {counts.zoom} holds {count} tiles of {size} bytes, the metadata tells of"
                f" {counts.written} of {counts.tile_bytes} bytes."
            )
        if counts.expected != counts.written + counts.missing + counts.skipped:
            yield f"The metadata's counts of zoom {counts.zoom} do not add up."
    for zoom in sorted(found):
        yield f"Zoom {zoom} holds {found[zoom][0]} tiles, the metadata tells of none."


def _digest_problems(path: Path, facts: PackageFacts) -> Iterator[str]:
    size = path.stat().st_size
    if size != facts.file_bytes:
        yield f"The package has {size} bytes, the metadata tells of {facts.file_bytes}."
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != facts.sha256:
        yield f"The sha256 of the package is {digest}, the metadata tells of {facts.sha256}."


class _Counting:
    """Keeps the first problems and counts the rest: a broken package has very many."""

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._more = 0

    def add(self, sentence: str) -> None:
        if len(self._kept) < MAX_TILE_PROBLEMS:
            self._kept.append(sentence)
        else:
            self._more += 1

    def sentences(self) -> list[str]:
        more = [f"{self._more} more tiles have problems."] if self._more else []
        return [*self._kept, *more]
