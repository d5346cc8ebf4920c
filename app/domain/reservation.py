"""How much space a live export may still need."""


def still_needed_bytes(
    *, estimated_bytes: int, tile_count: int, tiles_done: int, bytes_written: int
) -> int:
    """Reserve a quarter more than is expected, less what is written.

    Where the tiles turn out to be larger than expected, those that are left are reserved as large
    as those that were seen: an export that has used up its estimate still fills the disk. Half of
    the tiles must be there for that, or the estimate be used up: the coarse zooms come first, and
    are not like the finest.

    Args:
        estimated_bytes: Size expected of the package when it was accepted.
        tile_count: Tiles of the export.
        tiles_done: Tiles that are done, missing ones too.
        bytes_written: Bytes of the tiles written.

    Returns:
        Bytes, not below 0.

    >>> wanted = {"estimated_bytes": 1_000, "tile_count": 100}
    >>> still_needed_bytes(**wanted, tiles_done=40, bytes_written=400)
    850
    >>> still_needed_bytes(**wanted, tiles_done=60, bytes_written=3_000)
    2500
    """
    by_estimate = estimated_bytes * 5 // 4 - bytes_written
    by_measure = 0
    if tiles_done and (2 * tiles_done >= tile_count or bytes_written >= estimated_bytes):
        left = max(0, tile_count - tiles_done)
        by_measure = left * bytes_written * 5 // (tiles_done * 4)
    return max(0, by_estimate, by_measure)
