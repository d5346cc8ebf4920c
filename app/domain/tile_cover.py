"""The exact set of tiles of an area over several zooms, and its division into ranges."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Self

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from app.domain.area import BoundingBox, area_of_parts, as_box
from app.domain.errors import RequestTooLarge
from app.domain.matrix_tiles import NO_BLOCKS, Digest, Integers, MatrixTiles
from app.domain.tile_range import TileRange, TileRun
from app.domain.tiling import at_zoom, finest_block, middle_blocks, polygon_blocks
from app.domain.world_crs84_quad import MAX_ZOOM, tile_size_deg, tiles_bounds

ALGORITHM_VERSION: Final = 1
"""Rises with any change to which tiles a cover holds, or to how ranges divide them."""

MAX_RUNS: Final = 1_000_000
"""Limit on what one zoom may need in memory, about 100 bytes each; never on tiles."""


@dataclass(frozen=True, slots=True, eq=False)
class TileCover:
    """The tiles that an area touches at neighbouring zooms.

    Export order is zoom, column, row. Nothing here lists tiles: memory grows with the boundary
    of the area, so ten million tiles of a box take as much as one.

    Attributes:
        matrices: The tiles of each zoom, coarsest first.
        offsets: Tiles before each zoom, and of all.
    """

    matrices: tuple[MatrixTiles, ...]
    offsets: tuple[int, ...]

    @classmethod
    def of(
        cls,
        area: BaseGeometry,
        min_zoom: int,
        max_zoom: int,
        *,
        max_tiles: int,
        max_runs: int = MAX_RUNS,
    ) -> Self:
        """Find the tiles of an area.

        A tile counts when the area's interior meets its own by more than 1e-9 degrees. Each zoom
        holds a tile at least: points, lines and slivers touch the one that holds their middle.

        Args:
            area: What `export_area` returned; degrees, OGC:CRS84.
            min_zoom: Coarsest zoom, from 0.
            max_zoom: Finest zoom, up to 22.
            max_tiles: Limit on the tiles of all zooms together.
            max_runs: Limit on the runs of one zoom; its boundary tiles may be a quarter of it.

        Raises:
            RequestTooLarge: More than a limit; found before work beyond the limit is done.

        >>> area = BoundingBox(34.812, 31.955, 34.822, 31.964).as_area()
        >>> TileCover.of(area, 0, 14, max_tiles=100).runs(14)
        (TileRun(zoom=14, min_col=19552, max_col=19553, min_row=5282, max_row=5283),)
        """
        if not 0 <= min_zoom <= max_zoom <= MAX_ZOOM or shapely.is_empty(area):
            raise ValueError(f"no cover of {area!r:.80} from zoom {min_zoom} to {max_zoom}")
        boxes, polygons = _boxes_and_polygons(area)
        _check_least_count(boxes, polygons, (min_zoom, max_zoom), max_tiles)
        matrices: list[MatrixTiles] = []
        tile_count = 0
        for zoom, blocks in enumerate(_blocks_by_zoom(boxes, polygons, max_zoom, max_runs)):
            if zoom < min_zoom:
                continue
            matrices.append(MatrixTiles.of_blocks(zoom, blocks, max_runs=max_runs))
            tile_count += matrices[-1].tile_count
            check_tile_count(tile_count, max_tiles, exact=zoom == max_zoom)
        counts = (matrix.tile_count for matrix in matrices)
        return cls(tuple(matrices), tuple(accumulate(counts, initial=0)))

    @classmethod
    def united(cls, covers: Sequence[Self], *, max_runs: int = MAX_RUNS) -> Self:
        """Unite covers with the same finest zoom; a tile of several of them counts once.

        Raises:
            RequestTooLarge: A zoom has more runs.
        """
        if len(covers) == 1:
            return covers[0]
        by_zoom: dict[int, list[Integers]] = {}
        for cover in covers:
            for matrix in cover.matrices:
                by_zoom.setdefault(matrix.zoom, []).append(matrix.blocks())
        matrices = tuple(
            MatrixTiles.of_blocks(zoom, np.concatenate(blocks), max_runs=max_runs)
            for zoom, blocks in sorted(by_zoom.items())
        )
        counts = (matrix.tile_count for matrix in matrices)
        return cls(matrices, tuple(accumulate(counts, initial=0)))

    @property
    def max_zoom(self) -> int:
        """The finest zoom."""
        return self.matrices[-1].zoom

    @property
    def tile_count(self) -> int:
        """The number of tiles over all zooms."""
        return self.offsets[-1]

    @property
    def tiles_by_zoom(self) -> tuple[tuple[int, int], ...]:
        """Pairs of zoom and number of tiles, coarsest zoom first."""
        return tuple((matrix.zoom, matrix.tile_count) for matrix in self.matrices)

    @property
    def finest_bounds(self) -> BoundingBox:
        """The bounds of the finest zoom's tiles, in degrees; 360 wide over the antimeridian."""
        limits = self.matrices[-1].limits
        return tiles_bounds(
            limits.zoom, (limits.min_col, limits.max_col), (limits.min_row, limits.max_row)
        )

    def runs(self, zoom: int) -> tuple[TileRun, ...]:
        """All tiles of one zoom as maximally merged runs, in export order.

        Columns with several runs are listed one by one: use `range_at` for large covers.

        Raises:
            KeyError: The cover does not reach to that zoom.
        """
        for matrix in self.matrices:
            if matrix.zoom == zoom:
                return tuple(matrix.runs_between(0, matrix.tile_count))
        raise KeyError(zoom)

    def range_count(self, tiles_per_range: int) -> int:
        """The number of ranges when all but the last hold `tiles_per_range` tiles."""
        return -(-self.tile_count // tiles_per_range)

    def range_at(self, number: int, tiles_per_range: int) -> TileRange:
        """Find one range of consecutive tiles; across zooms, in export order.

        Args:
            number: Position among the ranges, from 0.
            tiles_per_range: Tiles of each range but the last.

        Raises:
            IndexError: The cover has no range of that number.
        """
        if not 0 <= number < self.range_count(tiles_per_range):
            raise IndexError(f"no range {number} of {self.range_count(tiles_per_range)}")
        start = number * tiles_per_range
        end = min(start + tiles_per_range, self.tile_count)
        return TileRange(number, tuple(_merged(list(self._runs_between(start, end)))))

    def _runs_between(self, start: int, end: int) -> Iterator[TileRun]:
        for matrix, offset in zip(self.matrices, self.offsets, strict=False):
            first, last = max(start - offset, 0), min(end - offset, matrix.tile_count)
            if first < last:
                yield from matrix.runs_between(first, last)

    def digest_into(self, digest: Digest) -> None:
        """Feed the tile set to a hash: the same tiles feed the same bytes, however asked for."""
        for matrix in self.matrices:
            matrix.digest_into(digest)

    @property
    def digest(self) -> str:
        """SHA-256 of the tile set, 64 hexadecimal digits."""
        digest = hashlib.sha256()
        self.digest_into(digest)
        return digest.hexdigest()


def _boxes_and_polygons(area: BaseGeometry) -> tuple[Integers, BaseGeometry | None]:
    """The boxes among the parts as blocks of zoom 22, and all other parts as one area."""
    blocks, others = [], []
    for part in shapely.get_parts(area):
        box = as_box(part)
        if box is not None:
            blocks.append(finest_block(box))
        elif shapely.get_dimensions(part) == 2:
            others.append(part)
        else:
            raise ValueError(f"no area and no box: {part!r:.80}")
    polygons = area_of_parts(others) if others else None
    if polygons is not None and not shapely.is_valid(polygons):
        polygons = shapely.union_all(others)
    return np.array(blocks, np.int64).reshape(-1, 4), polygons


def _blocks_by_zoom(
    boxes: Integers, polygons: BaseGeometry | None, max_zoom: int, max_runs: int
) -> Iterator[Integers]:
    if polygons is None:
        for zoom in range(max_zoom + 1):
            yield at_zoom(boxes, zoom)
        return
    for zoom, found in enumerate(polygon_blocks(polygons, max_zoom, max_runs=max_runs)):
        blocks = np.concatenate([at_zoom(boxes, zoom), found])
        # Polygons so thin that they lie between all shrunk tiles still touch one each.
        yield blocks if len(blocks) else at_zoom(middle_blocks(shapely.get_parts(polygons)), zoom)


def _check_least_count(
    boxes: Integers, polygons: BaseGeometry | None, zooms: tuple[int, int], max_tiles: int
) -> None:
    """Refuse what is far too large before anything is computed for it."""
    least = 0
    for zoom in range(zooms[0], zooms[1] + 1):
        blocks = at_zoom(boxes, zoom) if len(boxes) else NO_BLOCKS
        sizes = (blocks[:, 1] - blocks[:, 0] + 1) * (blocks[:, 3] - blocks[:, 2] + 1)
        # Nearly all of an area lies within the shrunk tiles that it touches.
        by_area = shapely.area(polygons) / tile_size_deg(zoom) ** 2 if polygons is not None else 0
        least += max(int(sizes.max(initial=0)), int(by_area * 0.999))
    check_tile_count(least, max_tiles, exact=len(boxes) == 1 and polygons is None)


def check_tile_count(count: int, limit: int, *, exact: bool) -> None:
    """Refuse too many tiles, of which `count` are known; exact: there are no more.

    Raises:
        RequestTooLarge: More than the limit.
    """
    if count > limit:
        least = "" if exact else "at least "
        raise RequestTooLarge(f"bbox makes {least}{count} tiles, more than {limit}")


def _merged(runs: list[TileRun]) -> list[TileRun]:
    """Merge neighbouring columns that a range's cut end made alike.

    A column qualifies when it holds one run: then its neighbours in the list lie elsewhere.
    """
    merged: list[TileRun] = []
    for index, run in enumerate(runs):
        before = merged[-1] if merged else None
        if before is not None and _continues(before, run) and _alone(runs, index - 1, index):
            merged[-1] = TileRun(run.zoom, before.min_col, run.max_col, run.min_row, run.max_row)
        else:
            merged.append(run)
    return merged


def _continues(before: TileRun, run: TileRun) -> bool:
    return (before.zoom, before.max_col + 1, before.min_row, before.max_row) == (
        run.zoom,
        run.min_col,
        run.min_row,
        run.max_row,
    )


def _alone(runs: list[TileRun], first: int, last: int) -> bool:
    """Tell whether the columns of two neighbouring runs hold no third run."""
    west = first > 0 and _shares_column(runs[first - 1], runs[first])
    east = last + 1 < len(runs) and _shares_column(runs[last], runs[last + 1])
    return not west and not east


def _shares_column(run: TileRun, following: TileRun) -> bool:
    return run.zoom == following.zoom and run.max_col == following.min_col
