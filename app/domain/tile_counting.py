"""How many tiles an area has by zoom, also where they are too many to be exported."""

from collections.abc import Sequence
from typing import Final

from shapely.geometry.base import BaseGeometry

from app.domain.errors import RequestTooLarge
from app.domain.export_cover import AreaZooms, ExportCover
from app.domain.package_facts import ZoomTiles
from app.domain.tile_cover import TileCover

MAX_RUNS: Final = 100_000
"""Runs of one zoom that are counted one by one where a limit is passed anyway.
A circle takes half a second, the most intricate polygon of 20,000 vertices five. Divided among
the areas, so that hundreds of them take no longer than one."""
WORLD_TILES: Final = 2
"""Tiles of zoom 0."""


def count_tiles(areas: Sequence[AreaZooms], *, max_tiles: int) -> tuple[ZoomTiles, ...]:
    """Count the tiles of areas that have zooms of their own.

    Up to the limit the count is exact. Beyond it, a zoom that would pass the limit counts as four
    times the one before, and areas that overlap count twice: never too few, and never much work.

    Args:
        areas: One or more; degrees, OGC:CRS84.
        max_tiles: Tiles of all zooms together up to which the count is exact.

    Returns:
        Tiles of each zoom, coarsest first.

    >>> from app.domain.area import BoundingBox
    >>> area = BoundingBox(-180, -90, 180, 90).as_area()
    >>> [pair.tiles for pair in count_tiles([(area, 0, 3)], max_tiles=10)]
    [2, 8, 32, 128]
    """
    counts: dict[int, int] = {}
    try:
        counts = dict(ExportCover.of(areas, max_tiles=max_tiles).tiles_by_zoom)
    except RequestTooLarge:
        for area, min_zoom, max_zoom in areas:
            max_runs = MAX_RUNS // len(areas)
            found = _count_roughly(area, min_zoom, max_zoom, max_tiles, max_runs)
            for zoom in range(min_zoom, max_zoom + 1):
                counts[zoom] = counts.get(zoom, 0) + found[zoom]
    return tuple(ZoomTiles(zoom, tiles) for zoom, tiles in sorted(counts.items()))


def _count_roughly(
    area: BaseGeometry, min_zoom: int, max_zoom: int, max_tiles: int, max_runs: int
) -> dict[int, int]:
    """Count exactly down to the finest zoom that is within the limits, then by fours.

    That zoom is found by halving: a try may cost half a second for 20,000 vertices.
    """
    counts, counted = {0: WORLD_TILES}, 0
    too_fine = max_zoom + 1
    while too_fine - counted > 1:
        zoom = (counted + too_fine) // 2
        try:
            cover = TileCover.of(
                area, min(min_zoom, zoom), zoom, max_tiles=max_tiles, max_runs=max_runs
            )
        except RequestTooLarge:
            too_fine = zoom
        else:
            counts, counted = dict(cover.tiles_by_zoom), zoom
    for zoom in range(counted + 1, max_zoom + 1):
        counts[zoom] = 4 * counts[zoom - 1]
    return counts
