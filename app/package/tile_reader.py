"""Single tiles of packages, finished or growing, to look at them without downloading."""

import sqlite3
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final

from app.domain.errors import StorageUnavailable
from app.package.connection import connect_read_only, connect_to_look

MAX_OPEN: Final = 32
"""Packages kept open; each costs a file and up to 2 MB of cache."""
_TABLES: Final = (
    "SELECT table_name FROM gpkg_contents WHERE data_type = 'tiles' ORDER BY table_name"
)
_TILE_TABLES: Final = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%tile_data BLOB%' ORDER BY 1"
)
"""A shard does not describe its tables yet."""
UNFINISHED_WAIT_S: Final = 1.0
"""How long to wait for a writer that is just committing."""
_SELECT: Final = (
    'SELECT tile_data FROM "{}" WHERE zoom_level = ?1 AND tile_column = ?2 AND tile_row = ?3'
)


@dataclass(slots=True)
class _OpenPackage:
    """One package; its lock lets one thread at a time use the connection."""

    connection: sqlite3.Connection
    query: str
    lock: Lock = field(default_factory=Lock)
    is_closed: bool = False


class TileReader:
    """Reads tiles of packages by path; any thread may call it, and every call blocks.

    A package never changes under its name. One that was removed while it is open here can be read
    until it is closed, as by a download under way: at the latest when MAX_OPEN others were asked.
    """

    def __init__(self) -> None:
        """Open nothing yet."""
        self._open: OrderedDict[Path, _OpenPackage] = OrderedDict()
        self._lock = Lock()

    def read(self, path: Path, tile: tuple[int, int, int]) -> bytes | None:
        """Read one tile.

        Args:
            path: A published package.
            tile: Zoom, column, and row counted down from the north.

        Returns:
            The image; None: the package does not hold that tile.

        Raises:
            StorageUnavailable: The file cannot be read, or is no package.
        """
        try:
            while True:
                package = self._borrow(path)
                with package.lock:
                    if package.is_closed:  # others pushed it out between the two lines above
                        continue
                    row = package.connection.execute(package.query, tile).fetchone()
                    return None if row is None else bytes(row[0])
        except sqlite3.Error as error:
            raise StorageUnavailable(f"{path.name}: {error}") from error

    def close(self) -> None:
        """Close all files; a later read opens them again."""
        with self._lock:
            packages = list(self._open.values())
            self._open.clear()
        for package in packages:
            _close(package)

    def _borrow(self, path: Path) -> _OpenPackage:
        with self._lock:
            package = self._open.get(path)
            if package is not None:
                self._open.move_to_end(path)
                return package
        made = _open_package(path)
        with self._lock:
            package = self._open.setdefault(path, made)
            surplus = [] if package is made else [made]
            while len(self._open) > MAX_OPEN:
                surplus.append(self._open.popitem(last=False)[1])
        for other in surplus:
            _close(other)
        return package


def read_unfinished(shards: Sequence[Path], tile: tuple[int, int, int]) -> bytes | None:
    """Read one tile of those that an export has stored so far.

    A shard is opened for each read and only looked at: its writer waits for no more than that.

    Args:
        shards: The files that the attempt's writers fill; some may be gone meanwhile.
        tile: Zoom, column, and row counted down from the north.

    Returns:
        The image; None: it is not stored yet, or cannot be read at this moment.
    """
    for path in shards:
        try:
            with closing(connect_to_look(path, wait_s=UNFINISHED_WAIT_S)) as connection:
                tables = [name for (name,) in connection.execute(_TILE_TABLES)]
                row = connection.execute(_query(tables), tile).fetchone() if tables else None
        except sqlite3.Error:
            continue  # moved, or its writer was killed: the next look will tell more
        if row is not None:
            return bytes(row[0])
    return None


def _query(tables: Sequence[str]) -> str:
    """Find a tile in any table; what several of them hold at one place is the same."""
    selects = [_SELECT.format(name.replace('"', '""')) for name in tables]
    return f"{' UNION ALL '.join(selects)} LIMIT 1"


def _close(package: _OpenPackage) -> None:
    # Who is reading right now finishes first.
    with package.lock:
        package.is_closed = True
        package.connection.close()


def _open_package(path: Path) -> _OpenPackage:
    connection = connect_read_only(path)
    try:
        tables = [name for (name,) in connection.execute(_TABLES)]
    except BaseException:
        connection.close()
        raise
    if not tables:
        connection.close()
        raise StorageUnavailable(f"{path.name} holds no tiles")
    return _OpenPackage(connection, _query(tables))
