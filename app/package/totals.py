"""What an export's ledgers add up to, and the file that keeps it when the ledger is dropped."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import orjson

from app.domain.package_facts import TileColumnRun, ZoomCounts
from app.domain.tile_tables import TileTables
from app.package.durable_file import write_durably
from app.package.ledger import LedgerRow
from app.package.ownership import boot_id
from app.package.tile_proof import RangeTiles

MAX_LISTED_RUNS: Final = 10_000
"""Runs of missing or skipped tiles that a metadata file lists, at most, some 600 kB; the counts
by zoom are always complete."""


@dataclass(frozen=True, slots=True)
class TileList:
    """Tiles as runs, as many as are listed.

    Attributes:
        runs: In export order.
        more: Tiles that are not listed, count.
    """

    runs: tuple[TileColumnRun, ...]
    more: int


@dataclass(frozen=True, slots=True)
class Totals:
    """What became of all tiles of an export.

    Attributes:
        tables: What became of those of each tile table, in the order of the tables.
        missing: Tiles that the source does not have; those of several tables as often.
        skipped: Unreadable tiles that were left out.
    """

    tables: tuple["TableTotals", ...]
    missing: TileList
    skipped: TileList

    @property
    def zooms(self) -> tuple[ZoomCounts, ...]:
        """Counts over all tables, ascending zooms."""
        counts: dict[int, ZoomCounts] = {}
        for table in self.tables:
            for zoom in table.zooms:
                counts[zoom.zoom] = _sum(counts.get(zoom.zoom), zoom)
        return tuple(counts[zoom] for zoom in sorted(counts))

    @property
    def written(self) -> int:
        """Tiles stored."""
        return sum(counts.written for counts in self.zooms)


@dataclass(frozen=True, slots=True)
class TableTotals:
    """What became of the tiles of one table.

    Attributes:
        zooms: Counts, ascending zooms.
        has_webp: Some tile is WebP.
    """

    zooms: tuple[ZoomCounts, ...]
    has_webp: bool

    @property
    def written(self) -> int:
        """Tiles stored."""
        return sum(counts.written for counts in self.zooms)


def add_up(rows: Iterable[LedgerRow], tables: TileTables) -> Totals:
    """Add up ledger rows; each range comes once, in the order of range numbers."""
    zooms: list[dict[int, ZoomCounts]] = [{} for _ in tables.tables]
    has_webp = [False] * len(zooms)
    missing, skipped = _Listing(), _Listing()
    for row in rows:
        table = tables.index_of_range(row.range_number)
        for counts in row.zooms:
            zooms[table][counts.zoom] = _sum(zooms[table].get(counts.zoom), counts)
        missing.add(row.missing)
        skipped.add(row.skipped)
        has_webp[table] = has_webp[table] or row.has_webp
    return Totals(
        tables=tuple(
            TableTotals(tuple(found[zoom] for zoom in sorted(found)), webp)
            for found, webp in zip(zooms, has_webp, strict=True)
        ),
        missing=missing.listed(),
        skipped=skipped.listed(),
    )


@dataclass(frozen=True, slots=True)
class SealedFacts:
    """Everything that is true of a shard whose ledger is dropped; kept in a file beside it.

    Attributes:
        finished_at_ms: When the ledger was dropped, ms since 1970 UTC.
        boot_id: The run of the kernel that dropped it.
        totals: What the ledger added up to.
        unproven: Ranges whose tiles are to be read back before anyone is told of the package.
    """

    finished_at_ms: int
    boot_id: str
    totals: Totals
    unproven: tuple[RangeTiles, ...]

    @classmethod
    def now(cls, totals: Totals, now_ms: int, unproven: Iterable[LedgerRow]) -> Self:
        """The facts of a shard that is sealed at this moment."""
        return cls(
            finished_at_ms=now_ms,
            boot_id=boot_id(),
            totals=totals,
            unproven=tuple(map(RangeTiles.of, unproven)),
        )

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read the file, or None when it is not there, or damaged.

        A sealed shard without its facts is of no use: its ranges are written again.
        """
        try:
            fields = orjson.loads(path.read_bytes())
            totals = fields["totals"]
            return cls(
                finished_at_ms=fields["finished_at_ms"],
                boot_id=fields["boot_id"],
                totals=Totals(
                    tables=tuple(_table_totals(table) for table in totals["tables"]),
                    missing=_tile_list(totals["missing"]),
                    skipped=_tile_list(totals["skipped"]),
                ),
                unproven=tuple(RangeTiles(**tiles) for tiles in fields["unproven"]),
            )
        except (FileNotFoundError, KeyError, TypeError, ValueError):
            return None

    def write(self, path: Path, *, owner: str) -> None:
        """Keep the facts on disk; whole, or not at all."""
        write_durably(path, orjson.dumps(asdict(self)), owner=owner)


class _Listing:
    """Joins runs across ranges and stops listing at MAX_LISTED_RUNS."""

    def __init__(self) -> None:
        self._runs: list[TileColumnRun] = []
        self._more = 0

    def add(self, runs: Iterable[TileColumnRun]) -> None:
        for run in runs:
            last = self._runs[-1] if self._runs else None
            if last and _continues(last, run) and not self._more:
                self._runs[-1] = TileColumnRun(run.zoom, run.column, last.min_row, run.max_row)
            elif len(self._runs) < MAX_LISTED_RUNS:
                self._runs.append(run)
            else:
                self._more += run.max_row - run.min_row + 1

    def listed(self) -> TileList:
        return TileList(tuple(self._runs), self._more)


def _continues(last: TileColumnRun, run: TileColumnRun) -> bool:
    return (last.zoom, last.column, last.max_row + 1) == (run.zoom, run.column, run.min_row)


def _sum(before: ZoomCounts | None, counts: ZoomCounts) -> ZoomCounts:
    if before is None:
        return counts
    return ZoomCounts(
        zoom=counts.zoom,
        expected=before.expected + counts.expected,
        written=before.written + counts.written,
        missing=before.missing + counts.missing,
        skipped=before.skipped + counts.skipped,
        tile_bytes=before.tile_bytes + counts.tile_bytes,
    )


def _table_totals(fields: dict[str, Any]) -> TableTotals:
    zooms = tuple(ZoomCounts(**counts) for counts in fields["zooms"])
    return TableTotals(zooms, fields["has_webp"])


def _tile_list(fields: dict[str, Any]) -> TileList:
    return TileList(tuple(TileColumnRun(**run) for run in fields["runs"]), fields["more"])
