"""How large the tiles of a layer are, zoom by zoom, by all that finished exports have shown."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from app.domain.package_facts import ZoomCounts

REMEMBERED_TILES: Final = 100_000
"""What was seen before weighs as so many tiles at most: a layer whose tiles change is followed."""


@dataclass(frozen=True, slots=True)
class TileSize:
    """The mean size of tiles at one zoom, and how well it is known.

    Attributes:
        mean_bytes: Bytes of a tile, at least 1.
        tiles: Tiles that it is the mean of, count.
    """

    mean_bytes: int
    tiles: int


def learn(known: Mapping[int, TileSize], package: Iterable[ZoomCounts]) -> dict[int, TileSize]:
    """Add what a finished package shows.

    Each tile counts alike, so that four tiles of open sea do not make a country's worth of them
    look small. Counting a package twice shifts the mean towards it, never beyond.

    Args:
        known: Sizes by zoom.
        package: The package's counts.

    Returns:
        Sizes by ascending zoom; of zooms that the package does not hold, as they were.

    >>> known = {14: TileSize(12_000, 9_000)}
    >>> learn(known, [ZoomCounts(14, 1_000, 1_000, 0, 0, 2_000_000)])
    {14: TileSize(mean_bytes=11000, tiles=10000)}
    """
    sizes = dict(known)
    for counts in package:
        if not counts.written:
            continue
        before = sizes.get(counts.zoom, TileSize(0, 0))
        weight = min(before.tiles, REMEMBERED_TILES)
        tiles = weight + counts.written
        mean_bytes = (before.mean_bytes * weight + counts.tile_bytes) // tiles
        sizes[counts.zoom] = TileSize(max(1, mean_bytes), tiles)
    return dict(sorted(sizes.items()))
