"""Copying one range of tiles from a source into a shard; runs in a worker thread, I/O and all."""

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from app.domain.errors import SourceUnavailable
from app.domain.package_facts import ZoomCounts
from app.domain.tile_image import PLAIN_STARTS, is_webp
from app.domain.tile_range import TileRange
from app.package.checksum import RangeChecksum
from app.package.ledger import column_runs
from app.package.shard import Shard, TileRow
from app.sources.tile_source import Tile, TileSource
from app.writing.reading_thread import Batch, ReadingThread

BATCH_TILES: Final = 128
BATCH_BYTES: Final = 4 << 20
"""Two batches are in memory, and SQLite copies half of one: 6 to 10 MB beside what is idle."""
FIRST_BATCH_TILES: Final = 16
"""Small, because nothing is known about the size of tiles before the first are read."""


def write_range(
    shard: Shard, tile_range: TileRange, source: TileSource, *, on_error: str
) -> tuple[ZoomCounts, ...]:
    """Read the tiles of a range and store them with their ledger row, in one transaction.

    A range that the ledger holds is answered without reading, so a repeat is harmless. The next
    batch is read in a second thread while one is inserted.

    Args:
        shard: Where to; its caller uses it for nothing else meanwhile.
        tile_range: Which tiles.
        source: Where from.
        on_error: `fail` gives up at the first unreadable tile, `skip` lists it in the ledger.

    Returns:
        What became of the tiles, by ascending zoom.

    Raises:
        SourceHangs: The source does not answer; nothing is stored, now or when it answers.
        SourceUnavailable: A tile is unreadable and on_error is `fail`; nothing is stored.
        ShardLost: The shard is no longer ours, or no longer whole.
        StorageFull: The disk is full; nothing is stored.
        StorageUnavailable: The disk answers with an error; nothing is stored.
    """
    recorded = shard.recorded(tile_range.number)
    if recorded is not None:
        return recorded
    reading = _Reading(tile_range, source, skips=on_error == "skip")
    reader = ReadingThread(reading.next_batch, lambda: reading.asked_at_s)
    # The thread ends with the block, whatever fails, before the transaction rolls back; one that
    # hangs knows nothing of the shard.
    with shard.writing(tile_range.number) as rows, reader:
        ahead = reader.ahead()
        while (batch := reader.batch(ahead)) is not None:
            ahead = reader.ahead()
            rows.insert(batch)
        return rows.record(
            reading.counts(),
            missing=column_runs(reading.missing),
            skipped=column_runs(sorted(reading.skipped)),
            has_webp=reading.has_webp,
            tiles_checksum=reading.checksum.value(),
        )


class _Reading:
    """Reads a range batch by batch and counts what it finds; used by one thread at a time."""

    def __init__(self, tile_range: TileRange, source: TileSource, *, skips: bool) -> None:
        self.missing: list[Tile] = []
        self.skipped: list[Tile] = []
        self.has_webp = False
        self.asked_at_s = 0.0
        self.checksum = RangeChecksum()
        self._tiles: Iterator[Tile] = tile_range.tiles()
        self._source = source
        self._skips = skips
        self._batch_tiles = FIRST_BATCH_TILES
        self._expected: dict[int, int] = {}
        for run in tile_range.runs:
            self._expected[run.zoom] = self._expected.get(run.zoom, 0) + run.tile_count
        self._stored_bytes = dict.fromkeys(self._expected, 0)

    def next_batch(self) -> Batch:
        """Read some more tiles; empty when all of them are missing, None at the end."""
        tiles = list(islice(self._tiles, self._batch_tiles))
        if not tiles:
            return None
        batch: list[TileRow] = []
        read_bytes = 0
        for tile, image in zip(tiles, self._read(tiles), strict=True):
            if image is None:
                self.missing.append(tile)
                continue
            if not image.startswith(PLAIN_STARTS) and not self._accepts(tile, image):
                continue
            read_bytes += len(image)
            self._stored_bytes[tile[0]] += len(image)
            self.checksum.add(*tile, image)
            batch.append((*tile, image))
        if batch:
            self._batch_tiles = min(BATCH_TILES, max(1, BATCH_BYTES * len(batch) // read_bytes))
        return batch

    def counts(self) -> list[ZoomCounts]:
        """What became of the tiles, after the last batch."""
        missing, skipped = _count(self.missing), _count(self.skipped)
        return [
            ZoomCounts(
                zoom=zoom,
                expected=expected,
                written=expected - missing.get(zoom, 0) - skipped.get(zoom, 0),
                missing=missing.get(zoom, 0),
                skipped=skipped.get(zoom, 0),
                tile_bytes=self._stored_bytes[zoom],
            )
            for zoom, expected in sorted(self._expected.items())
        ]

    def _read(self, tiles: list[Tile]) -> list[bytes | None]:
        try:
            return self._ask(tiles)
        except SourceUnavailable:
            if not self._skips:
                raise
        # Which of them are unreadable? Ask for each alone.
        images: list[bytes | None] = []
        readable: list[Tile] = []
        for tile in tiles:
            try:
                images += self._ask([tile])
                readable.append(tile)
            except SourceUnavailable:
                self.skipped.append(tile)
        tiles[:] = readable
        return images

    def _ask(self, tiles: list[Tile]) -> list[bytes | None]:
        self.asked_at_s = time.monotonic()
        return self._source.read_many(tiles)

    def _accepts(self, tile: Tile, image: bytes) -> bool:
        if is_webp(image):
            self.has_webp = True
            return True
        if not self._skips:
            zoom, col, row = tile
            raise SourceUnavailable(
                f"tile {zoom}/{col}/{row} cannot be stored: it is no JPEG, PNG or WebP"
            )
        self.skipped.append(tile)
        return False


def _count(tiles: Sequence[Tile]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for zoom, _, _ in tiles:
        counts[zoom] = counts.get(zoom, 0) + 1
    return counts
