"""The artifact store as a folder: `exports/<export_id>/<attempt>/`, shared by all processes."""

import os
import re
import shutil
from pathlib import Path
from typing import Final

from app.domain.errors import StorageUnavailable

EXPORT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
ATTEMPT: Final = re.compile(r"[0-9]{1,20}(?:-[0-9]{1,20})?")
FILE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,250}\.(?:gpkg|json)")


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
        folder = self.root
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        try:
            usage = os.statvfs(folder)
        except OSError as error:
            raise StorageUnavailable(f"{folder}: {error}") from error
        return usage.f_bavail * usage.f_frsize

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

    def remove_attempt(self, export_id: str, attempt: str) -> int:
        """Remove an attempt's files, whatever they are; again is harmless.

        Returns:
            Bytes that the files had; who still reads one keeps its space until it is closed.

        Raises:
            ValueError: The id or the attempt is not of the form that this service makes.
            StorageUnavailable: Something could not be removed.
        """
        folder = self.attempt_folder(export_id, attempt)
        try:
            freed = sum(path.lstat().st_size for path in folder.rglob("*"))
            shutil.rmtree(folder)
            if not any(folder.parent.iterdir()):
                folder.parent.rmdir()
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise StorageUnavailable(f"attempt {export_id}/{attempt}: {error}") from error
        return freed


def _is_attempt(path: Path) -> bool:
    return ATTEMPT.fullmatch(path.name) is not None and path.is_dir()


def _has_pair(folder: Path) -> bool:
    return any(path.with_suffix(".json").is_file() for path in folder.glob("*.gpkg"))


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _age(attempt: str) -> tuple[int, ...]:
    return tuple(int(part) for part in attempt.split("-"))
