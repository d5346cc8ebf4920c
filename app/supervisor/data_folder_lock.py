"""One supervisor a data folder, until the last process that it started has ended.

The lock is a flock on `<data_dir>/run/lock`. Child processes inherit the open file, so after a
kill -9 of the supervisor its children keep the lock until they too are gone, and the next start
waits for them instead of starting a second broker on the same files.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.domain.errors import ExportServiceError

REMAINS_WAIT_S: Final = 60.0
"""Longest wait for the children of a killed supervisor: a few seconds, but a disk may hang."""

LOOK_EVERY_S: Final = 0.2


class AlreadyRunning(ExportServiceError):
    """Another supervisor holds the data folder."""


@contextmanager
def hold_data_folder(
    data_dir: Path, say: Callable[[str], None], *, remains_wait_s: float = REMAINS_WAIT_S
) -> Iterator[int]:
    """Hold the folder for this process; gives the descriptor that children are to inherit.

    Raises:
        AlreadyRunning: Another supervisor lives, or what a dead one left does not end in time.
    """
    run_dir = data_dir / "run"
    run_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(descriptor, data_dir, say, remains_wait_s)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(
    descriptor: int, data_dir: Path, say: Callable[[str], None], remains_wait_s: float
) -> None:
    deadline = time.monotonic() + remains_wait_s
    told = False
    while not _try_lock(descriptor):
        owner = _owner(descriptor)
        if owner is not None and _is_alive(owner):
            raise AlreadyRunning(
                f"process {owner} already runs the service on {data_dir}; stop it, or name "
                "another folder (--data-dir) and another port (--port)"
            )
        if time.monotonic() > deadline:
            raise AlreadyRunning(
                f"processes of an earlier start still use {data_dir} after {remains_wait_s:.0f} s; "
                f"find them with: lsof {data_dir / 'run' / 'lock'}"
            )
        if not told:
            say("The last start was killed; waiting for what it left to end ...")
            told = True
        time.sleep(LOOK_EVERY_S)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(descriptor: int) -> int | None:
    text = os.pread(descriptor, 20, 0).decode(errors="replace")
    return int(text) if text.isdecimal() else None


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
