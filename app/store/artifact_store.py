"""The artifact store as a folder: `exports/<export_id>/<attempt>/`, shared by all processes."""

import errno
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from app.domain.errors import StorageUnavailable

EXPORT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
ATTEMPT: Final = re.compile(r"[0-9]{1,20}(?:-[0-9]{1,20})?")
FILE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,250}\.(?:gpkg|json)")

MOST_LEFTOVERS: Final = 1_000
"""Attempts that one look finds; the next one finds more."""

MOST_SHARDS: Final = 16
"""Shards of an attempt that are looked at; there are as many as lanes and crashes."""

REMOVAL_TRIES: Final = 20
"""A writer that does not know yet creates one file or two while its folder is removed."""


class ArtifactStore:
    """Knows where the files of exports are; makes no path from a name that it did not check.

    Attributes:
        root: The data folder's `exports`.
    """

    def __init__(self, root: Path) -> None:
        """Remember the folder; it is created with the first attempt."""
        self.root = root

    def attempt_folder(self, export_id: str, attempt: str) -> Path:
        """Where an attempt's files are, or will be.

        Raises:
            ValueError: The id or the attempt is not of the form that this service makes.

        >>> ArtifactStore(Path("exports")).attempt_folder("0af3", "1700000000000-12").as_posix()
        'exports/0af3/1700000000000-12'
        """
        if EXPORT_ID.fullmatch(export_id) is None:
            raise ValueError(f"{export_id!r} is no export id")
        if ATTEMPT.fullmatch(attempt) is None:
            raise ValueError(f"{attempt!r} is no attempt")
        return self.root / export_id / attempt

    def free_bytes(self) -> int:
        """Bytes that an unprivileged process may still write.

        Raises:
            StorageUnavailable: The folder cannot be asked.
        """
        usage = self._usage()
        return usage.f_bavail * usage.f_frsize

    def total_bytes(self) -> int:
        """Size of the file system that the files are on, bytes.

        Raises:
            StorageUnavailable: The folder cannot be asked.
        """
        usage = self._usage()
        return usage.f_blocks * usage.f_frsize

    def _usage(self) -> os.statvfs_result:
        folder = self.root
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        try:
            return os.statvfs(folder)
        except OSError as error:
            raise StorageUnavailable(f"{folder}: {error}") from error

    def finished_attempts(self, export_id: str) -> list[str]:
        """The attempts of an export that hold a package with its metadata, oldest first.

        Raises:
            ValueError: The id is not of the form that this service makes.
            StorageUnavailable: The folder cannot be read.
        """
        if EXPORT_ID.fullmatch(export_id) is None:
            raise ValueError(f"{export_id!r} is no export id")
        try:
            folders = [path for path in (self.root / export_id).iterdir() if _is_attempt(path)]
            return sorted((path.name for path in folders if _has_pair(path)), key=_age)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageUnavailable(f"export {export_id}: {error}") from error

    def package_path(self, export_id: str, attempt: str, name: str) -> Path | None:
        """The path of a published file, package or metadata, for anyone who names it.

        The parts come from a URL: each must have the form that this service makes, so no name
        can lead out of the attempt's folder, and shards are never offered.

        Returns:
            The file, or None when there is none of that name, or the package is not complete.
        """
        if FILE_NAME.fullmatch(name) is None:
            return None
        try:
            folder = self.attempt_folder(export_id, attempt)
        except ValueError:
            return None
        path = folder / name
        pair = [path.with_suffix(suffix) for suffix in (".gpkg", ".json")]
        return path if all(_is_plain_file(file) for file in pair) else None

    def shard_paths(self, export_id: str, attempt: str) -> list[Path]:
        """The shards of an attempt that is being written, for looking at them only.

        Raises:
            ValueError: The id or the attempt is not of the form that this service makes.
            StorageUnavailable: The folder cannot be read.
        """
        folder = self.attempt_folder(export_id, attempt)
        try:
            return sorted(folder.glob("*.gpkg.part"))[:MOST_SHARDS]
        except OSError as error:
            raise StorageUnavailable(f"attempt {export_id}/{attempt}: {error}") from error

    def remove_attempt(self, export_id: str, attempt: str) -> int:
        """Remove an attempt's files, whatever they are; again is harmless.

        Another that removes or creates files at the same time is no obstacle; the folder is gone
        at the end. A download under way reads on to its end.

        Returns:
            Bytes that the files had; who still reads one keeps its space until it is closed.

        Raises:
            ValueError: The id or the attempt is not of the form that this service makes.
            StorageUnavailable: Something could not be removed.
        """
        folder = self.attempt_folder(export_id, attempt)
        freed = 0
        try:
            for _ in range(REMOVAL_TRIES):
                freed += _bytes_in(folder)
                if _is_removed(folder):
                    break
            else:
                raise StorageUnavailable(f"attempt {export_id}/{attempt}: files keep coming")
            with suppress(FileNotFoundError):
                _remove_if_empty(folder.parent)
        except OSError as error:
            raise StorageUnavailable(f"attempt {export_id}/{attempt}: {error}") from error
        return freed

    def leftovers(self, now_s: float, *, grace_s: float, orphan_s: float) -> list[tuple[str, str]]:
        """Find attempts with files that nobody will ever order to be removed.

        Args:
            now_s: The time, seconds since 1970 UTC.
            grace_s: What lies beside a published pair, untouched for so long, was left by a late
                writer or by an assembler that was killed.
            orphan_s: A folder without a pair, untouched for so long, is known to nobody any more.

        Returns:
            Export and attempt, at most 1,000.

        Raises:
            StorageUnavailable: The folder cannot be read.
        """
        found: list[tuple[str, str]] = []
        try:
            for folder in self.root.glob("*/*"):
                if len(found) == MOST_LEFTOVERS:
                    break
                if EXPORT_ID.fullmatch(folder.parent.name) and _is_attempt(folder):
                    kept = _names_of_pairs(folder)
                    extra = _sorted_entries(folder, kept)
                    age_s = now_s - max(map(_touched_at_s, [folder, *extra]))
                    if (extra or not kept) and age_s > (grace_s if kept else orphan_s):
                        found.append((folder.parent.name, folder.name))
        except FileNotFoundError:
            return found  # somebody else removes there: the next look finds the rest
        except OSError as error:
            raise StorageUnavailable(f"{self.root}: {error}") from error
        return found

    def sweep_attempt(self, export_id: str, attempt: str) -> int:
        """Remove everything from an attempt's folder but a whole published pair.

        For what late writers, killed assemblers and frozen processes left behind. Again is
        harmless. Beside a process that still works on the attempt nothing false comes of it, but
        its work is lost: its shards are gone and it writes their ranges again. So call it when
        the attempt has been over for longer than any lease, an hour, say.

        Returns:
            Bytes that became free; a file that the package shares its bytes with frees none.

        Raises:
            ValueError: The id or the attempt is not of the form that this service makes.
            StorageUnavailable: Something could not be removed.
        """
        folder = self.attempt_folder(export_id, attempt)
        try:
            kept = _names_of_pairs(folder)
            if not kept:
                return self.remove_attempt(export_id, attempt)
            return sum(_remove_entry(path) for path in _sorted_entries(folder, kept))
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise StorageUnavailable(f"attempt {export_id}/{attempt}: {error}") from error


def _touched_at_s(path: Path) -> float:
    return path.lstat().st_mtime


def _is_removed(folder: Path) -> bool:
    """Remove a folder; False: somebody else created or removed something in it meanwhile."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return not folder.exists()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _bytes_in(folder: Path) -> int:
    """Sizes of all files, each file once however many names it has."""
    sizes: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                status = Path(parent, name).lstat()
                sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _names_of_pairs(folder: Path) -> set[str]:
    """Packages with their metadata, and the metadata."""
    pairs = ((path, path.with_suffix(".json")) for path in folder.glob("*.gpkg"))
    return {path.name for pair in pairs if all(map(_is_plain_file, pair)) for path in pair}


def _sorted_entries(folder: Path, kept: set[str]) -> list[Path]:
    """What goes, a shard before its journal: without it nobody is misled about its state."""
    entries = [path for path in folder.iterdir() if path.name not in kept]
    return sorted(entries, key=lambda path: (path.name.endswith("-journal"), path.name))


def _remove_entry(path: Path) -> int:
    """Remove a file, or a folder that does not belong here; return the bytes that became free."""
    try:
        if path.is_dir() and not path.is_symlink():
            freed = _bytes_in(path)
            shutil.rmtree(path)
            return freed
        status = path.lstat()
        path.unlink()
    except FileNotFoundError:
        return 0
    return status.st_size if status.st_nlink == 1 else 0


def _is_attempt(path: Path) -> bool:
    return ATTEMPT.fullmatch(path.name) is not None and path.is_dir()


def _has_pair(folder: Path) -> bool:
    return any(path.with_suffix(".json").is_file() for path in folder.glob("*.gpkg"))


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _age(attempt: str) -> tuple[int, ...]:
    return tuple(int(part) for part in attempt.split("-"))
