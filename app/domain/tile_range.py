"""Runs of tiles in one tile matrix, in the order in which an export writes them."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TileRun:
    """Neighbouring columns that all hold the same single run of rows; limits are inclusive.

    Attributes:
        zoom: Tile matrix identifier of WorldCRS84Quad, 0 to 22.
        min_col: First column, counted eastwards from 180° west.
        max_col: Last column.
        min_row: First row, counted down from the north.
        max_row: Last row.

    Source:
        OGC 17-083r4, TileMatrixLimits.
    """

    zoom: int
    min_col: int
    max_col: int
    min_row: int
    max_row: int

    @property
    def tile_count(self) -> int:
        """The number of tiles in the run."""
        return (self.max_col - self.min_col + 1) * (self.max_row - self.min_row + 1)

    def tiles(self) -> Iterator[tuple[int, int, int]]:
        """Yield (zoom, column, row) in export order: by column, then by row."""
        for col in range(self.min_col, self.max_col + 1):
            for row in range(self.min_row, self.max_row + 1):
                yield self.zoom, col, row


@dataclass(frozen=True, slots=True)
class TileRange:
    """Consecutive tiles of an export in export order (zoom, column, row), across zooms.

    Attributes:
        number: Position among the export's ranges, from 0.
        runs: The tiles, in export order.
    """

    number: int
    runs: tuple[TileRun, ...]

    @property
    def tile_count(self) -> int:
        """The number of tiles in the range."""
        return sum(run.tile_count for run in self.runs)

    def tiles(self) -> Iterator[tuple[int, int, int]]:
        """Yield (zoom, column, row) of every tile, in export order."""
        for run in self.runs:
            yield from run.tiles()
