"""The exact tiles of an export, table by table, and its division into ranges.

An export has one tile table for each finest zoom that is asked for: a reader that opens a table at
its finest zoom never falls back to a coarser one of the same table.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Self

from shapely.geometry.base import BaseGeometry

from app.domain.area import area_from_wkb
from app.domain.matrix_tiles import Digest
from app.domain.package_facts import PackagePlan, ZoomArea
from app.domain.tile_cover import MAX_RUNS, TileCover, check_tile_count
from app.domain.tile_range import TileRange
from app.domain.tile_tables import TileTable, TileTables

_SEVERAL: Final = -1
"""Opens what several tables feed to a hash; a single one opens with its coarsest zoom."""

AreaZooms = tuple[BaseGeometry, int, int]
"""An area, its coarsest and its finest zoom."""


@dataclass(frozen=True, slots=True, eq=False)
class ExportCover:
    """The tiles of each table of an export, by ascending finest zoom.

    Export order is table, zoom, column, row. A range holds tiles of one table only; numbers go on
    from table to table.

    Attributes:
        tables: The tiles of each table; no two have the same finest zoom.
    """

    tables: tuple[TileCover, ...]

    @classmethod
    def of(cls, areas: Sequence[AreaZooms], *, max_tiles: int, max_runs: int = MAX_RUNS) -> Self:
        """Find the tiles of areas that have zooms of their own.

        Areas with the same finest zoom share a table, in which a tile is once.

        Args:
            areas: One or more; degrees, OGC:CRS84.
            max_tiles: Limit on the tiles of all tables together.
            max_runs: Limit on the runs of one zoom, divided among the areas: many take no longer
                than one.

        Raises:
            RequestTooLarge: More than a limit.
        """
        by_finest: dict[int, list[TileCover]] = {}
        for area, min_zoom, max_zoom in areas:
            cover = TileCover.of(
                area, min_zoom, max_zoom, max_tiles=max_tiles, max_runs=max_runs // len(areas)
            )
            by_finest.setdefault(max_zoom, []).append(cover)
        tables = []
        tile_count = 0
        for _, covers in sorted(by_finest.items()):
            tables.append(TileCover.united(covers, max_runs=max_runs))
            tile_count += tables[-1].tile_count
            check_tile_count(tile_count, max_tiles, exact=len(tables) == len(by_finest))
        return cls(tuple(tables))

    @classmethod
    def of_plan(cls, plan: PackagePlan, *, max_tiles: int) -> Self:
        """Find the tiles that a plan means.

        Raises:
            InvalidRecord: An area cannot be read.
            RequestTooLarge: More tiles than the plan was made for.
        """
        areas = plan.areas or (ZoomArea(plan.area_wkb, plan.min_zoom, plan.max_zoom),)
        return cls.of(
            [(area_from_wkb(area.area_wkb), area.min_zoom, area.max_zoom) for area in areas],
            max_tiles=max_tiles,
        )

    @property
    def tile_count(self) -> int:
        """The number of tiles in all tables."""
        return sum(table.tile_count for table in self.tables)

    @property
    def tiles_by_zoom(self) -> tuple[tuple[int, int], ...]:
        """Pairs of zoom and number of tiles in all tables, coarsest zoom first."""
        counts: dict[int, int] = {}
        for table in self.tables:
            for zoom, count in table.tiles_by_zoom:
                counts[zoom] = counts.get(zoom, 0) + count
        return tuple(sorted(counts.items()))

    def range_count(self, tiles_per_range: int) -> int:
        """The number of ranges when all but each table's last hold `tiles_per_range` tiles."""
        return sum(table.range_count(tiles_per_range) for table in self.tables)

    def range_at(self, number: int, tiles_per_range: int) -> TileRange:
        """Find one range of consecutive tiles of one table, across its zooms.

        Args:
            number: Position among the ranges of all tables, from 0.
            tiles_per_range: Tiles of each range but the last of a table.

        Raises:
            IndexError: There is no range of that number.
        """
        for table, first in zip(self.tables, self._first_ranges(tiles_per_range), strict=False):
            if first <= number < first + table.range_count(tiles_per_range):
                found = table.range_at(number - first, tiles_per_range)
                return TileRange(number, found.runs)
        raise IndexError(f"no range {number} of {self.range_count(tiles_per_range)}")

    def tile_tables(self, name: str, tiles_per_range: int) -> TileTables:
        """Name the tables: a single one as the layer, several for their finest zooms too.

        >>> from app.domain.area import BoundingBox
        >>> area = BoundingBox(0, 0, 1, 1).as_area()
        >>> cover = ExportCover.of([(area, 0, 4), (area, 2, 9)], max_tiles=1_000)
        >>> cover.tile_tables("relief", 5).names
        ('relief_z4', 'relief_z9')
        """
        if len(self.tables) == 1:
            return TileTables.single(name)
        return TileTables(
            tuple(
                TileTable(f"{name}_z{table.max_zoom}", first)
                for table, first in zip(
                    self.tables, self._first_ranges(tiles_per_range), strict=False
                )
            )
        )

    def digest_into(self, digest: Digest) -> None:
        """Feed the tiles to a hash: the same tiles in the same tables feed the same bytes."""
        if len(self.tables) > 1:
            counts = (len(table.matrices) for table in self.tables)
            for number in (_SEVERAL, len(self.tables), *counts):
                digest.update(number.to_bytes(8, "big", signed=True))
        for table in self.tables:
            table.digest_into(digest)

    def _first_ranges(self, tiles_per_range: int) -> Iterator[int]:
        counts: Iterable[int] = (table.range_count(tiles_per_range) for table in self.tables)
        return accumulate(counts, initial=0)
