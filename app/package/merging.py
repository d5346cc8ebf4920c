"""Joining the shards of an attempt into the largest of them."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from app.domain.tile_tables import TileTables
from app.package.connection import connect, in_our_words, write_transaction
from app.package.failures import ShardDamaged
from app.package.ledger import LedgerRow, insert_row, range_numbers, read_rows
from app.package.ownership import check_owner

_OTHER: Final = "other"


def merge_shard(
    target: Path, source: Path, *, owner: str, tables: TileTables, beat: Callable[[], None]
) -> None:
    """Copy the ranges that only `source` has into `target`, in one transaction.

    Ledger rows tell which rows of the tile table belong to a range, so a range that two shards
    hold is taken from one of them, tiles and counts alike. Doing this twice changes nothing.

    Raises:
        NotOwner: Another assembler has taken the target.
        ShardDamaged: The source is damaged, or lacks tiles that its ledger tells of.
        ShardLost: A shard is gone or locked.
        StorageFull: The disk is full.
        StorageUnavailable: The disk answers with an error.
    """
    with in_our_words(source):
        rows = _ledger_of(source)
    with in_our_words(target):
        connection = connect(target)
        try:
            connection.execute(f"ATTACH ? AS {_OTHER}", (str(source),))
            with write_transaction(connection):
                check_owner(connection, owner)
                known = range_numbers(connection)
                for row in rows:
                    if row.range_number not in known:
                        _copy_range(connection, row, tables.of_range(row.range_number))
                        beat()
        finally:
            connection.close()


def _ledger_of(path: Path) -> list[LedgerRow]:
    connection = connect(path)
    try:
        return list(read_rows(connection))
    finally:
        connection.close()


def _copy_range(connection: sqlite3.Connection, row: LedgerRow, table: str) -> None:
    columns = "zoom_level, tile_column, tile_row, tile_data"
    copied = connection.execute(
        f'INSERT OR IGNORE INTO main."{table}" ({columns})'  # noqa: S608 - checked by create_tables
        f' SELECT {columns} FROM {_OTHER}."{table}" WHERE id BETWEEN ? AND ? ORDER BY id',
        (row.first_id, row.last_id),
    ).rowcount
    if copied != row.tile_count:
        raise ShardDamaged(
            f"range {row.range_number} has {row.tile_count} tiles in the ledger, {copied} in fact"
        )
    (last_id,) = connection.execute(
        "SELECT coalesce(max(seq), 0) FROM main.sqlite_sequence WHERE name = ?", (table,)
    ).fetchone()
    insert_row(connection, replace(row, first_id=last_id - copied + 1, last_id=last_id))
