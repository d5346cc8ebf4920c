"""Make one package of an attempt's shards, and tell the planner what came of it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from app.assembly.make_package import make_package
from app.domain.decision import Record, Send
from app.domain.errors import (
    ExportServiceError,
    ShardLost,
    StorageFull,
    StorageUnavailable,
    TemporaryFailure,
)
from app.domain.package_facts import PackageFacts
from app.domain.records import (
    AssemblePackage,
    AssemblyBeat,
    AssemblyFailed,
    PackageAssembled,
    RangesMissing,
)
from app.domain.topic_names import EXPORT_PLANS

log = structlog.get_logger(__name__)

BEAT_S = 5.0
"""How often a running assembly renews its lease, s."""

STOP_S = 3.0
"""How long a stopped assembly may take to end; it looks every 50 to 100 MB, but not while the disk
writes a package out or SQLite counts the tiles of a giant."""

TRIES_AFTER_FAILURE = 3
"""An assembly that failed for a passing reason is left to the lease so often, then it fails."""


class Outbox(Protocol):
    """Sends a record and returns when the broker has confirmed it."""

    async def send(self, topic: str, key: str, record: Record) -> None:
        """Send one record; raises TemporaryFailure when it was not confirmed."""


class AssemblyStopped(Exception):
    """The process is to end: leave the shards as they are; it never leaves this module."""


@dataclass(slots=True)
class Assembler:
    """Assembles packages, in the handler for a small export, else in the background.

    Attributes:
        folder_of: The folder of an attempt.
        close_shard: Lets go of the shard that this process itself is filling.
        outbox: Where background assemblies report.
        executor: Threads for files and SQLite.
        owner: This process, unique per start.
        now_ms: Wall clock, ms since 1970 UTC.
        is_left: An assembly heeds no stop: its thread goes on after `drain`.
    """

    folder_of: Callable[[str, str], Path]
    close_shard: Callable[[str, str], Awaitable[None]]
    outbox: Outbox
    executor: Executor
    owner: str
    now_ms: Callable[[], int]
    _running: dict[tuple[str, str], "asyncio.Task[None]"] = field(default_factory=dict)
    is_left: bool = False
    _draining: bool = False
    _stopping: bool = False

    async def assemble(self, order: AssemblePackage) -> Sequence[Send]:
        """Assemble and return the report; for exports so small that it takes no time.

        Running twice is harmless: a published package is read, not made again, and the owner
        row in each shard keeps a second assembler out.
        """
        return await self._assembled(order, beat=lambda: None)

    async def _assembled(self, order: AssemblePackage, beat: Callable[[], None]) -> Sequence[Send]:
        await self.close_shard(order.export_id, order.attempt)
        loop = asyncio.get_running_loop()
        folder = self.folder_of(order.export_id, order.attempt)
        try:
            outcome = await loop.run_in_executor(
                self.executor, make_package, folder, order, self.owner, self.now_ms, beat
            )
        except StorageFull as error:
            return self._failed(order, error)
        except (ShardLost, StorageUnavailable) as error:
            log.warning("assembly_put_off", export_id=order.export_id, error=str(error))
            return self._failed(order, error) if order.trial >= TRIES_AFTER_FAILURE else ()
        except ExportServiceError as error:
            return self._failed(order, error)
        record: Record
        if isinstance(outcome, PackageFacts):
            record = PackageAssembled(order.export_id, order.attempt, self.now_ms(), outcome)
            log.info(
                "package_assembled",
                export_id=order.export_id,
                attempt=order.attempt,
                tiles=outcome.written,
                file_bytes=outcome.file_bytes,
            )
        else:
            record = RangesMissing(order.export_id, order.attempt, self.now_ms(), tuple(outcome))
            log.warning("ranges_missing", export_id=order.export_id, spans=len(record.spans))
        return (Send(EXPORT_PLANS, order.export_id, record),)

    def start(self, order: AssemblePackage) -> None:
        """Assemble in the background, so that the order is acknowledged at its start.

        If this process dies, the planner's lease runs out and the order comes again.
        """
        key = (order.export_id, order.attempt)
        if key in self._running or self._draining:
            return
        task = asyncio.create_task(self._assemble_beating(order), name=f"assembly {key}")
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key, None))

    async def drain(self, deadline_s: float) -> None:
        """Start no more, let those under way end for a while, then stop them where they are.

        What they leave is harmless, as a kill at any line is: the lease sends the order again.
        Takes `STOP_S` longer than the deadline at most.
        """
        self._draining = True
        late = set(self._running.values())
        if late:
            _, late = await asyncio.wait(late, timeout=deadline_s)
        if late:
            self._stopping = True
            _, late = await asyncio.wait(late, timeout=STOP_S)
        self.is_left = bool(late)
        for task in late:
            task.cancel()

    def _look_at_stop(self) -> None:
        """Called by the threads of background assemblies, often."""
        if self._stopping:
            raise AssemblyStopped

    async def _assemble_beating(self, order: AssemblePackage) -> None:
        beats = asyncio.create_task(self._beat(order))
        try:
            sends = await self._assembled(order, self._look_at_stop)
            for send in sends:
                await self.outbox.send(send.topic, send.key, send.record)
        except AssemblyStopped:
            log.info("assembly_stopped", export_id=order.export_id)
        except TemporaryFailure as error:
            log.warning("assembly_not_reported", export_id=order.export_id, error=str(error))
        except Exception as error:
            # A background task has no record to keep: the lease sends the order again.
            log.exception("assembly_bug", export_id=order.export_id)
            if order.trial >= TRIES_AFTER_FAILURE:
                await self._tell_bug(order, error)
        finally:
            beats.cancel()

    async def _beat(self, order: AssemblePackage) -> None:
        # The first one at once: from then on a worker that dies is missed within half a minute.
        while True:
            beat = AssemblyBeat(order.export_id, order.attempt, self.now_ms())
            with contextlib.suppress(TemporaryFailure):
                await self.outbox.send(EXPORT_PLANS, order.export_id, beat)
            await asyncio.sleep(BEAT_S)

    async def _tell_bug(self, order: AssemblePackage, error: Exception) -> None:
        """Fail the export, as a record at which a process died three times does."""
        reason = f"the package cannot be made, by a bug of the service: {error!r:.200}"
        record = AssemblyFailed(order.export_id, order.attempt, self.now_ms(), reason)
        with contextlib.suppress(TemporaryFailure):
            await self.outbox.send(EXPORT_PLANS, order.export_id, record)

    def _failed(self, order: AssemblePackage, error: ExportServiceError) -> Sequence[Send]:
        log.warning("assembly_failed", export_id=order.export_id, error=str(error))
        record = AssemblyFailed(order.export_id, order.attempt, self.now_ms(), str(error))
        return (Send(EXPORT_PLANS, order.export_id, record),)
