"""Call the webhooks whose time has come, and report what came of each call as a record."""

import asyncio
import contextlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import structlog

from app.completion.owner import Completion
from app.completion.webhook_call import Caller, Session, WebhookRules, open_session
from app.domain.decision import Record
from app.domain.errors import TemporaryFailure
from app.domain.records import DeliveryTried, ExportFinished
from app.domain.rows import DeliveryRow
from app.domain.topic_names import EXPORT_SETTLEMENTS

log = structlog.get_logger(__name__)

KEPT_FREE = 4
"""One in so many calls is for receivers that have none under way: many slow ones leave room too."""

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
        rules: What the settings say of webhooks.
    """

    owners: Callable[[], Iterable[Completion]]
    outbox: Outbox
    now_ms: Callable[[], int]
    rules: WebhookRules
    _caller: Caller = field(init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _under_way: OrderedDict[str, tuple[int, int]] = field(default_factory=OrderedDict)
    _calls: set[asyncio.Task[None]] = field(default_factory=set)
    _at_receiver: Counter[str] = field(default_factory=Counter)
    _turns: dict[str, int] = field(default_factory=dict)
    _started: int = 0

    def __post_init__(self) -> None:
        """Get ready to call."""
        self._caller = Caller(self.rules, self.now_ms)

    def wake(self) -> None:
        """Say that a delivery may have become due."""
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with open_session(self.rules) as session:
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
        due = [at for owner in self.owners() if (at := owner.calls.first_ms()) is not None]
        # What is due now and under way already must not make this loop spin.
        nap_s = min((max(0.5, (at - self.now_ms()) / 1000) for at in due), default=LONGEST_NAP_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(nap_s, LONGEST_NAP_S)):
                await self._wake.wait()

    def _start_due(self, session: Session) -> None:
        now_ms = self.now_ms()
        self._forget_lost_reports(now_ms)
        owners = list(self.owners())
        for receiver in self._in_turn(owners, now_ms):
            for owner in owners:
                for delivery_id in owner.calls.due(receiver, now_ms):
                    if not self._has_room(receiver):
                        break
                    self._start(session, owner, delivery_id, receiver)

    def _forget_lost_reports(self, now_ms: int) -> None:
        longest_ms = REPORT_LOST_MS + self.rules.timeout_s * 1000
        while self._under_way:
            _, since_ms = self._under_way[next(iter(self._under_way))]
            if now_ms - since_ms <= longest_ms:
                return
            self._under_way.popitem(last=False)

    def _in_turn(self, owners: Iterable[Completion], now_ms: int) -> list[str]:
        """Receivers with something due, first the one whose last call began longest ago.

        So many slow ones take turns with each other, too, when there is no room for all.
        """
        due = dict.fromkeys(name for owner in owners for name in owner.calls.receivers(now_ms))
        self._turns = {name: turn for name, turn in self._turns.items() if name in due}
        return sorted(due, key=lambda name: self._turns.get(name, 0))

    def _start(self, session: Session, owner: Completion, delivery_id: str, receiver: str) -> None:
        row = owner.pending[delivery_id]
        known = self._under_way.get(delivery_id)
        if known is not None and known[0] == row.trials + 1:
            return
        result = owner.result_of(row.request_id)
        if result is None:
            return
        self._under_way.pop(delivery_id, None)  # to the end
        self._under_way[delivery_id] = (row.trials + 1, self.now_ms())
        self._at_receiver[receiver] += 1
        self._started += 1
        self._turns[receiver] = self._started
        call = asyncio.create_task(self._deliver(session, delivery_id, row, result))
        self._calls.add(call)
        call.add_done_callback(partial(self._ended, receiver))

    def _has_room(self, receiver: str) -> bool:
        """Whether a receiver may be called once more now, without taking the room of others."""
        free = self.rules.calls - len(self._calls)
        under_way = self._at_receiver.get(receiver, 0)
        if under_way == 0:
            return free > 0
        return under_way < self.rules.calls_per_host and free > self.rules.calls // KEPT_FREE

    def _ended(self, receiver: str, call: "asyncio.Task[None]") -> None:
        self._calls.discard(call)
        self._at_receiver[receiver] -= 1
        if not self._at_receiver[receiver]:
            del self._at_receiver[receiver]
        self.wake()

    async def _deliver(
        self,
        session: Session,
        delivery_id: str,
        row: DeliveryRow,
        result: ExportFinished,
    ) -> None:
        answer = await self._caller.call(session, delivery_id, row, result)
        report = DeliveryTried(
            request_id=row.request_id,
            at_ms=self.now_ms(),
            delivery_id=delivery_id,
            trial=row.trials + 1,
            http_status=answer.http_status,
            error=answer.error,
            retry_at_ms=answer.retry_at_ms,
        )
        log.info(
            "webhook_called",
            request_id=row.request_id,
            delivery_id=delivery_id,
            trial=report.trial,
            http_status=answer.http_status,
            error=answer.error,
        )
        try:
            await self.outbox.send(EXPORT_SETTLEMENTS, row.request_id, report)
        except TemporaryFailure as failure:
            self._under_way.pop(delivery_id, None)
            log.warning("webhook_report_lost", delivery_id=delivery_id, error=str(failure))
