"""Logs of the processes: put aside at each start, and kept small while a process lives.

A living process goes on writing to the file it was given, so its log is copied and then emptied:
what it writes between the two is lost, a few lines at most.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

KEPT_LOGS: Final = 5
LOG_BYTES: Final = 32 * 1024 * 1024
"""A log that is longer is put aside."""
CHUNK_BYTES: Final = 1024 * 1024
LOOK_EVERY_S: Final = 10.0


def rotate_log(path: Path) -> None:
    """Put a log aside as `<name>.log.1`, older ones one number further; the oldest goes."""
    if not path.exists() or path.stat().st_size == 0:
        return
    _shift_older(path)
    path.rename(_aside(path, 1))


def shorten_log(path: Path, limit_bytes: int = LOG_BYTES) -> None:
    """Copy the end of a log that is too long to `<name>.log.1`, and empty it.

    Whoever writes to it must append, or the file would get a hole. It is emptied even when there
    is no space for the copy: it may be the log that fills the disk.
    """
    if not path.exists() or path.stat().st_size <= limit_bytes:
        return
    _shift_older(path)
    with path.open("r+b") as log:
        with suppress(OSError), _aside(path, 1).open("wb") as copy:
            log.seek(-limit_bytes, os.SEEK_END)
            for begun in range(0, limit_bytes, CHUNK_BYTES):
                # No more than the limit, though lines may come while it is copied.
                copy.write(log.read(min(CHUNK_BYTES, limit_bytes - begun)))
        log.truncate(0)


async def keep_logs_short(logs: Callable[[], Iterable[Path]]) -> None:
    """Look at some logs now and then, and shorten those that are too long; run it as a task."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        for path in logs():
            with suppress(OSError):
                await asyncio.to_thread(shorten_log, path)


def _shift_older(path: Path) -> None:
    for number in range(KEPT_LOGS - 1, 0, -1):
        older = _aside(path, number)
        if older.exists():
            older.rename(_aside(path, number + 1))


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
