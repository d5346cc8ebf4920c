"""A shard: the SQLite file that one worker process fills for one attempt."""

import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Final, Self
from uuid import uuid4

from app.domain.errors import StorageUnavailable
from app.domain.package_facts import TileColumnRun, ZoomCounts
from app.domain.tile_tables import TileTables
from app.package.checksum import NO_TILES
from app.package.connection import connect, in_our_words, write_transaction
from app.package.geopackage import APPLICATION_ID, USER_VERSION, create_tables
from app.package.ledger import LedgerRow, create_ledger, insert_row, read_row
from app.package.ownership import check_owner, create_owner

SHARD_SUFFIX: Final = ".gpkg.part"
OWNER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")

TileRow = tuple[int, int, int, bytes]
"""Zoom, column, row and image of a tile to store."""

PAGE_SIZE_BYTES: Final = 4096
"""Tiles of 12 kB fill such pages best: 6 % go unused. With 8192 it is 11 %, for a quarter less of
processor time; with 65536 it is 13 %, for half of it."""

ROWS_PER_STATEMENT: Final = 64
"""SQLite works without the interpreter's lock within a statement only: with single rows the
reading thread and the inserting one hand it back and forth at every tile, 1.1 times as slow."""

MAX_WAITING_BYTES: Final = 1 << 20
"""Larger tiles are stored at once: for them the hand-over costs little, and memory counts."""


class Shard:
    """Stores ranges, each in one transaction with its ledger row; one caller at a time.

    Attributes:
        path: The file.
        owner: The writer process, unique per start.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, owner: str, tables: TileTables
    ) -> None:
        """Wrap an open shard; use `create`."""
        self.path = path
        self.owner = owner
        self._file = _identity(path)
        self._connection = connection
        self._tables = tables

    @classmethod
    def create(cls, folder: Path, *, owner: str, tables: TileTables) -> Self:
        """Make an empty shard in an attempt's folder.

        It gets its name when its tables and owner row exist, so whoever finds a shard finds a
        whole one. A process that lost its shard creates another.

        Raises:
            ValueError: `owner` or a table cannot be part of a file or table name.
            StorageFull: The disk is full.
            StorageUnavailable: The disk answers with an error.
        """
        if OWNER_NAME.fullmatch(owner) is None:
            raise ValueError(f"{owner!r} cannot name the owner of a shard")
        path = new_shard_path(folder, owner)
        temporary = path.with_suffix(".new")
        with in_our_words(path):
            make_attempt_folder(folder)
            try:
                _make_file(temporary, owner, tables)
                temporary.rename(path)
            except BaseException:
                _remove_unfinished(temporary)
                raise
            # Opened again: a hot journal must carry the name under which others look for it.
            return cls(path, connect(path), owner, tables)

    @property
    def is_gone(self) -> bool:
        """Whether its name leads to another file, or to none: moved, set aside or removed.

        Whoever keeps such a shard open writes into the void and keeps its space.
        """
        return _identity(self.path) != self._file

    def recorded(self, range_number: int) -> tuple[ZoomCounts, ...] | None:
        """The counts of a range that the ledger holds, or None.

        Raises:
            ShardLost: The shard is gone, damaged or locked. What a ledger says that nobody will
                find again does not count: an assembler would miss the range for ever.
        """
        with in_our_words(self.path):
            if self.is_gone:
                raise FileNotFoundError(self.path)
            row = read_row(self._connection, range_number)
        return None if row is None else row.zooms

    @contextmanager
    def writing(self, range_number: int) -> Iterator["RangeRows"]:
        """Hold one transaction for a range: everything is stored at its end, or nothing.

        Raises:
            ShardLost: The shard belongs to another, is gone, damaged or locked.
            StorageFull: The disk is full.
            StorageUnavailable: The disk answers with an error.
        """
        with in_our_words(self.path), write_transaction(self._connection):
            check_owner(self._connection, self.owner)
            yield RangeRows(self._connection, self._tables.of_range(range_number), range_number)

    def close(self) -> None:
        """Close the file; it stays, for the assembler."""
        self._connection.close()


class RangeRows:
    """The open transaction of one range."""

    def __init__(self, connection: sqlite3.Connection, table: str, range_number: int) -> None:
        """Begin after the tiles that the table holds; use `Shard.writing`."""
        self._connection = connection
        self._table = table
        self._range_number = range_number
        self._first_id = self._last_id() + 1
        self._waiting: list[TileRow] = []
        insert = f'INSERT INTO "{table}" (zoom_level, tile_column, tile_row, tile_data) VALUES '  # noqa: S608 - checked by create_tables
        self._insert_one = f"{insert}(?, ?, ?, ?)"
        self._insert_many = insert + ", ".join(["(?, ?, ?, ?)"] * ROWS_PER_STATEMENT)

    def insert(self, tiles: Sequence[TileRow]) -> None:
        """Store tiles, in export order; a few may wait for enough others to fill a statement.

        Raises:
            sqlite3.IntegrityError: A tile is there already: ranges overlap, a bug.
        """
        waiting = [*self._waiting, *tiles]
        whole = len(waiting) - len(waiting) % ROWS_PER_STATEMENT
        for start in range(0, whole, ROWS_PER_STATEMENT):
            self._insert(waiting[start : start + ROWS_PER_STATEMENT])
        self._waiting = waiting[whole:]
        if sum(len(tile[3]) for tile in self._waiting) > MAX_WAITING_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._insert(self._waiting)
        self._waiting = []

    def _insert(self, tiles: Sequence[TileRow]) -> None:
        if len(tiles) == ROWS_PER_STATEMENT:
            self._connection.execute(self._insert_many, list(chain.from_iterable(tiles)))
        else:
            self._connection.executemany(self._insert_one, tiles)

    def _last_id(self) -> int:
        found = self._connection.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = ?", (self._table,)
        ).fetchone()
        return 0 if found is None else int(found[0])

    def record(
        self,
        zooms: Iterable[ZoomCounts],
        *,
        missing: Iterable[TileColumnRun] = (),
        skipped: Iterable[TileColumnRun] = (),
        has_webp: bool = False,
        tiles_checksum: int = NO_TILES,
    ) -> tuple[ZoomCounts, ...]:
        """Write the range's ledger row, last in the transaction; return its counts.

        Args:
            zooms: Counts, ascending zooms.
            missing: Tiles that the source does not have.
            skipped: Unreadable tiles that were left out.
            has_webp: Some tile is WebP.
            tiles_checksum: Of the tiles as they were read, in export order.
        """
        self._flush()
        row = LedgerRow(
            range_number=self._range_number,
            first_id=self._first_id,
            last_id=self._last_id(),
            has_webp=has_webp,
            zooms=tuple(zooms),
            missing=tuple(missing),
            skipped=tuple(skipped),
            tiles_checksum=tiles_checksum,
        )
        insert_row(self._connection, row)
        return row.zooms


def new_shard_path(folder: Path, owner: str) -> Path:
    """A name that no other shard has."""
    return folder / f"shard-{owner}-{uuid4().hex[:8]}{SHARD_SUFFIX}"


def make_attempt_folder(folder: Path) -> None:
    """Make the folder of an attempt, `exports/<export_id>/<attempt>`.

    A folder of exports that somebody removed is made again, and its ranges written again. The
    folder around it is ours to find, not to make: without it a disk is not mounted, and we
    would fill another one.

    Raises:
        StorageUnavailable: The folder around it is not there.
        OSError: It cannot be made.
    """
    if not folder.parents[2].is_dir():
        raise StorageUnavailable(f"the data folder {folder.parents[2]} is not there")
    folder.mkdir(parents=True, exist_ok=True)


def _make_file(path: Path, owner: str, tables: TileTables) -> None:
    connection = connect(path, mode="rwc")
    try:
        for setting in (
            f"page_size = {PAGE_SIZE_BYTES}",
            f"application_id = {APPLICATION_ID}",
            f"user_version = {USER_VERSION}",
        ):
            connection.execute(f"PRAGMA {setting}")
        with write_transaction(connection):
            create_tables(connection, tables.names)
            create_ledger(connection)
            create_owner(connection, owner)
    finally:
        connection.close()


def _remove_unfinished(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file with a name, or None.

    Asked by name: closing a file of our own that SQLite has open too would give up its locks.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - Path.stat costs twice the time, at every range
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
