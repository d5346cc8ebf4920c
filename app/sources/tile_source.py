"""The port to where tiles come from."""

from collections.abc import Sequence
from typing import Protocol

Tile = tuple[int, int, int]
"""Zoom, column and row; rows count down from the north, whatever the source stores."""


class TileSource(Protocol):
    """Reads encoded tiles of one layer; every method may be called from any thread."""

    def read_many(self, tiles: Sequence[Tile]) -> list[bytes | None]:
        """Read some tiles, in the given order.

        Args:
            tiles: Zoom, column and row of each; neighbours in a column are fastest.

        Returns:
            One entry a tile: the image as the source has it (whole, JPEG, PNG or WebP), or
            None for a tile that the source does not have.

        Raises:
            SourceUnavailable: A tile could not be read, or is no image; names tile and cause.
                Nothing is returned then: ask again tile by tile to learn which others are good.
        """
        ...
