"""Move the shards of failed attempts to those that go on with them; remove what is over."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from app.domain.decision import Send
from app.domain.errors import StorageFull, StorageUnavailable
from app.domain.records import AdoptShards, FilesRemoved, RangeSpan, RemoveAttempt, ShardsAdopted
from app.domain.tile_tables import TileTables
from app.domain.topic_names import EXPORT_PLANS
from app.package.taking import adopt_shards
from app.writing.open_shards import OpenShards

log = structlog.get_logger(__name__)


class Store(Protocol):
    """The artifact store, as far as files are moved and removed; blocking calls."""

    def attempt_folder(self, export_id: str, attempt: str) -> Path:
        """Where an attempt's files are; raises ValueError for a name that is none."""

    def remove_attempt(self, export_id: str, attempt: str) -> int:
        """Remove an attempt's files; returns their bytes. Raises StorageUnavailable."""


@dataclass(slots=True)
class Caretaker:
    """Carries out AdoptShards and RemoveAttempt.

    Attributes:
        store: Where the files are.
        shards: Those that this process has open.
        executor: Threads for files and SQLite.
        owner: This process, unique per start.
        now_ms: Wall clock, ms since 1970 UTC.
    """

    store: Store
    shards: OpenShards
    executor: Executor
    owner: str
    now_ms: Callable[[], int]

    async def adopt(self, order: AdoptShards) -> Sequence[Send]:
        """Take over the shards of the attempt that is continued, and tell which ranges they hold.

        Running twice is harmless: shards that moved are told of again. A shard that cannot be
        had is left behind, and its ranges are written again. A disk that does not answer is told
        to nobody: the planner orders it again, and writes everything after some tries.
        """
        await self.shards.forget(order.export_id, order.continues)
        loop = asyncio.get_running_loop()
        try:
            work = partial(
                adopt_shards,
                self.store.attempt_folder(order.export_id, order.continues),
                self.store.attempt_folder(order.export_id, order.attempt),
                owner=self.owner,
                tables=TileTables.ordered(order.table, order.tables),
                beat=lambda: None,
            )
            taken = await loop.run_in_executor(self.executor, work)
        except (StorageFull, StorageUnavailable, ValueError) as error:
            log.warning("adoption_put_off", export_id=order.export_id, error=str(error))
            return ()
        spans = spans_of(number for shard in taken for number in shard.ranges)
        log.info(
            "shards_adopted",
            export_id=order.export_id,
            attempt=order.attempt,
            continues=order.continues,
            shards=len(taken),
            ranges=sum(span.last - span.first + 1 for span in spans),
        )
        record = ShardsAdopted(order.export_id, order.attempt, self.now_ms(), spans)
        return (Send(EXPORT_PLANS, order.export_id, record),)

    async def remove(self, order: RemoveAttempt) -> Sequence[Send]:
        """Remove the files of an attempt that is over, and say that they are gone.

        Running twice is harmless: what is gone is gone. What cannot be removed is told to
        nobody: the registrar orders it again. A download that is under way goes on, as the file
        lives until it is closed.
        """
        await self.shards.forget(order.export_id, order.attempt)
        loop = asyncio.get_running_loop()
        try:
            freed_bytes = await loop.run_in_executor(
                self.executor, self.store.remove_attempt, order.export_id, order.attempt
            )
        except StorageUnavailable as error:
            log.warning("removal_put_off", export_id=order.export_id, error=str(error))
            return ()
        except ValueError as error:
            # No attempt has such a name, so it has no files.
            log.warning("removal_of_nothing", export_id=order.export_id, error=str(error))
            freed_bytes = 0
        log.info(
            "attempt_removed",
            export_id=order.export_id,
            attempt=order.attempt,
            freed_bytes=freed_bytes,
        )
        record = FilesRemoved(order.export_id, order.attempt, self.now_ms())
        return (Send(EXPORT_PLANS, order.export_id, record),)


def spans_of(numbers: Iterable[int]) -> tuple[RangeSpan, ...]:
    """Join range numbers to spans.

    >>> spans_of([4, 0, 1, 1])
    (RangeSpan(first=0, last=1), RangeSpan(first=4, last=4))
    """
    spans: list[RangeSpan] = []
    for number in sorted(set(numbers)):
        if spans and spans[-1].last == number - 1:
            spans[-1] = RangeSpan(spans[-1].first, number)
        else:
            spans.append(RangeSpan(number, number))
    return tuple(spans)
