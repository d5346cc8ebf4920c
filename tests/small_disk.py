"""Real small disks, for tests of what happens when one is full or read-only."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Disk:
    """A file system of its own.

    Attributes:
        path: Where it is mounted.
    """

    path: Path

    def remount(self, option: str) -> None:
        """Make it `ro` or `rw`, or give it another `size=`."""
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.path)], check=True)

    @property
    def free_bytes(self) -> int:
        usage = os.statvfs(self.path)
        return usage.f_bavail * usage.f_frsize

    def fill(self, *, but: int = 0) -> Path:
        """Fill it up but for some bytes; returns the file that does so."""
        filler = self.path / "filler"
        with filler.open("ab", buffering=0) as file:
            # Others may write to the disk at the same time: on until it really is full.
            while (missing := self.free_bytes - but) > 0:
                with suppress(OSError):
                    file.write(bytes(min(missing, 16 << 20)))
        return filler


@contextmanager
def mounted(path: Path, size: str) -> Iterator[Disk]:
    path.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "none", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command: no small disk")
    if done.returncode:
        pytest.skip(f"no small disk, mounting is refused here: {done.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        # Lazily: a process that is ending may still look at it.
        subprocess.run(["umount", "-l", str(path)], check=True)
        with suppress(OSError):
            path.rmdir()
