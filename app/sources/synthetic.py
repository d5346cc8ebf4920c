"""Tiles made up in memory, for load tests and for trying the service out without imagery.

A layer record asks for them by `"source": {"type": "synthetic"}`. Such a layer has every tile of
the grid down to its `maxResolutionDeg`; its `meanTileBytes` should be MEAN_TILE_BYTES.
"""

import struct
import zlib
from collections.abc import Sequence
from typing import Final

from app.domain.tile_image import PNG_START
from app.domain.world_crs84_quad import TILE_SIZE_PX
from app.sources.tile_source import Tile

MEAN_TILE_BYTES: Final = 99
"""An image of 88 bytes and the tile's name behind it: 11 bytes on average at zoom 11."""


def _chunk(name: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


def _black_png() -> bytes:
    """The smallest PNG of a tile's size: one bit a pixel, all black (PNG, 3rd edition, 11.2)."""
    header = struct.pack(">IIBBBBB", TILE_SIZE_PX, TILE_SIZE_PX, 1, 0, 0, 0, 0)
    rows = (b"\0" + bytes(TILE_SIZE_PX // 8)) * TILE_SIZE_PX  # filter type 0 heads each row
    chunks = (
        _chunk(b"IHDR", header),
        _chunk(b"IDAT", zlib.compress(rows, 9)),
        _chunk(b"IEND", b""),
    )
    return PNG_START + b"".join(chunks)


_IMAGE: Final = _black_png()


class SyntheticTileSource:
    """Has every tile of the grid; holds no state, so any thread may call it.

    All images are the same black one, each with its own zoom, column and row behind the end of
    the PNG, where decoders do not look: so a tile in a wrong place shows.

    >>> SyntheticTileSource().read_many([(11, 4095, 2047)])[0][-12:]
    b'11/4095/2047'
    """

    def read_many(self, tiles: Sequence[Tile]) -> list[bytes | None]:
        """Make some tiles; see TileSource.read_many. Beyond the edge of the grid there are none."""
        return [b"%s%d/%d/%d" % (_IMAGE, *tile) if _is_in_grid(tile) else None for tile in tiles]


def _is_in_grid(tile: Tile) -> bool:
    zoom, col, row = tile
    return 0 <= row < 1 << zoom and 0 <= col < 2 << zoom
