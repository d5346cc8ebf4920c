"""Which tiles an area touches: boxes by exact arithmetic, polygons by descent from zoom 0.

A tile counts when the area meets it by more than 1e-9 degrees, so that an edge on a grid line, or a
hair over it, does not pull in the next tile.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from app.domain.area import EDGE_DEG, BoundingBox
from app.domain.errors import RequestTooLarge
from app.domain.matrix_tiles import NO_BLOCKS, Integers, MatrixTiles
from app.domain.world_crs84_quad import MAX_ZOOM, matrix_height, matrix_width, tile_size_deg

_EDGES_PER_DEG: Final = 1_000_000_000


def finest_block(box: BoundingBox) -> tuple[int, int, int, int]:
    """Find the tiles of a box at zoom 22; those of any zoom follow by `at_zoom`.

    A side not longer than 2e-9 degrees counts as a point at its middle. A point touches one tile:
    on a grid line the south-eastern one, on the world's eastern or southern edge the last one.

    Args:
        box: Degrees, OGC:CRS84, within the world.

    Returns:
        Inclusive min_col, max_col, min_row, max_row; rows count down from the north.

    >>> finest_block(BoundingBox(-180, -90, 0, 90))
    (0, 4194303, 0, 4194303)
    """
    cols = _touched(box.west, box.east, 1, 180, matrix_width(MAX_ZOOM))
    rows = _touched(box.north, box.south, -1, 90, matrix_height(MAX_ZOOM))
    return *cols, *rows


def _touched(start: float, end: float, sign: int, origin: int, size: int) -> tuple[int, int]:
    """First and last tile between two coordinates on an axis of `sign * degrees + origin`.

    Floats are binary fractions, so whole numbers hold them, the 1e-9 and the grid lines exactly.
    """
    (a, a_unit), (b, b_unit) = start.as_integer_ratio(), end.as_integer_ratio()
    unit = a_unit * b_unit * _EDGES_PER_DEG
    low = sign * a * b_unit * _EDGES_PER_DEG + origin * unit
    high = sign * b * a_unit * _EDGES_PER_DEG + origin * unit
    edge = a_unit * b_unit
    tile = 180 * unit  # times the tiles per 180 degrees, a power of two
    if high - low <= 2 * edge:
        first = last = ((low + high) << MAX_ZOOM) // (2 * tile)
    else:
        first = ((low + edge) << MAX_ZOOM) // tile
        last = -(-((high - edge) << MAX_ZOOM) // tile) - 1
    return min(max(first, 0), size - 1), min(max(last, 0), size - 1)


def at_zoom(finest_blocks: Integers, zoom: int) -> Integers:
    """The blocks of a coarser zoom that hold blocks of zoom 22.

    Exact for `finest_block`: rounding down nests, and so does rounding up.
    """
    return finest_blocks >> (MAX_ZOOM - zoom)


def polygon_blocks(area: BaseGeometry, max_zoom: int, *, max_runs: int) -> Iterator[Integers]:
    """Yield the tiles of polygons for zoom 0, 1, ... max_zoom, shape (n, 4) each.

    Only tiles on the boundary are divided further. A tile wholly inside is known for all finer
    zooms, so the work grows with the length of the boundary and not with the area.

    Args:
        area: A valid Polygon or MultiPolygon, in degrees.
        max_zoom: The last zoom wanted.
        max_runs: Four times the limit on the boundary tiles of one zoom, which is lower where
            the boundary goes to and fro: see `_boundary_limit`.

    Raises:
        RequestTooLarge: The boundary passes through more tiles.
    """
    boundary_limit = _boundary_limit(area, max_runs)
    shapely.prepare(area)
    inside = NO_BLOCKS
    tiles = np.array([[0, 0], [1, 0]])
    for zoom in range(max_zoom + 1):
        bodies = _shrunk(zoom, tiles)
        touched = shapely.intersects(area, bodies)
        tiles, bodies = tiles[touched], bodies[touched]
        # A shrunk tile holds all its shrunk children, so what holds for it holds for them.
        whole = shapely.contains_properly(area, bodies)
        inside = np.concatenate([inside, _as_blocks(tiles[whole])])
        tiles = tiles[~whole]
        # A boundary passes through twice as many tiles at the next zoom, or more.
        limit = boundary_limit if zoom == max_zoom else boundary_limit // 2
        if len(tiles) > limit:
            raise RequestTooLarge(
                f"bbox has a boundary through {len(tiles)} tiles at zoom {zoom}, more than "
                f"{limit} for one as intricate as this"
            )
        inside = MatrixTiles.of_blocks(zoom, inside, max_runs=max_runs).blocks()
        yield np.concatenate([inside, _as_blocks(tiles)])
        inside, tiles = _children(inside), _quarters(tiles)


def _boundary_limit(area: BaseGeometry, max_runs: int) -> int:
    """How many boundary tiles can be tested in the time that max_runs stands for.

    Testing one tile takes about 6 µs, and as much again for every 200 edges on the same parallel:
    a comb of 10,000 teeth took 330 µs a tile.
    """
    south, north = shapely.bounds(area)[[1, 3]]
    climb = sum(
        float(np.abs(np.diff(shapely.get_coordinates(ring)[:, 1])).sum())
        for ring in shapely.get_rings(shapely.get_parts(area))
    )
    edges_on_a_parallel = climb / (north - south) if north > south else 0
    return int(max_runs / 4 / (1 + edges_on_a_parallel / 200))


def middle_blocks(parts: Sequence[BaseGeometry]) -> Integers:
    """One tile of zoom 22 for each part: the one around the middle of its bounds."""
    middles = shapely.bounds(parts).reshape(-1, 2, 2).mean(axis=1).tolist()
    return np.array([finest_block(BoundingBox(x, y, x, y)) for x, y in middles])


def _shrunk(zoom: int, tiles: Integers) -> BaseGeometry:
    """The tiles (col, row) as boxes, each side moved inwards by 1e-9 degrees."""
    size = tile_size_deg(zoom)
    west, north = tiles[:, 0] * size - 180, 90 - tiles[:, 1] * size
    return shapely.box(
        west + EDGE_DEG, north - size + EDGE_DEG, west + size - EDGE_DEG, north - EDGE_DEG
    )


def _as_blocks(tiles: Integers) -> Integers:
    return tiles[:, [0, 0, 1, 1]]


def _children(blocks: Integers) -> Integers:
    children: Integers = blocks * 2 + np.array([0, 1, 0, 1])
    return children


def _quarters(tiles: Integers) -> Integers:
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    quarters: Integers = (tiles[:, None, :] * 2 + corners).reshape(-1, 2)
    return quarters
