"""The tile tables of a package, and which ranges each of them holds."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Annotated, Self

from app.domain.avro_doc import Doc


@dataclass(frozen=True, slots=True)
class TileTable:
    """One tile pyramid user data table of a package."""

    name: Annotated[str, Doc("Name of the table.")]
    first_range: Annotated[
        int, Doc("Its first range; it holds all up to the next table's, or to the last.")
    ]


@dataclass(frozen=True, slots=True)
class TileTables:
    """All tile tables of a package, by ascending first range, the first from 0.

    >>> tables = TileTables((TileTable("relief_z4", 0), TileTable("relief_z9", 3)))
    >>> [tables.of_range(number) for number in (0, 2, 3, 99)]
    ['relief_z4', 'relief_z4', 'relief_z9', 'relief_z9']
    """

    tables: tuple[TileTable, ...]

    @classmethod
    def single(cls, name: str) -> Self:
        """One table that holds every range."""
        return cls((TileTable(name, 0),))

    @classmethod
    def ordered(cls, table: str, tables: tuple[TileTable, ...]) -> Self:
        """What an order of work says: its tables, or `table` alone where it names no others."""
        return cls(tables) if tables else cls.single(table)

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of the ranges."""
        return tuple(table.name for table in self.tables)

    def index_of_range(self, number: int) -> int:
        """Which table holds a range, from 0."""
        return bisect_right(self.tables, number, key=lambda table: table.first_range) - 1

    def of_range(self, number: int) -> str:
        """The name of the table that holds a range."""
        return self.tables[self.index_of_range(number)].name
