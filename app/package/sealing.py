"""Turning a shard that holds every range into a GeoPackage: the ledger and the owner row go."""

import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from app.domain.area import BoundingBox
from app.domain.errors import ShardLost
from app.domain.iso_time import iso_time
from app.domain.tile_tables import TileTables
from app.domain.world_crs84_quad import tiles_bounds
from app.package.connection import connect, in_our_words, write_transaction
from app.package.failures import EmptyPackage, LedgerMismatch, ShardDamaged
from app.package.geopackage import (
    Contents,
    create_tile_table,
    describe_tiles,
    has_table,
    undescribe_tiles,
)
from app.package.ledger import LEDGER_TABLE, LedgerRow, create_ledger, insert_row, read_rows
from app.package.ownership import OWNER_TABLE, boot_id, check_owner, create_owner, has_owner_table
from app.package.shard import new_shard_path
from app.package.soundness import check_counts, check_database
from app.package.table_plan import TablePlan, tile_tables
from app.package.taking import facts_path, set_aside, shard_paths
from app.package.tile_proof import forget_range
from app.package.totals import SealedFacts, TableTotals, Totals, add_up


def find_sealed(folder: Path, tables: TileTables) -> Path | None:
    """The shard of an attempt that was sealed and only has to be published, if there is one.

    Facts beside a shard that still has its ledger are those of a sealing that was cut short.
    """
    for path in shard_paths(folder):
        facts = SealedFacts.read(facts_path(path))
        if facts is None:
            continue
        try:
            with in_our_words(path):
                if _is_sealed(path, facts, tables):
                    return path
        except ShardDamaged:
            set_aside(path)
    return None


def seal(
    path: Path,
    planned: Sequence[TablePlan],
    *,
    owner: str,
    now_ms: Callable[[], int],
    unproven: Sequence[LedgerRow],
) -> None:
    """Keep the facts in a file of their own, describe the tiles, drop ledger and owner row.

    The facts are on disk before the ledger goes, and both happen under the shard's lock by its
    owner: killed in between, the shard still has its ledger, and sealing starts over.

    Raises:
        EmptyPackage: All tiles are missing or skipped.
        LedgerMismatch: The ledger counts other tiles than the plan.
        NotOwner: Another assembler has taken the shard.
        ShardDamaged: The file is no whole database.
        ShardLost: The shard is gone or locked.
        StorageFull: The disk is full.
        StorageUnavailable: The disk answers with an error.
    """
    with in_our_words(path):
        connection = connect(path)
        try:
            # What the ledger held must not lie about in the unused pages of the package.
            connection.execute("PRAGMA secure_delete = ON")
            with write_transaction(connection):
                check_owner(connection, owner)
                totals = add_up(read_rows(connection), tile_tables(planned))
                _check(connection, totals, planned)
                facts = SealedFacts.now(totals, now_ms(), unproven)
                facts.write(facts_path(path), owner=owner)
                described = zip(planned, totals.tables, strict=True)
                describe_tiles(
                    connection,
                    [
                        _contents(connection, table, found, facts)
                        for table, found in described
                        if found.written
                    ],
                )
                _drop_empty(connection, planned, totals)
                connection.execute(f"DROP TABLE {LEDGER_TABLE}")
                connection.execute(f"DROP TABLE {OWNER_TABLE}")
        finally:
            connection.close()


def unseal(
    path: Path,
    rows: Sequence[LedgerRow],
    damaged: Collection[int],
    *,
    owner: str,
    tables: TileTables,
) -> None:
    """Give a sealed shard its ledger back, without the damaged ranges; nobody was told of it.

    It gets another name first, under which nobody can publish it any more. Killed after that, it
    is found without ledger and without facts, and all its ranges are written again.

    Raises:
        ShardDamaged: The file is no whole database.
        ShardLost: Another assembler was quicker.
        StorageFull: The disk is full.
        StorageUnavailable: The disk answers with an error.
    """
    renamed = new_shard_path(path.parent, owner)
    with in_our_words(path):
        path.rename(renamed)
        facts_path(path).unlink(missing_ok=True)
        if renamed.stat().st_nlink > 1:
            raise ShardLost(f"{path.name} is published")
        connection = connect(renamed)
        try:
            with write_transaction(connection):
                undescribe_tiles(connection)
                for name in tables.names:
                    if not has_table(connection, name):
                        create_tile_table(connection, name)
                create_ledger(connection)
                create_owner(connection, owner)
                for row in rows:
                    insert_row(connection, row)
                    if row.range_number in damaged:
                        forget_range(connection, row, tables)
        except sqlite3.DatabaseError:
            set_aside(renamed)
            raise
        finally:
            connection.close()


def _is_sealed(path: Path, facts: SealedFacts, tables: TileTables) -> bool:
    connection = connect(path)
    try:
        if has_owner_table(connection):
            return False
        if facts.boot_id != boot_id():
            told = zip(tables.names, facts.totals.tables, strict=True)
            stored = {name: totals.zooms for name, totals in told if totals.written}
            check_database(connection, stored)
            for name, zooms in stored.items():
                check_counts(connection, name, zooms)
        return True
    finally:
        connection.close()


def _check(connection: sqlite3.Connection, totals: Totals, planned: Sequence[TablePlan]) -> None:
    for table, found in zip(planned, totals.tables, strict=True):
        expected = tuple((counts.zoom, counts.expected) for counts in found.zooms)
        if expected != table.tiles_by_zoom:
            raise LedgerMismatch(
                f"the ledgers tell of tiles of {table.name} by zoom {expected}, the plan of"
                f" {table.tiles_by_zoom}"
            )
        # Counting all columns reads the index only, without the images.
        (stored,) = connection.execute(f'SELECT count(*) FROM "{table.name}"').fetchone()  # noqa: S608 - checked by create_tables
        if stored != found.written:
            raise LedgerMismatch(
                f"{table.name} holds {stored} tiles, the ledgers tell of {found.written}"
            )
    if not totals.written:
        count = sum(counts.expected for counts in totals.zooms)
        raise EmptyPackage(
            f"none of the {count} tiles could be had: the source lacks"
            f" {sum(counts.missing for counts in totals.zooms)} of them and"
            f" {sum(counts.skipped for counts in totals.zooms)} are unreadable"
        )


def _contents(
    connection: sqlite3.Connection, table: TablePlan, found: TableTotals, facts: SealedFacts
) -> Contents:
    zooms = [counts.zoom for counts in found.zooms if counts.written]
    bounds = table.finest_bounds
    if zooms[-1] != table.max_zoom:
        # None of the finest tiles exists: readers open the finest zoom that there is.
        bounds = _stored_bounds(connection, table.name, zooms[-1])
    return Contents(
        table=table.name,
        identifier=table.identifier,
        bounds=bounds,
        zooms=zooms,
        last_change=iso_time(facts.finished_at_ms),
        has_webp=found.has_webp,
    )


def _drop_empty(
    connection: sqlite3.Connection, planned: Sequence[TablePlan], totals: Totals
) -> None:
    """Drop the tables that the source has no tile for: readers could not open them."""
    for table, found in zip(planned, totals.tables, strict=True):
        if not found.written:
            connection.execute(f'DROP TABLE "{table.name}"')


def _stored_bounds(connection: sqlite3.Connection, table: str, zoom: int) -> BoundingBox:
    min_col, max_col, min_row, max_row = connection.execute(
        f"""
        SELECT min(tile_column), max(tile_column), min(tile_row), max(tile_row)
        FROM "{table}" WHERE zoom_level = ?""",  # noqa: S608 - checked by create_tables
        (zoom,),
    ).fetchone()
    return tiles_bounds(zoom, (min_col, max_col), (min_row, max_row))
