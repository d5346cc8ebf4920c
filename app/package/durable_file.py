"""Small files that are whole or not there, also after a power cut."""

import os
from contextlib import suppress
from pathlib import Path


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
