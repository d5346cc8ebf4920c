"""The WorldCRS84Quad tile matrix set: zooms, resolutions and the bounds of tiles.

Every tile edge is `45 * k / 2**20` degrees at most, so it is exact in a float at all 23 zooms.

Source:
    OGC 17-083r4, annex D; INSPIRE InspireCRS84Quad.
"""

import math
from typing import Final

from app.domain.area import BoundingBox
from app.domain.errors import InvalidRequest, told

MIN_ZOOM: Final = 0
MAX_ZOOM: Final = 22
TILE_SIZE_PX: Final = 256
COARSEST_RESOLUTION_DEG: Final = 180 / TILE_SIZE_PX
FINEST_RESOLUTION_DEG: Final = COARSEST_RESOLUTION_DEG / (1 << MAX_ZOOM)

RESOLUTION_TOLERANCE: Final = 1e-5
"""Relative: people copy resolutions from tables that round to six digits."""

EQUATOR_M: Final = 2 * math.pi * 6_378_137
"""Length of the WGS 84 equator, in metres."""


def resolution_deg(zoom: int) -> float:
    """Degrees per pixel at a zoom; exact.

    >>> resolution_deg(0), resolution_deg(14)
    (0.703125, 4.291534423828125e-05)
    """
    return COARSEST_RESOLUTION_DEG / (1 << zoom)


def resolution_m(zoom: int) -> float:
    """Metres per pixel at a zoom, on the equator, where a pixel is widest.

    >>> round(resolution_m(0), 2), round(resolution_m(22), 4)
    (78271.52, 0.0187)
    """
    return EQUATOR_M / (2 * TILE_SIZE_PX) / (1 << zoom)


def tile_size_deg(zoom: int) -> float:
    """Degrees that one side of a tile spans at a zoom; exact."""
    return 180 / (1 << zoom)


def matrix_width(zoom: int) -> int:
    """The number of tile columns at a zoom."""
    return 1 << (zoom + 1)


def matrix_height(zoom: int) -> int:
    """The number of tile rows at a zoom."""
    return 1 << zoom


def zoom_of_resolution(value: object, *, field: str) -> int:
    """Find the zoom whose resolution is the one asked for, or the next coarser one.

    Args:
        value: Degrees per pixel, as the caller sent it.
        field: The name of the caller's field, for the message.

    Returns:
        The finest zoom, 0 to 22, whose resolution is not finer than `value`; a value
        up to 1e-5 of itself coarser than a zoom still counts as that zoom.

    Raises:
        InvalidRequest: `value` is no finite number, or beyond the tile matrix set.

    >>> zoom_of_resolution(2.14577e-05, field="targetResolution")
    15
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"{field} is {told(value)}; it must be a number of degrees per pixel")
    coarsest = COARSEST_RESOLUTION_DEG * (1 + RESOLUTION_TOLERANCE)
    finest = FINEST_RESOLUTION_DEG * (1 - RESOLUTION_TOLERANCE)
    if not finest <= value <= coarsest:  # NaN fails every comparison
        raise InvalidRequest(
            f"{field} is {told(value)}; it must lie between {FINEST_RESOLUTION_DEG!r} (zoom 22) "
            f"and {COARSEST_RESOLUTION_DEG} (zoom 0) degrees per pixel"
        )
    # frexp reads the power of two itself, where log2 would round.
    _, exponent = math.frexp(COARSEST_RESOLUTION_DEG / value * (1 + RESOLUTION_TOLERANCE))
    return min(max(exponent - 1, MIN_ZOOM), MAX_ZOOM)


def tile_bounds(zoom: int, col: int, row: int) -> BoundingBox:
    """The box of one tile, in degrees; rows count down from the north.

    >>> tile_bounds(14, 19552, 5282)
    BoundingBox(west=34.8046875, south=31.959228515625, east=34.815673828125, north=31.97021484375)
    """
    return tiles_bounds(zoom, (col, col), (row, row))


def tiles_bounds(zoom: int, cols: tuple[int, int], rows: tuple[int, int]) -> BoundingBox:
    """The box of all tiles between two columns and two rows, both inclusive, in degrees."""
    size = tile_size_deg(zoom)
    return BoundingBox(
        west=cols[0] * size - 180,
        south=90 - (rows[1] + 1) * size,
        east=(cols[1] + 1) * size - 180,
        north=90 - rows[0] * size,
    )
