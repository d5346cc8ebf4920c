"""Tiles in a folder tree, `{root}/{zoom}/{column}/{row}.{extension}`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from app.domain.errors import SourceUnavailable
from app.domain.tile_image import flaw_of
from app.sources.tile_source import Tile

RowOrder = Literal["xyz", "tms"]

MAX_TILE_BYTES: Final = 1 << 20
"""Four times a raw 256 px RGBA tile: a larger file is no tile, and must not fill memory."""

# O_NONBLOCK: opening a pipe that someone left in the tree must not hang the worker.
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


class FolderTileSource:
    """Reads tiles of a folder tree; holds no state, so any thread may call it.

    Attributes:
        root: Folder of the zoom folders.
        rows: `xyz` counts the rows of the files down from the north, `tms` up from the south.
        extension: Of the files, without the dot.
    """

    def __init__(self, root: Path, *, rows: RowOrder = "xyz", extension: str = "jpeg") -> None:
        """Remember where the tiles are; nothing is read yet."""
        self.root = root
        self.rows = rows
        self.extension = extension
        self._prefix = f"{root}{os.sep}"
        self._suffix = f".{extension}"

    def read_many(self, tiles: Sequence[Tile]) -> list[bytes | None]:
        """Read some tiles; see TileSource.read_many.

        A file that is not there is a missing tile, as long as the root is there.
        """
        images: list[bytes | None] = []
        append = images.append
        from_south = self.rows == "tms"
        prefix, suffix = self._prefix, self._suffix
        for zoom, col, row in tiles:
            stored_row = (1 << zoom) - 1 - row if from_south else row
            try:
                image = _read(f"{prefix}{zoom}/{col}/{stored_row}{suffix}")
            except FileNotFoundError:
                append(None)
                continue
            except OSError as error:
                raise _unreadable((zoom, col, row), error.strerror or str(error)) from error
            flaw = flaw_of(image)
            if flaw is not None:
                raise _unreadable((zoom, col, row), flaw)
            append(image)
        if None in images and not self.root.is_dir():
            # A disk that is not mounted must not pass for a layer without tiles.
            raise _unreadable(tiles[images.index(None)], f"the folder {self.root} is not there")
        return images


def _read(path: str) -> bytes:
    file = os.open(path, _FLAGS)
    try:
        size = os.fstat(file).st_size
        if size > MAX_TILE_BYTES:
            raise OSError(f"it has {size} bytes, the limit is {MAX_TILE_BYTES}")
        return os.read(file, size + 1)
    finally:
        os.close(file)


def _unreadable(tile: Tile, cause: str) -> SourceUnavailable:
    zoom, col, row = tile
    return SourceUnavailable(f"tile {zoom}/{col}/{row} cannot be read: {cause}")
