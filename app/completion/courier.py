"""Call the webhooks whose time has come, and report what came of each call as a record."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
import orjson
import structlog

from app.completion.owner import Completion
from app.domain.decision import Record
from app.domain.errors import TemporaryFailure
from app.domain.records import DeliveryTried, ExportFinished
from app.domain.result import result_body
from app.domain.rows import DeliveryRow
from app.domain.topic_names import EXPORT_SETTLEMENTS

log = structlog.get_logger(__name__)

CALLS_AT_ONCE = 64
"""Webhooks under way at a time, so that open connections stay bounded."""

CALLS_PER_HOST = 8
"""Of these to one receiver, so that a slow one leaves room for others."""

REPORT_LOST_MS = 60_000
"""A report that has not come back as a row after so long is taken for lost: call again, ms."""

LONGEST_NAP_S = 60.0


class Outbox(Protocol):
    """Sends a record and returns when the broker has confirmed it."""

    async def send(self, topic: str, key: str, record: Record) -> None:
        """Send one record; raises TemporaryFailure when it was not confirmed."""


@dataclass(slots=True)
class Courier:
    """The background task that delivers results; a process has one, for all its partitions.

    It keeps nothing: what is due stands in the deliveries rows, and it writes none of them. It
    may die at any line: the row is still pending, and the receiver is called again with the
    same delivery id.

    Attributes:
        owners: The completion partitions of this process, as they are now.
        outbox: Where reports go.
        now_ms: Wall clock, ms since 1970 UTC.
        timeout_s: Deadline of one call.
    """

    owners: Callable[[], Iterable[Completion]]
    outbox: Outbox
    now_ms: Callable[[], int]
    timeout_s: float
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _under_way: dict[str, tuple[int, int]] = field(default_factory=dict)
    _calls: set[asyncio.Task[None]] = field(default_factory=set)

    def wake(self) -> None:
        """Say that a delivery may have become due."""
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        connector = aiohttp.TCPConnector(limit=CALLS_AT_ONCE, limit_per_host=CALLS_PER_HOST)
        timeout = aiohttp.ClientTimeout(total=self.timeout_s)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            try:
                while True:
                    self._wake.clear()
                    self._start_due(session)
                    await self._nap()
            finally:
                for call in self._calls:
                    call.cancel()
                await asyncio.gather(*self._calls, return_exceptions=True)

    async def _nap(self) -> None:
        """Wait until something may be due."""
        due = [at for owner in self.owners() if (at := owner.next_due_ms()) is not None]
        # What is due now and under way already must not make this loop spin.
        nap_s = min((max(0.5, (at - self.now_ms()) / 1000) for at in due), default=LONGEST_NAP_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), min(nap_s, LONGEST_NAP_S))

    def _start_due(self, session: aiohttp.ClientSession) -> None:
        now_ms = self.now_ms()
        for delivery_id, (_, since_ms) in list(self._under_way.items()):
            if now_ms - since_ms > REPORT_LOST_MS + self.timeout_s * 1000:
                del self._under_way[delivery_id]
        for owner in self.owners():
            for delivery_id, row in owner.due(now_ms):
                if len(self._calls) >= CALLS_AT_ONCE:
                    return
                result = owner.result_of(row.request_id)
                trial = row.trials + 1
                known = self._under_way.get(delivery_id)
                if result is None or (known is not None and known[0] == trial):
                    continue
                self._under_way[delivery_id] = (trial, now_ms)
                call = asyncio.create_task(self._deliver(session, delivery_id, row, result))
                self._calls.add(call)
                call.add_done_callback(self._ended)

    def _ended(self, call: "asyncio.Task[None]") -> None:
        self._calls.discard(call)
        self.wake()

    async def _deliver(
        self,
        session: aiohttp.ClientSession,
        delivery_id: str,
        row: DeliveryRow,
        result: ExportFinished,
    ) -> None:
        http_status, error = await self._call(session, delivery_id, row.url, result)
        report = DeliveryTried(
            request_id=row.request_id,
            at_ms=self.now_ms(),
            delivery_id=delivery_id,
            trial=row.trials + 1,
            http_status=http_status,
            error=error,
        )
        log.info(
            "webhook_called",
            request_id=row.request_id,
            delivery_id=delivery_id,
            trial=report.trial,
            http_status=http_status,
            error=error,
        )
        try:
            await self.outbox.send(EXPORT_SETTLEMENTS, row.request_id, report)
        except TemporaryFailure as failure:
            self._under_way.pop(delivery_id, None)
            log.warning("webhook_report_lost", delivery_id=delivery_id, error=str(failure))

    async def _call(
        self, session: aiohttp.ClientSession, delivery_id: str, url: str, result: ExportFinished
    ) -> tuple[int, str | None]:
        """POST a result; returns the receiver's status, or 0 and why there was no answer."""
        headers = {"content-type": "application/json", "webhook-id": delivery_id}
        body = orjson.dumps(result_body(result))
        try:
            async with session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return answer.status, None
        except TimeoutError:
            return 0, f"no answer within {self.timeout_s} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return 0, f"{type(error).__name__}: {error}"[:500]
