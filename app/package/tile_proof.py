"""Proving that a shard's ranges are still what was read, before a package is made of them.

SQLite finds damage to the tree that it walks, never to what the tree holds. So each range has a
checksum, computed where its tiles were read, and here the tiles are read back the way a reader of
the package will: by the index on their places, and by it to the images.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Self

from app.domain.tile_tables import TileTables
from app.package.checksum import RangeChecksum
from app.package.connection import connect, connect_read_only, in_our_words, write_transaction
from app.package.failures import RangesDamaged, ShardDamaged
from app.package.geopackage import APPLICATION_ID, USER_VERSION, create_tables, has_table
from app.package.ledger import LedgerRow, checksum_of, create_ledger, delete_row, read_rows
from app.package.ownership import OWNER_TABLE, check_owner, create_owner

ROWS_PER_FETCH: Final = 64
"""Some 800 kB in memory."""

_FIXED_CONTENT: Final = (
    "SELECT type, name, tbl_name, CAST(sql AS BLOB) FROM sqlite_master ORDER BY name",
    (
        "SELECT CAST(srs_name AS BLOB), srs_id, CAST(organization AS BLOB),"
        " organization_coordsys_id, CAST(definition AS BLOB), CAST(description AS BLOB)"
        " FROM gpkg_spatial_ref_sys ORDER BY srs_id"
    ),
    "SELECT count(*) FROM gpkg_contents",
    "SELECT count(*) FROM gpkg_tile_matrix_set",
    "SELECT count(*) FROM gpkg_tile_matrix",
    f"SELECT count(*) FROM {OWNER_TABLE}",  # noqa: S608 - constant name
)

BEAT_ROWS: Final = 4_096


@dataclass(frozen=True, slots=True)
class RangeTiles:
    """Where the tiles of one range lie in a shard, and their checksum.

    Attributes:
        range_number: Position among the export's ranges, from 0.
        first_id: Row id of its first tile.
        last_id: Row id of its last tile; before `first_id` when the range holds no tile.
        checksum: Of the tiles as they were read.
    """

    range_number: int
    first_id: int
    last_id: int
    checksum: int

    @classmethod
    def of(cls, row: LedgerRow) -> Self:
        """What a ledger's row says of them."""
        return cls(row.range_number, row.first_id, row.last_id, row.tiles_checksum)


def drop_damaged_ranges(
    path: Path, *, owner: str, tables: TileTables, beat: Callable[[], None], read_tiles: bool
) -> tuple[LedgerRow, ...]:
    """Forget the ranges of a shard of ours that are not what was read from the source.

    A range is forgotten with its tiles, in one transaction, so only it is written again. Doing
    this twice changes nothing.

    Args:
        path: The shard.
        owner: This process, unique per start.
        tables: Of the tiles.
        beat: Called often while the work goes on; it must return at once.
        read_tiles: Look at every tile too, not only at tables and ledger.

    Returns:
        The ranges that are left.

    Raises:
        ShardDamaged: The damage is not to one range: nothing of the file is trusted.
        NotOwner: Another assembler has taken the shard.
        ShardLost: The shard is gone or locked.
        StorageFull: The disk is full.
        StorageUnavailable: The disk answers with an error.
    """
    with in_our_words(path):
        connection = connect(path)
        try:
            _check_schema(connection, tables)
            rows = tuple(read_rows(connection))
            for index, table in enumerate(tables.names):
                own = [row for row in rows if tables.index_of_range(row.range_number) == index]
                _check_ids(connection, own, table)
            damaged = {row.range_number for row in rows if checksum_of(row) != row.row_checksum}
            if read_tiles:
                tiles = [RangeTiles.of(row) for row in rows]
                damaged |= _changed_ranges(connection, tiles, tables, beat)
            if damaged:
                with write_transaction(connection):
                    check_owner(connection, owner)
                    for row in rows:
                        if row.range_number in damaged:
                            forget_range(connection, row, tables)
        finally:
            connection.close()
    return tuple(row for row in rows if row.range_number not in damaged)


def prove_sealed(
    path: Path, ranges: Sequence[RangeTiles], tables: TileTables, beat: Callable[[], None]
) -> None:
    """Read every tile of a sealed shard; it is changed by nobody, and not locked.

    `beat` is called often; what it raises ends the reading.

    Raises:
        RangesDamaged: Tiles of these ranges are not what was read.
        ShardDamaged: The file is no whole database.
        StorageUnavailable: The disk answers with an error.
    """
    with in_our_words(path):
        connection = connect_read_only(path)
        try:
            damaged = _changed_ranges(connection, ranges, tables, beat)
        finally:
            connection.close()
    if damaged:
        raise RangesDamaged(frozenset(damaged))


def forget_range(connection: sqlite3.Connection, row: LedgerRow, tables: TileTables) -> None:
    """Remove a range's row and tiles; call it within a transaction."""
    table = tables.of_range(row.range_number)
    ids = (row.first_id, row.last_id)
    connection.execute(f'DELETE FROM "{table}" WHERE id BETWEEN ? AND ?', ids)  # noqa: S608 - checked by create_tables
    delete_row(connection, row.range_number)


def _check_ids(connection: sqlite3.Connection, rows: Sequence[LedgerRow], table: str) -> None:
    """The ids of the ranges must be apart, and be those of all tiles."""
    end = 0
    for row in sorted(rows, key=lambda row: (row.first_id, row.last_id)):
        if row.tile_count and row.first_id <= end:
            raise ShardDamaged(f"range {row.range_number} shares tiles with another")
        if row.tile_count != sum(zoom.written for zoom in row.zooms):
            raise ShardDamaged(f"range {row.range_number} has {row.tile_count} ids, not as counted")
        end = max(end, row.last_id)
    (stored,) = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()  # noqa: S608 - checked by create_tables
    if stored != sum(row.tile_count for row in rows):
        raise ShardDamaged(f"{stored} tiles are stored, the ledger tells of another number")


def _changed_ranges(
    connection: sqlite3.Connection,
    ranges: Sequence[RangeTiles],
    tables: TileTables,
    beat: Callable[[], None],
) -> set[int]:
    """The ranges whose tiles, as they are found by their places, have another checksum."""
    changed: set[int] = set()
    for index, table in enumerate(tables.names):
        own = [tiles for tiles in ranges if tables.index_of_range(tiles.range_number) == index]
        # A table of a sealed shard that never had a tile is gone.
        if any(tiles.first_id <= tiles.last_id for tiles in own) or has_table(connection, table):
            changed |= _changed_in_table(connection, own, table, beat)
    return changed


def _changed_in_table(
    connection: sqlite3.Connection,
    ranges: Sequence[RangeTiles],
    table: str,
    beat: Callable[[], None],
) -> set[int]:
    by_first_id = {tiles.first_id: tiles for tiles in ranges if tiles.first_id <= tiles.last_id}
    found: dict[int, RangeChecksum] = {}
    first, last, checksum = 1, 0, RangeChecksum()
    for count, (tile_id, zoom, col, row, image) in enumerate(_tiles(connection, table)):
        if not first <= tile_id <= last:
            # Tiles of a range are neighbours by place and by id: a range begins here, or the
            # index leads astray, and the tile counts for no range.
            first, last, checksum = tile_id, 0, RangeChecksum()
            if (begun := by_first_id.pop(tile_id, None)) is not None:
                last = begun.last_id
                found[begun.range_number] = checksum
        checksum.add(zoom, col, row, image)
        if count % BEAT_ROWS == 0:
            beat()
    return {
        tiles.range_number
        for tiles in ranges
        if found.get(tiles.range_number, RangeChecksum()).value() != tiles.checksum
    }


def _tiles(connection: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    cursor = connection.execute(
        "SELECT id, zoom_level, tile_column, tile_row, CAST(tile_data AS BLOB)"  # noqa: S608 - as above
        f' FROM "{table}" INDEXED BY "sqlite_autoindex_{table}_1"'
        " ORDER BY zoom_level, tile_column, tile_row"
    )
    while rows := cursor.fetchmany(ROWS_PER_FETCH):
        yield from rows


def _check_schema(connection: sqlite3.Connection, tables: TileTables) -> None:
    """What every shard begins with, and what readers of the package need, must be as it was."""
    if _fixed_content(connection) != _expected_content(tables):
        raise ShardDamaged("its tables or its head are not as they were made")


@lru_cache(maxsize=64)
def _expected_content(tables: TileTables) -> list[Any]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {USER_VERSION}")
        create_tables(connection, tables.names)
        create_ledger(connection)
        create_owner(connection, "anyone")
        return _fixed_content(connection)
    finally:
        connection.close()


def _fixed_content(connection: sqlite3.Connection) -> list[Any]:
    content: list[Any] = [
        connection.execute(f"PRAGMA {name}").fetchone()
        for name in ("application_id", "user_version", "encoding", "page_size")
    ]
    return content + [connection.execute(query).fetchall() for query in _FIXED_CONTENT]
