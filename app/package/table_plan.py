"""What one tile table of a package is to hold."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.area import BoundingBox
from app.domain.tile_tables import TileTable, TileTables


@dataclass(frozen=True, slots=True)
class TablePlan:
    """One tile table, as planned.

    Attributes:
        name: Of the table.
        identifier: Name for people, unique in the package.
        first_range: Its first range; it holds all up to the next table's.
        tiles_by_zoom: Zoom and count of tiles, ascending, for each zoom that has any.
        finest_bounds: Of the finest zoom's tiles, degrees.
    """

    name: str
    identifier: str
    first_range: int
    tiles_by_zoom: tuple[tuple[int, int], ...]
    finest_bounds: BoundingBox

    @property
    def max_zoom(self) -> int:
        """The finest zoom."""
        return self.tiles_by_zoom[-1][0]

    @property
    def min_zoom(self) -> int:
        """The coarsest zoom."""
        return self.tiles_by_zoom[0][0]


def tile_tables(planned: Sequence[TablePlan]) -> TileTables:
    """Which ranges each table holds."""
    return TileTables(tuple(TileTable(table.name, table.first_range) for table in planned))
