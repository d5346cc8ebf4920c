"""Small files that are whole or not there, also after a power cut."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

WORTH_AN_EARLY_START_BYTES: Final = 32 << 20
"""A smaller file reaches the disk quickly when its time has come."""


def write_durably(path: Path, content: bytes, *, owner: str) -> None:
    """Replace a file by new content that has reached the disk.

    Args:
        path: The file; it is written under another name beside it first.
        content: All of it.
        owner: Names the temporary file, so that two processes never share one.
    """
    temporary = path.with_name(f"{path.name}.{owner}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        # A full disk: give back what was written, all the more.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Let the names in a folder reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def reaching_disk(path: Path) -> Iterator[Callable[[], None]]:
    """Let a large file reach the disk while the block works on it.

    The file is closed at the end of the block, which gives up the locks that this process has on
    it: end every transaction before.

    Yields:
        Waits until what the file held at the beginning is on the disk; raises OSError when it
        does not get there, which the next fsync would not tell again.
    """
    if path.stat().st_size < WORTH_AN_EARLY_START_BYTES:
        yield lambda: None
        return
    with path.open("r+b", buffering=0) as file, ThreadPoolExecutor(1) as syncing:
        synced = syncing.submit(os.fsync, file.fileno())
        yield synced.result
