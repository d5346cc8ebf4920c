"""Who may write to a shard: one row in the file itself, checked in every transaction."""

import sqlite3
from functools import cache
from pathlib import Path
from typing import Final

from app.package.failures import NotOwner

OWNER_TABLE: Final = "_shard_owner"


@cache
def boot_id() -> str:
    """An id of this run of this machine's kernel; another one means the page cache was lost."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"  # not Linux: never equal to what another run of the kernel left


def create_owner(connection: sqlite3.Connection, owner: str) -> None:
    """Create the owner row of a new shard."""
    connection.execute(f"CREATE TABLE {OWNER_TABLE} (owner TEXT NOT NULL, boot_id TEXT NOT NULL)")
    connection.execute(
        f"INSERT INTO {OWNER_TABLE} VALUES (?, ?)",  # noqa: S608 - constant name
        (owner, boot_id()),
    )


def check_owner(connection: sqlite3.Connection, owner: str) -> None:
    """Stop when the shard is another's; call it within the transaction that it guards.

    Raises:
        NotOwner: The owner row is another's, or there is none.
    """
    found = read_owner(connection)
    if found is None or found[0] != owner:
        raise NotOwner(f"the shard of {owner} belongs to {found[0] if found else 'nobody'} now")


def read_owner(connection: sqlite3.Connection) -> tuple[str, str] | None:
    """Owner and boot id, or None without an owner row; an error without the table."""
    row: tuple[str, str] | None = connection.execute(
        f"SELECT owner, boot_id FROM {OWNER_TABLE}"  # noqa: S608 - constant name
    ).fetchone()
    return row


def replace_owner(connection: sqlite3.Connection, owner: str) -> None:
    """Take the shard over; call it within a transaction."""
    connection.execute(
        f"UPDATE {OWNER_TABLE} SET owner = ?, boot_id = ?",  # noqa: S608 - constant name
        (owner, boot_id()),
    )


def has_owner_table(connection: sqlite3.Connection) -> bool:
    """Whether the file is still a shard, and not yet a finished package."""
    found = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (OWNER_TABLE,)
    ).fetchone()
    return found is not None
