"""The set of tiles of one zoom, as neighbouring columns that hold the same runs of rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.errors import RequestTooLarge
from app.domain.tile_range import TileRun

Integers = NDArray[np.int64]

NO_BLOCKS: Final[Integers] = np.empty((0, 4), np.int64)
"""Blocks are rows of (min_col, max_col, min_row, max_row), limits inclusive."""


class Digest(Protocol):
    """What hashlib's objects and plain collectors have in common."""

    def update(self, data: bytes, /) -> None:
        """Take the next bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class MatrixTiles:
    """A set of tiles at one zoom, in the one form that each set has.

    Columns are grouped into slabs: a slab is as many neighbouring columns as hold exactly the same
    tiles, and its rows are given once, as maximal runs. So the whole world is one slab of one run,
    and a box with a hole is three slabs, at every zoom.

    Attributes:
        zoom: Tile matrix identifier, 0 to 22.
        min_cols: First column of each slab, ascending, shape (slabs,).
        max_cols: Last column of each slab, inclusive, shape (slabs,).
        first_runs: Index of each slab's first run, and the number of runs, shape (slabs + 1,).
        min_rows: First row of each run, shape (runs,).
        max_rows: Last row of each run, inclusive, shape (runs,).
        tiles_before: Tiles before each slab in export order, and of all, shape (slabs + 1,).
    """

    zoom: int
    min_cols: Integers
    max_cols: Integers
    first_runs: Integers
    min_rows: Integers
    max_rows: Integers
    tiles_before: Integers

    @classmethod
    def of_blocks(cls, zoom: int, blocks: Integers, *, max_runs: int) -> "MatrixTiles":
        """Unite blocks, which may overlap.

        Args:
            zoom: Tile matrix identifier.
            blocks: Shape (n, 4): min_col, max_col, min_row, max_row, all inclusive.
            max_runs: Limit on the pieces of blocks that lie between neighbouring column edges;
                memory and time grow with them, not with the tiles.

        Raises:
            RequestTooLarge: There are more pieces.
        """
        if len(blocks) == 1:
            min_cols, max_cols, min_rows, max_rows = blocks.T
            return cls._of_slabs(zoom, min_cols, max_cols, min_rows, max_rows, np.array([0, 1]))
        edges = np.unique(np.concatenate([blocks[:, 0], blocks[:, 1] + 1]))
        slabs, min_rows, max_rows = _united_runs(zoom, blocks, edges, max_runs)
        slab_ids, first_runs = np.unique(slabs, return_index=True)
        first_runs = np.append(first_runs, len(slabs))
        opens = _opens_slab(slab_ids, first_runs, min_rows, max_rows)
        kept_runs = np.repeat(opens, np.diff(first_runs))
        firsts = np.flatnonzero(opens)
        lasts = np.append(firsts[1:], len(slab_ids))[: len(firsts)] - 1
        return cls._of_slabs(
            zoom,
            edges[slab_ids[firsts]],
            edges[slab_ids[lasts] + 1] - 1,
            min_rows[kept_runs],
            max_rows[kept_runs],
            np.append(0, np.cumsum(np.diff(first_runs)[firsts])),
        )

    @classmethod
    def _of_slabs(
        cls,
        zoom: int,
        min_cols: Integers,
        max_cols: Integers,
        min_rows: Integers,
        max_rows: Integers,
        first_runs: Integers,
    ) -> "MatrixTiles":
        rows_before = np.append(0, np.cumsum(max_rows - min_rows + 1))
        tiles = (max_cols - min_cols + 1) * np.diff(rows_before[first_runs])
        tiles_before = np.append(0, np.cumsum(tiles))
        return cls(zoom, min_cols, max_cols, first_runs, min_rows, max_rows, tiles_before)

    @property
    def tile_count(self) -> int:
        """The number of tiles in the set."""
        return int(self.tiles_before[-1])

    @property
    def limits(self) -> TileRun:
        """The smallest block around all tiles."""
        return TileRun(
            self.zoom,
            int(self.min_cols[0]),
            int(self.max_cols[-1]),
            int(self.min_rows.min()),
            int(self.max_rows.max()),
        )

    def blocks(self) -> Integers:
        """The set as disjoint blocks, shape (runs, 4)."""
        run_counts = np.diff(self.first_runs)
        cols = [np.repeat(limits, run_counts) for limits in (self.min_cols, self.max_cols)]
        return np.column_stack([*cols, self.min_rows, self.max_rows])

    def runs_between(self, start: int, end: int) -> Iterator[TileRun]:
        """Yield the tiles from position `start` up to before `end` in export order.

        Args:
            start: Position by column, then by row, from 0.
            end: Above `start`, at most `tile_count`.

        Yields:
            Runs in export order. Several columns make one run only where each of them holds
            nothing else; work and memory grow with the slabs between `start` and `end`.
        """
        first = int(np.searchsorted(self.tiles_before, start, side="right")) - 1
        stop = int(np.searchsorted(self.tiles_before, end, side="left"))
        run = int(self.first_runs[first])
        rows = list(
            zip(
                self.min_rows[run : self.first_runs[stop]].tolist(),
                self.max_rows[run : self.first_runs[stop]].tolist(),
                strict=True,
            )
        )
        runs = (self.first_runs[first : stop + 1] - run).tolist()
        befores = self.tiles_before[first : stop + 1].tolist()
        for slab, min_col in enumerate(self.min_cols[first:stop].tolist()):
            before = befores[slab]
            yield from _slab_runs(
                self.zoom,
                min_col,
                rows[runs[slab] : runs[slab + 1]],
                max(start - before, 0),
                min(end, befores[slab + 1]) - before,
            )

    def digest_into(self, digest: Digest) -> None:
        """Feed the set: equal sets feed equal bytes, and other sets other bytes."""
        header = np.array([self.zoom, len(self.min_cols), len(self.min_rows)])
        for column in (header, self.min_cols, self.max_cols, self.first_runs):
            digest.update(column.astype(">i8").tobytes())
        for column in (self.min_rows, self.max_rows):
            digest.update(column.astype(">i8").tobytes())


def _united_runs(
    zoom: int, blocks: Integers, edges: Integers, max_runs: int
) -> tuple[Integers, Integers, Integers]:
    """Maximal runs of rows between neighbouring column edges: slab, min_row, max_row."""
    first_slabs = np.searchsorted(edges, blocks[:, 0])
    spans = np.searchsorted(edges, blocks[:, 1] + 1) - first_slabs
    piece_count = int(spans.sum())
    if piece_count > max_runs:
        raise RequestTooLarge(
            f"bbox makes {piece_count} runs of tiles at zoom {zoom}, more than {max_runs}"
        )
    pieces_before = np.cumsum(spans) - spans
    slabs = np.arange(piece_count) + np.repeat(first_slabs - pieces_before, spans)
    # Row limits on one axis, slab after slab, with a gap that nothing can merge across.
    stride = (1 << zoom) + 2
    starts = slabs * stride + np.repeat(blocks[:, 2], spans)
    ends = slabs * stride + np.repeat(blocks[:, 3] + 1, spans)
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(ends[order])
    opens = np.append(True, starts[1:] > reach[:-1])[:piece_count]
    firsts = np.flatnonzero(opens)
    starts, ends = starts[firsts], reach[np.append(firsts[1:], piece_count)[: len(firsts)] - 1]
    slabs = starts // stride
    return slabs, starts - slabs * stride, ends - slabs * stride - 1


def _opens_slab(
    slab_ids: Integers,
    first_runs: Integers,
    min_rows: Integers,
    max_rows: Integers,
) -> NDArray[np.bool_]:
    """Tell which slabs differ from the columns on their west; shape (slabs,)."""
    slab_count = len(slab_ids)
    if slab_count == 0:
        return np.zeros(0, np.bool_)
    run_counts = np.diff(first_runs)
    opens = np.ones(slab_count, np.bool_)
    opens[1:] = (np.diff(slab_ids) > 1) | (run_counts[1:] != run_counts[:-1])
    # The run at the same place in the slab before; meaningless, and unused, where counts differ.
    twins = np.arange(len(min_rows)) - np.repeat(np.append(0, run_counts[:-1]), run_counts)
    same = (min_rows == min_rows[twins]) & (max_rows == max_rows[twins])
    opens[1:] |= ~np.logical_and.reduceat(same, first_runs[:-1])[1:]
    return opens


def _slab_runs(
    zoom: int, min_col: int, rows: list[tuple[int, int]], start: int, end: int
) -> Iterator[TileRun]:
    """Yield the tiles of one slab between two positions, counted from the slab's first tile."""
    column_size = sum(max_row - min_row + 1 for min_row, max_row in rows)
    first, head = divmod(start, column_size)
    last, tail = divmod(end, column_size)
    if first == last:
        yield from _column_runs(zoom, min_col + first, rows, head, tail)
        return
    if head:
        yield from _column_runs(zoom, min_col + first, rows, head, column_size)
        first += 1
    if len(rows) == 1 and first < last:
        yield TileRun(zoom, min_col + first, min_col + last - 1, *rows[0])
    else:
        for col in range(min_col + first, min_col + last):
            for min_row, max_row in rows:
                yield TileRun(zoom, col, col, min_row, max_row)
    yield from _column_runs(zoom, min_col + last, rows, 0, tail)


def _column_runs(
    zoom: int, col: int, rows: list[tuple[int, int]], start: int, end: int
) -> Iterator[TileRun]:
    """Yield the tiles of one column between two positions, counted from its first tile."""
    for min_row, max_row in rows:
        size = max_row - min_row + 1
        if start < size and end > 0:
            yield TileRun(zoom, col, col, min_row + max(start, 0), min(min_row + end - 1, max_row))
        start, end = start - size, end - size
