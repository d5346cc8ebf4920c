"""Finding out whether a shard is still whole after the machine that wrote it was restarted.

A killed process loses nothing, because the operating system keeps what it wrote; a power cut may
lose any page that had not reached the disk. Only shards from another run of the kernel pay for
this: reading them once.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from app.domain.package_facts import ZoomCounts
from app.domain.tile_image import flaw_of
from app.package.connection import connect
from app.package.failures import ShardDamaged


def check_database(connection: sqlite3.Connection, tables: Iterable[str]) -> None:
    """Check the structure of the file and the end of each tile.

    SQLite sees lost pages by their links; the last page of a tile has none, so a tile that ends
    with a zero byte is looked at.

    Raises:
        ShardDamaged: Something is lost.
    """
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise ShardDamaged(f"lost after a restart: {verdict}")
    for table in tables:
        ends_in_zero = connection.execute(
            f"SELECT id, tile_data FROM \"{table}\" WHERE substr(tile_data, -1) = x'00'"  # noqa: S608 - checked by create_tables
        )
        for tile_id, image in ends_in_zero:
            if flaw_of(image) is not None:
                raise ShardDamaged(f"lost after a restart: the end of tile {tile_id} of {table}")


def check_counts(connection: sqlite3.Connection, table: str, zooms: Sequence[ZoomCounts]) -> None:
    """Compare the tiles of one table of a shard with what its ledger or facts say.

    Raises:
        ShardDamaged: There are more or fewer tiles, or other sizes.
    """
    found = connection.execute(
        f"""
        SELECT zoom_level, count(*), sum(length(tile_data))
        FROM "{table}" GROUP BY zoom_level ORDER BY zoom_level"""  # noqa: S608 - checked by create_tables
    ).fetchall()
    told = [(counts.zoom, counts.written, counts.tile_bytes) for counts in zooms if counts.written]
    if found != told:
        raise ShardDamaged(f"lost after a restart: tiles by zoom are {found}, not {told}")


def is_whole(path: Path) -> bool:
    """Whether SQLite finds no fault in the structure of a file; the images are not looked at."""
    try:
        connection = connect(path)
        try:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
    except (sqlite3.DatabaseError, UnicodeDecodeError):  # the latter from sqlite3 itself
        return False
    return bool(verdict == "ok")
