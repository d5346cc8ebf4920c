"""Requests that were accepted, until it is certain that they are not lost.

A broker that is killed may lose the last records it has acknowledged. So a request stays in
memory until the registrar's word on it is seen, and some seconds longer, as that word may be
lost as well; while the broker is away nothing is forgotten. It is published again when the broker
was away, and when it seems lost: the same id with the same content is a replay, and harmless.

A request that waits is not lost: 5,000 at once wait for minutes, and publishing those again would
only make the queue longer (it did: 11,000 repeats, and no end). So what nobody has spoken of is
published again when younger ones have been spoken of, or when nobody speaks of anything.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

from app.domain.errors import ExportServiceError, TemporaryFailure
from app.domain.records import ExportRequested
from app.ingress.ports import RequestPublisher
from app.ingress.view import IngressView

log = structlog.get_logger(__name__)

FIRST_REPEAT_S: Final = 10.0
"""Longer than broker and stages need to restart, and than what a killed broker may lose until its
absence shows."""
LONGEST_REPEAT_S: Final = 300.0
SWEEP_S: Final = 1.0
REPEATS_A_SWEEP: Final = 100
"""So that a coordinator that was away for long finds a few repeats of thousands of requests."""
RECORD_BYTES: Final = 2_000
"""What a request without a bbox takes in memory, roughly."""


@dataclass(slots=True)
class _Open:
    asked: ExportRequested
    size_bytes: int
    accepted_at_s: float
    wait_s: float
    due_at_s: float
    is_due: bool = False
    is_known: bool = False


class AcceptedRequests:
    """Publishes requests, keeps the open ones within a bound, and repeats them."""

    def __init__(
        self,
        publisher: RequestPublisher,
        view: IngressView,
        *,
        max_bytes: int = 128_000_000,
        first_repeat_s: float = FIRST_REPEAT_S,
    ) -> None:
        """Keep nothing yet.

        Args:
            publisher: The way into `export-requests`.
            view: Says which requests have been heard of.
            max_bytes: What open requests may take together; beyond it none is accepted.
            first_repeat_s: When a request is published again; the waits double from there.
        """
        self._publisher = publisher
        self._view = view
        self._max_bytes = max_bytes
        self._first_repeat_s = first_repeat_s
        self._open: dict[str, _Open] = {}
        self._open_bytes = 0
        self._youngest_known_s = float("-inf")
        self._heard_at_s = float("-inf")
        self._is_broker_away = False

    async def accept(self, asked: ExportRequested) -> None:
        """Publish a request and keep it.

        Raises:
            TemporaryFailure: The broker did not acknowledge it, or too many are open: it is
                not accepted.
        """
        size_bytes = RECORD_BYTES + len(asked.bbox_json or "")
        if self._open_bytes + size_bytes > self._max_bytes:
            self._drop_known()
        if self._open_bytes + size_bytes > self._max_bytes:
            raise TemporaryFailure(
                f"{len(self._open)} requests wait to be admitted, {self._open_bytes} of "
                f"{self._max_bytes} bytes; come again later"
            )
        self._open_bytes += size_bytes
        try:
            await self._publisher.publish(asked)
        except BaseException:
            self._open_bytes -= size_bytes
            raise
        now_s, wait_s = self._now_s(), self._first_repeat_s
        self._open[asked.request_id] = _Open(asked, size_bytes, now_s, wait_s, now_s + wait_s)

    def __contains__(self, request_id: str) -> bool:
        """Whether a request was accepted here and may not be in the view yet."""
        return request_id in self._open

    def asked(self, request_id: str) -> ExportRequested | None:
        """A request that was accepted here, as long as it is kept; None: none such."""
        entry = self._open.get(request_id)
        return None if entry is None else entry.asked

    def broker_went_away(self) -> None:
        """Forget nothing until it is back: what was heard last may be lost."""
        self._is_broker_away = True

    def broker_came_back(self) -> None:
        """Publish everything again at the next turn: the broker may have lost its tail."""
        self._is_broker_away = False
        for entry in self._open.values():
            entry.is_due = True

    async def repeat_forever(self) -> None:
        """Publish again what nobody has spoken of, and forget the rest; run it as a task."""
        while True:
            await asyncio.sleep(min(SWEEP_S, self._first_repeat_s))
            await self._sweep()

    async def _sweep(self) -> None:
        self._hear()
        repeats = 0
        for entry in list(self._open.values()):
            if entry.is_due:
                await self._repeat(entry)
            elif entry.due_at_s > self._now_s():
                continue
            elif entry.is_known:
                if not self._is_broker_away:
                    self._forget(entry)
            elif repeats < REPEATS_A_SWEEP and self._seems_lost(entry):
                repeats += 1
                entry.wait_s = min(2 * entry.wait_s, LONGEST_REPEAT_S)
                await self._repeat(entry)

    def _hear(self) -> None:
        """Note which open requests have been spoken of since the last turn."""
        for entry in self._open.values():
            if not entry.is_known and self._view.knows(entry.asked.request_id):
                entry.is_known = True
                self._heard_at_s = self._now_s()
                entry.due_at_s = max(entry.due_at_s, self._heard_at_s + self._first_repeat_s)
                self._youngest_known_s = max(self._youngest_known_s, entry.accepted_at_s)

    def _seems_lost(self, entry: _Open) -> bool:
        """Whether it was overtaken by far, or nobody has spoken of any request for a while."""
        overtaken = entry.accepted_at_s + self._first_repeat_s <= self._youngest_known_s
        return overtaken or self._heard_at_s + self._first_repeat_s <= self._now_s()

    async def _repeat(self, entry: _Open) -> None:
        entry.due_at_s = self._now_s() + entry.wait_s
        log.warning("request_published_again", request_id=entry.asked.request_id)
        try:
            await self._publisher.publish(entry.asked)
        except ExportServiceError as error:
            # The broker is away; it comes back, or the entry is due again.
            log.warning("request_not_kept", request_id=entry.asked.request_id, reason=str(error))
        else:
            entry.is_due = False

    def _drop_known(self) -> None:
        for entry in list(self._open.values()):
            if self._view.knows(entry.asked.request_id):
                self._forget(entry)

    def _forget(self, entry: _Open) -> None:
        # A sweep waits for the broker meanwhile: the entry may have gone before its turn.
        if self._open.pop(entry.asked.request_id, None) is not None:
            self._open_bytes -= entry.size_bytes

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()
