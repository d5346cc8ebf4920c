"""Opening SQLite files and telling its errors in our words."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from app.domain.errors import ShardLost, StorageFull, StorageUnavailable
from app.package.failures import ShardBusy, ShardDamaged

LOCK_WAIT_S: Final = 5.0
"""How long to wait for another process's transaction; an assembler's step is far shorter."""

_SETTINGS: Final = (
    # The operating system keeps what a killed process wrote, so a hot journal suffices against
    # kill -9; the power may fail too, which soundness.py finds out. NORMAL, which waits for the
    # disk at each range, took 1.1 to 1.25 times as long from first read to hashed file.
    "PRAGMA synchronous = OFF",
    # Debian compiles it on; overwriting what is about to be overwritten gains nothing here.
    "PRAGMA secure_delete = OFF",
    # The temporary tables of a sort would land in /tmp, perhaps on a small disk.
    "PRAGMA temp_store = MEMORY",
)


def connect(path: Path, *, mode: Literal["rw", "rwc"] = "rw") -> sqlite3.Connection:
    """Open a shard for writing, with transactions in our hands and any thread allowed, one a time.

    The rollback journal stays at its default (deleted at each commit): a package must not leave
    a side file, and WAL would make one.
    """
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        timeout=LOCK_WAIT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        for setting in _SETTINGS:
            connection.execute(setting)
    except sqlite3.Error:  # no database at all
        connection.close()
        raise
    return connection


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open a finished package without locks or side files, as read-only media need it."""
    return sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True, isolation_level=None)


_LOST_BY_CODE: Final = {
    sqlite3.SQLITE_BUSY: ShardBusy,
    sqlite3.SQLITE_LOCKED: ShardBusy,
    sqlite3.SQLITE_CORRUPT: ShardDamaged,
    sqlite3.SQLITE_NOTADB: ShardDamaged,
}


@contextmanager
def in_our_words(path: Path) -> Iterator[None]:
    """Turn SQLite's and the operating system's errors into ours.

    Raises:
        StorageFull: The disk, or our share of it, is full.
        StorageUnavailable: The disk answers with an error.
        ShardBusy: Somebody else holds the lock for long.
        ShardDamaged: The file is no database, or not a whole one.
        ShardLost: Anything else: moved, gone, or without our tables.
    """
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise  # a tile twice, a closed connection: bugs, not states of the disk
    except sqlite3.DatabaseError as error:
        extended = getattr(error, "sqlite_errorcode", 0)
        code = extended & 0xFF
        if extended == sqlite3.SQLITE_IOERR_DELETE_NOENT:
            raise ShardLost(f"{path.name} is being removed") from error
        if code == sqlite3.SQLITE_FULL:
            raise StorageFull(f"no space left while writing {path.name}") from error
        if code == sqlite3.SQLITE_IOERR:
            raise StorageUnavailable(f"{path.name}: {error}") from error
        lost = _LOST_BY_CODE.get(code, ShardLost)
        raise lost(f"{path.name}: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"no space left while writing {path.name}") from error
        if isinstance(error, FileNotFoundError):
            raise ShardLost(f"{path.name} is gone") from error
        raise StorageUnavailable(f"{path.name}: {error}") from error


@contextmanager
def write_transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock from the first statement on; all or nothing is stored."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
