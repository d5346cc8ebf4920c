"""The ledger of a shard: one row a range, stored in the same transaction as its tiles."""

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Final

import orjson

from app.domain.package_facts import TileColumnRun, ZoomCounts
from app.package.failures import ShardDamaged

LEDGER_TABLE: Final = "_range_ledger"

_CREATE: Final = f"""
    CREATE TABLE {LEDGER_TABLE} (
        range_number INTEGER PRIMARY KEY,
        first_id INTEGER NOT NULL,
        last_id INTEGER NOT NULL,
        has_webp INTEGER NOT NULL,
        zooms TEXT NOT NULL,
        missing TEXT NOT NULL,
        skipped TEXT NOT NULL,
        tiles_checksum INTEGER NOT NULL,
        row_checksum INTEGER NOT NULL
    )"""
_COLUMNS: Final = (
    "range_number, first_id, last_id, has_webp, zooms, missing, skipped, tiles_checksum,"
    " row_checksum"
)
_AS_BYTES: Final = (
    # A damaged text may be no UTF-8, and sqlite3 would raise an error without a code.
    "range_number, first_id, last_id, has_webp, CAST(zooms AS BLOB), CAST(missing AS BLOB),"
    " CAST(skipped AS BLOB), tiles_checksum, row_checksum"
)


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What became of the tiles of one range.

    Attributes:
        range_number: Position among the export's ranges, from 0.
        first_id: Row id of its first tile in the tile table.
        last_id: Row id of its last tile; before `first_id` when the range holds no tile.
        has_webp: Some tile of it is WebP.
        zooms: Counts, ascending zooms.
        missing: Tiles that the source does not have.
        skipped: Unreadable tiles that were left out.
        tiles_checksum: Of its tiles as they were read, see `RangeChecksum`.
        row_checksum: Of the rest of the row, see `checksum_of`; 0 before it is stored.
    """

    range_number: int
    first_id: int
    last_id: int
    has_webp: bool
    zooms: tuple[ZoomCounts, ...]
    missing: tuple[TileColumnRun, ...]
    skipped: tuple[TileColumnRun, ...]
    tiles_checksum: int
    row_checksum: int = 0

    @property
    def tile_count(self) -> int:
        """Tiles stored for the range; their ids have no gap."""
        return self.last_id - self.first_id + 1


def checksum_of(row: LedgerRow) -> int:
    """The checksum of a row, but for the ids of its tiles.

    A merge changes those, and the tiles that they lead to are checked.
    """
    told = [row.range_number, int(row.has_webp), row.zooms, row.missing, row.skipped]
    return zlib.crc32(orjson.dumps(told), row.tiles_checksum)


def create_ledger(connection: sqlite3.Connection) -> None:
    """Create the ledger's table."""
    connection.execute(_CREATE)


def insert_row(connection: sqlite3.Connection, row: LedgerRow) -> None:
    """Store a range's row; its tiles are stored in the same transaction."""
    connection.execute(
        f"INSERT INTO {LEDGER_TABLE} ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant names
        (
            row.range_number,
            row.first_id,
            row.last_id,
            row.has_webp,
            _text(row.zooms),
            _text(row.missing),
            _text(row.skipped),
            row.tiles_checksum,
            checksum_of(row),
        ),
    )


def delete_row(connection: sqlite3.Connection, range_number: int) -> None:
    """Forget a range; its tiles are removed in the same transaction."""
    connection.execute(f"DELETE FROM {LEDGER_TABLE} WHERE range_number = ?", (range_number,))  # noqa: S608 - constant names


def read_row(connection: sqlite3.Connection, range_number: int) -> LedgerRow | None:
    """The row of one range, or None when the ledger does not have it.

    Raises:
        ShardDamaged: There is a row, but no row of ours.
    """
    found = connection.execute(
        f"SELECT {_AS_BYTES} FROM {LEDGER_TABLE} WHERE range_number = ?",  # noqa: S608 - constant names
        (range_number,),
    ).fetchone()
    return None if found is None else _row(found)


def read_rows(connection: sqlite3.Connection) -> Iterator[LedgerRow]:
    """All rows by range number, one at a time.

    Raises:
        ShardDamaged: While it goes on: a row is no row of ours.
    """
    rows = connection.execute(f"SELECT {_AS_BYTES} FROM {LEDGER_TABLE} ORDER BY range_number")  # noqa: S608 - constant names
    return map(_row, rows)


def range_numbers(connection: sqlite3.Connection) -> set[int]:
    """The ranges that the ledger holds."""
    rows = connection.execute(f"SELECT range_number FROM {LEDGER_TABLE}")  # noqa: S608 - constant names
    return {number for (number,) in rows}


def column_runs(tiles: Iterable[tuple[int, int, int]]) -> tuple[TileColumnRun, ...]:
    """Join tiles in export order to runs of rows.

    >>> column_runs([(3, 0, 1), (3, 0, 2), (3, 1, 3)])
    (TileColumnRun(zoom=3, column=0, min_row=1, max_row=2),
     TileColumnRun(zoom=3, column=1, min_row=3, max_row=3))
    """
    runs: list[list[int]] = []
    for zoom, col, row in tiles:
        if runs and runs[-1] == [zoom, col, runs[-1][2], row - 1]:
            runs[-1][3] = row
        else:
            runs.append([zoom, col, row, row])
    return tuple(TileColumnRun(*run) for run in runs)


def _text(values: Sequence[ZoomCounts] | Sequence[TileColumnRun]) -> str:
    return orjson.dumps([astuple(value) for value in values]).decode()


def _row(row: tuple[int, int, int, int, bytes, bytes, bytes, int, int]) -> LedgerRow:
    number, first_id, last_id, has_webp, zooms, missing, skipped, tiles, stored = row
    try:
        return LedgerRow(
            range_number=number,
            first_id=first_id,
            last_id=last_id,
            has_webp=bool(has_webp),
            zooms=tuple(ZoomCounts(*counts) for counts in orjson.loads(zooms)),
            missing=tuple(TileColumnRun(*run) for run in orjson.loads(missing)),
            skipped=tuple(TileColumnRun(*run) for run in orjson.loads(skipped)),
            tiles_checksum=tiles,
            row_checksum=stored,
        )
    except (TypeError, ValueError) as error:
        raise ShardDamaged(f"the ledger's row of range {number} cannot be read") from error
