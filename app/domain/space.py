"""How much space an export needs: reckoned alike by who decides and by who foretells."""

from collections.abc import Iterable, Mapping
from typing import Final

from app.domain.package_facts import ZoomTiles

UNKNOWN_TILE_BYTES: Final = 12_500
"""Mean tile size where nothing is known yet (contract.md, size estimate), bytes."""

BEAT_MARGIN_BYTES: Final = 64 * 1024 * 1024
"""Kept free beside all reservations: what running exports write until the next beat, bytes."""


def estimate_bytes(tiles_by_zoom: Iterable[ZoomTiles], mean_bytes: Mapping[int, int]) -> int:
    """Estimate the size of an export, bytes.

    Args:
        tiles_by_zoom: Its tiles.
        mean_bytes: Mean tile size of each of its zooms, bytes.
    """
    return sum(pair.tiles * mean_bytes[pair.zoom] for pair in tiles_by_zoom)


def reservation_bytes(estimated_bytes: int) -> int:
    """Space that is reserved for an export of some estimated size, bytes (rule 13)."""
    return estimated_bytes * 5 // 4


def available_bytes(free_bytes: int, reserved_bytes: int) -> int:
    """Space that a new export may reserve, bytes; 0 or more.

    Args:
        free_bytes: Free space of the artifact store.
        reserved_bytes: What live exports may still need of it.
    """
    return max(0, free_bytes - reserved_bytes - BEAT_MARGIN_BYTES)


def largest_estimate_bytes(available: int) -> int:
    """The largest estimate whose reservation fits into some space, bytes.

    >>> reservation_bytes(largest_estimate_bytes(1_000)), largest_estimate_bytes(1_000)
    (1000, 800)
    """
    return (4 * available + 3) // 5
