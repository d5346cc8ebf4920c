"""Proving that a shard's ranges are still what was read, before a package is made of them.

SQLite finds damage to the tree that it walks, never to what the tree holds. So each range has a
checksum, computed where its tiles were read, and here the tiles are read back the way a reader of
the package will: by the index on their places, and by it to the images.
"""

import sqlite3
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from app.package.checksum import RangeChecksum
from app.package.connection import connect, in_our_words, write_transaction
from app.package.failures import ShardDamaged
from app.package.geopackage import APPLICATION_ID, USER_VERSION, create_tables
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

BEAT_ROWS: Final = 16_384


def drop_damaged_ranges(
    path: Path, *, owner: str, table: str, beat: Callable[[], None]
) -> frozenset[int]:
    """Read every tile of a shard of ours; forget the ranges whose tiles do not match.

    A range is forgotten with its tiles, in one transaction, so only it is written again. Doing
    this twice changes nothing.

    Returns:
        The ranges that are left.

    Raises:
        ShardDamaged: The damage is not to the tiles of a range: nothing of the file is trusted.
        NotOwner: Another assembler has taken the shard.
        ShardLost: The shard is gone or locked.
        StorageFull: The disk is full.
        StorageUnavailable: The disk answers with an error.
    """
    with in_our_words(path):
        connection = connect(path)
        try:
            _check_schema(connection, table)
            rows = list(read_rows(connection))
            _check_ids(connection, rows, table)
            found = _checksums(connection, table, beat)
            damaged = [
                row
                for row in rows
                if checksum_of(row, found.pop(row.range_number, RangeChecksum()).value())
                != row.checksum
            ]
            if damaged:
                with write_transaction(connection):
                    check_owner(connection, owner)
                    for row in damaged:
                        _forget(connection, row, table)
        finally:
            connection.close()
    return frozenset(row.range_number for row in rows if row not in damaged)


def _check_ids(connection: sqlite3.Connection, rows: list[LedgerRow], table: str) -> None:
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


def _checksums(
    connection: sqlite3.Connection, table: str, beat: Callable[[], None]
) -> dict[int, RangeChecksum]:
    """The checksum of each range's tiles as they are found by their places."""
    spans = {
        first_id: (last_id, number)
        for number, first_id, last_id in connection.execute(
            "SELECT range_number, first_id, last_id FROM _range_ledger WHERE first_id <= last_id"
        )
    }
    found: dict[int, RangeChecksum] = {}
    first, last, checksum = 1, 0, RangeChecksum()
    for count, (tile_id, zoom, col, row, image) in enumerate(_tiles(connection, table)):
        if not first <= tile_id <= last:
            # Tiles of a range are neighbours by place and by id: a range begins here, or the
            # index leads astray, and the tile counts for no range.
            first = tile_id
            last, number = spans.pop(tile_id, (0, -1))
            checksum = found.setdefault(number, RangeChecksum())
        checksum.add(zoom, col, row, image)
        if count % BEAT_ROWS == 0:
            beat()
    return found


def _tiles(connection: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    cursor = connection.execute(
        "SELECT id, zoom_level, tile_column, tile_row, CAST(tile_data AS BLOB)"  # noqa: S608 - as above
        f' FROM "{table}" INDEXED BY "sqlite_autoindex_{table}_1"'
        " ORDER BY zoom_level, tile_column, tile_row"
    )
    while rows := cursor.fetchmany(ROWS_PER_FETCH):
        yield from rows


def _forget(connection: sqlite3.Connection, row: LedgerRow, table: str) -> None:
    ids = (row.first_id, row.last_id)
    connection.execute(f'DELETE FROM "{table}" WHERE id BETWEEN ? AND ?', ids)  # noqa: S608 - as above
    delete_row(connection, row.range_number)


def _check_schema(connection: sqlite3.Connection, table: str) -> None:
    """What every shard begins with, and what readers of the package need, must be as it was."""
    if _fixed_content(connection) != _expected_content(table):
        raise ShardDamaged("its tables or its head are not as they were made")


@lru_cache(maxsize=64)
def _expected_content(table: str) -> list[Any]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {USER_VERSION}")
        create_tables(connection, table)
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
