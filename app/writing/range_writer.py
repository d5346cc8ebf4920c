"""Carry out one WriteRange: the tiles into a shard, or the reason why not."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import orjson
import structlog

from app.domain.decision import Send
from app.domain.errors import (
    ExportServiceError,
    InvalidRequest,
    ShardLost,
    SourceUnavailable,
    StorageFull,
    StorageUnavailable,
)
from app.domain.package_facts import ZoomCounts
from app.domain.records import RangeUnreadable, RangeWritten, WriteRange
from app.domain.tile_range import TileRange, TileRun
from app.domain.tile_tables import TileTables
from app.domain.topic_names import EXPORT_PLANS
from app.sources.tile_source import Tile, TileSource
from app.writing.hanging_sources import HangingSources
from app.writing.open_shards import OpenShards
from app.writing.reading_thread import SourceHangs
from app.writing.write_range import write_range

log = structlog.get_logger(__name__)

NEW_SHARDS = 2
"""A lost shard is replaced so often before the range is reported as unreadable."""


@dataclass(frozen=True, slots=True)
class _OpenedByItsReader:
    """A source that is opened by the thread that reads it: its folder may hang as its tiles do."""

    open: Callable[[], TileSource]

    def read_many(self, tiles: Sequence[Tile]) -> list[bytes | None]:
        """Read some tiles; see TileSource.read_many. Raises InvalidRequest, too."""
        return self.open().read_many(tiles)


@dataclass(slots=True)
class RangeWriter:
    """Writes ranges; several at a time, those of one attempt one after the other.

    Attributes:
        shards: The shards of this process.
        open_source: From the source part of a layer record to its tiles; raises InvalidRequest.
        executor: Threads for files and SQLite.
        now_ms: Wall clock, ms since 1970 UTC.
    """

    shards: OpenShards
    open_source: Callable[[Any], TileSource]
    executor: Executor
    now_ms: Callable[[], int]
    _source: Callable[[str], TileSource] = field(init=False)
    _hanging: HangingSources = field(default_factory=HangingSources)

    def __post_init__(self) -> None:
        """Keep sources open between ranges: a folder source remembers what it resolved."""
        self._source = lru_cache(maxsize=64)(lambda text: self.open_source(orjson.loads(text)))

    async def write(self, order: WriteRange) -> Send:
        """Write one range and tell the planner.

        Running twice is harmless: a range in this process's ledger is answered without
        reading, another process writes it into its own shard and the assembler counts it once.
        A source that hangs is given up after a while, and refused until it answers.
        """
        started_ms = self.now_ms()
        try:
            self._hanging.check(order.source_json)
            zooms = await self._written(order)
        except SourceHangs as error:
            self._hanging.add(order.source_json, error)
            return self._unreadable(order, error, fatal=False)
        except (ShardLost, SourceUnavailable, StorageUnavailable) as error:
            return self._unreadable(order, error, fatal=False)
        except (StorageFull, InvalidRequest) as error:
            return self._unreadable(order, error, fatal=True)
        log.info(
            "range_written",
            export_id=order.export_id,
            attempt=order.attempt,
            range_number=order.range_number,
            tiles=sum(zoom.written for zoom in zooms),
            took_ms=self.now_ms() - started_ms,
        )
        record = RangeWritten(
            order.export_id, order.attempt, self.now_ms(), order.range_number, zooms
        )
        return Send(EXPORT_PLANS, order.export_id, record)

    async def _written(self, order: WriteRange) -> tuple[ZoomCounts, ...]:
        source = _OpenedByItsReader(partial(self._source, order.source_json))
        tables = TileTables.ordered(order.table, order.tables)
        tile_range = TileRange(
            order.range_number,
            tuple(
                TileRun(run.zoom, run.min_col, run.max_col, run.min_row, run.max_row)
                for run in order.runs
            ),
        )
        loop = asyncio.get_running_loop()
        for _ in range(NEW_SHARDS):
            try:
                async with self.shards.borrow(order.export_id, order.attempt, tables) as shard:
                    work = partial(write_range, shard, tile_range, source, on_error=order.on_error)
                    return await loop.run_in_executor(self.executor, work)
            except ShardLost as error:
                log.warning("shard_lost", export_id=order.export_id, error=str(error))
                await self.shards.forget(order.export_id, order.attempt)
        raise ShardLost(f"range {order.range_number}: {NEW_SHARDS} shards were lost in a row")

    def _unreadable(self, order: WriteRange, error: ExportServiceError, *, fatal: bool) -> Send:
        log.warning(
            "range_unreadable",
            export_id=order.export_id,
            attempt=order.attempt,
            range_number=order.range_number,
            trial=order.trial,
            fatal=fatal,
            error=str(error),
        )
        record = RangeUnreadable(
            export_id=order.export_id,
            attempt=order.attempt,
            at_ms=self.now_ms(),
            range_number=order.range_number,
            trial=order.trial,
            fatal=fatal,
            reason=str(error),
        )
        return Send(EXPORT_PLANS, order.export_id, record)
