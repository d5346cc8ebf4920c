"""Opening SQLite files and telling its errors in our words."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote
from uuid import uuid4

from app.domain.errors import ExportServiceError, ShardLost, StorageFull, StorageUnavailable
from app.package.failures import ShardBusy, ShardDamaged

LOCK_WAIT_S: Final = 5.0
"""How long to wait for another process's transaction; an assembler's step is far shorter."""

TRIAL_PREFIX: Final = "trial-"
_TRIAL_BYTES: Final = 4096

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
    """Open a finished package without locks or side files, as read-only media need it.

    Any thread may use it, one at a time.
    """
    return sqlite3.connect(
        f"file:{quote(str(path))}?immutable=1",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )


def connect_to_look(path: Path, *, wait_s: float) -> sqlite3.Connection:
    """Open a shard that another process is filling, to read what it has committed.

    Args:
        path: The shard.
        wait_s: How long to wait while its writer commits, seconds.
    """
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro", uri=True, timeout=wait_s, isolation_level=None
    )


_LOST_BY_CODE: Final = {
    sqlite3.SQLITE_BUSY: ShardBusy,
    sqlite3.SQLITE_LOCKED: ShardBusy,
    sqlite3.SQLITE_CORRUPT: ShardDamaged,
    sqlite3.SQLITE_NOTADB: ShardDamaged,
}
_REFUSALS: Final = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_IOERR,
)
"""What SQLite says when the operating system refused something, without saying what it said."""


@contextmanager
def in_our_words(path: Path) -> Iterator[None]:
    """Turn SQLite's and the operating system's errors into ours.

    Raises:
        StorageFull: The disk, or our share of it, is full.
        StorageUnavailable: The disk answers with an error, is read-only, or not ours to write.
        ShardBusy: Somebody else holds the lock for long.
        ShardDamaged: The file is no database, or not a whole one.
        ShardLost: Anything else: moved, gone, or without our tables.
    """
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise  # a tile twice, a closed connection: bugs, not states of the disk
    except sqlite3.DatabaseError as error:
        raise _word_of_sqlite(path, error) from error
    except UnicodeDecodeError as error:
        # sqlite3 fails to tell us what SQLite says of a damaged schema.
        raise ShardDamaged(f"{path.name}: its tables are damaged") from error
    except OSError as error:
        raise _word_of_system(path, error) from error


def _word_of_sqlite(path: Path, error: sqlite3.DatabaseError) -> ExportServiceError:
    extended = getattr(error, "sqlite_errorcode", 0)
    code = extended & 0xFF
    if extended == sqlite3.SQLITE_IOERR_DELETE_NOENT:
        return ShardLost(f"{path.name} is being removed")
    if extended == sqlite3.SQLITE_IOERR_SHORT_READ:
        return ShardDamaged(f"{path.name} has been cut short")
    if code == sqlite3.SQLITE_FULL:
        return StorageFull(_no_space(path))
    if code in _REFUSALS and extended != sqlite3.SQLITE_READONLY_DBMOVED:
        try:
            _try_to_write(path)
        except OSError as refusal:
            return _word_of_system(path, refusal)
        if code == sqlite3.SQLITE_IOERR:
            return StorageUnavailable(f"{path.name}: {error}")
    return _LOST_BY_CODE.get(code, ShardLost)(f"{path.name}: {error}")


def _word_of_system(path: Path, error: OSError) -> ExportServiceError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(_no_space(path))
    if isinstance(error, FileNotFoundError):
        return ShardLost(f"{path.name} is gone")
    return StorageUnavailable(f"{path.name}: {error.strerror or error}")


def _no_space(path: Path) -> str:
    return f"no space left while writing {path.name}"


def _try_to_write(path: Path) -> None:
    """Do to the file's folder what SQLite does, to hear what the operating system says.

    The file itself is not opened: closing it would give up the locks that we hold on it.

    Raises:
        OSError: What it says; nothing is raised when it now allows everything.
    """
    trial = path.with_name(f"{TRIAL_PREFIX}{uuid4().hex}.tmp")
    try:
        trial.write_bytes(bytes(_TRIAL_BYTES))
    finally:
        with suppress(OSError):
            trial.unlink(missing_ok=True)
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


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
