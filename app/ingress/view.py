"""What this ingress knows of requests and exports: a view of two topics, nothing else.

Records come in at least once and in the order of their keys; the last one counts. The view is
rebuilt from the start of the topics whenever the process starts.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal, TypeVar

from app.domain.records import ExportFinished, ExportProgress, RequestProgress

Found = TypeVar("Found")
Status = Literal["Completed", "In-Progress", "Pending", "Failed", "Expired", "Aborted"]

MAX_REPEATS: Final = 8
"""A repeat names the first request; a longer chain is a mistake and must not become a loop."""


@dataclass(slots=True)
class RequestSeen:
    """What the registrar said of a request.

    Attributes:
        verdict: Accepted, Joined, Repeated, Cached or Refused.
        http_status: Status of the answer.
        reason: Why it was refused.
        export_id: The export it belongs to; None when refused.
        repeats: The earlier request that answers for it.
        told_percentage: The highest percentage a client has been told.
    """

    verdict: str
    http_status: int
    reason: str | None
    export_id: str | None
    repeats: str | None
    told_percentage: int = 0


@dataclass(frozen=True, slots=True)
class ExportSeen:
    """How far an export is."""

    attempt: str
    state: str
    tiles_expected: int
    tiles_done: int
    expires_at_ms: int
    pinned: bool


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """What `GET /taskStatus` tells.

    Attributes:
        percentage: Tiles done of the whole export; 100 only with a whole package.
        status: One of the contract's words.
        reason: Why it failed or was cancelled; None while it did not.
    """

    percentage: int
    status: Status
    reason: str | None = None


class IngressView:
    """Requests, exports and results, and a way to wait for news of one of them.

    Results are kept without the caller's bbox, which may be large: an answer echoes the bbox
    of the request at hand.
    """

    def __init__(self) -> None:
        """Know nothing."""
        self._requests: dict[str, RequestSeen] = {}
        self._exports: dict[str, ExportSeen] = {}
        self._results: dict[str, ExportFinished] = {}
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def request_progressed(self, record: RequestProgress) -> None:
        """Take what the registrar says of a request."""
        before = self._requests.get(record.request_id)
        self._requests[record.request_id] = RequestSeen(
            verdict=record.verdict,
            http_status=record.http_status,
            reason=record.reason,
            export_id=record.export_id,
            repeats=record.repeats,
            told_percentage=before.told_percentage if before else 0,
        )
        self._wake(record.request_id)

    def export_progressed(self, record: ExportProgress) -> None:
        """Take how far an export is."""
        self._exports[record.export_id] = ExportSeen(
            attempt=record.attempt,
            state=record.state,
            tiles_expected=record.tiles_expected,
            tiles_done=record.tiles_done,
            expires_at_ms=record.expires_at_ms,
            pinned=record.pinned,
        )
        self._wake(record.export_id)

    def export_finished(self, record: ExportFinished) -> None:
        """Take the result of a request."""
        self._results[record.request_id] = replace(record, bbox_json=None)
        self._wake(record.request_id)

    def forget_progress(self, key: str) -> None:
        """Drop a request or an export whose tombstone came on `export-progress`."""
        self._requests.pop(key, None)
        self._exports.pop(key, None)

    def forget_result(self, request_id: str) -> None:
        """Drop a result whose tombstone came on `export-finished`."""
        self._results.pop(request_id, None)

    def verdict(self, request_id: str) -> RequestSeen | None:
        """What the registrar said of a request; None: nothing yet."""
        return self._requests.get(request_id)

    def result(self, request_id: str) -> ExportFinished | None:
        """The result of a request, without its bbox; None: none yet."""
        return self._results.get(request_id)

    def export(self, export_id: str | None) -> ExportSeen | None:
        """How far an export is; None: nothing known."""
        return None if export_id is None else self._exports.get(export_id)

    def knows(self, request_id: str) -> bool:
        """Whether registrar or completion has spoken of this request."""
        return request_id in self._requests or request_id in self._results

    def answering(self, request_id: str) -> str:
        """The request that answers for this one: itself, or the one it repeats."""
        for _ in range(MAX_REPEATS):
            seen = self._requests.get(request_id)
            if seen is None or seen.repeats is None:
                break
            request_id = seen.repeats
        return request_id

    def running_status(self, request_id: str) -> Literal["Pending", "In-Progress"]:
        """The status of a request without a result."""
        seen = self._requests.get(request_id)
        export = self.export(seen.export_id) if seen else None
        return "Pending" if export is None or export.state == "Pending" else "In-Progress"

    def task_status(self, request_id: str, *, now_ms: int) -> TaskStatus | None:
        """Status and percentage of a request; one that repeats another follows it.

        The percentage never goes back for one request, though a restarted attempt may.

        Args:
            request_id: As the answer to `POST /create` said.
            now_ms: The time now, ms since 1970 UTC, for Expired.

        Returns:
            None: neither registrar nor completion has spoken of it.
        """
        request_id = self.answering(request_id)
        result = self._results.get(request_id)
        seen = self._requests.get(request_id)
        if result is None and seen is None:
            return None
        if result is not None and result.success:
            return TaskStatus(100, "Expired" if self._is_expired(result, now_ms) else "Completed")
        percentage = self._percentage(seen)
        if result is not None:
            return TaskStatus(
                percentage,
                "Aborted" if result.status == "Aborted" else "Failed",
                result.error_reason,
            )
        if seen is not None and seen.verdict == "Refused":
            return TaskStatus(percentage, "Failed", seen.reason)
        return TaskStatus(percentage, self.running_status(request_id))

    async def wait_for(
        self, key: str, look: Callable[[], Found | None], timeout_s: float
    ) -> Found | None:
        """Look again at each record of one key, until there is something or time is over.

        Args:
            key: The request_id or export_id whose records wake the caller.
            look: Returns None as long as it has not found what it looks for.
            timeout_s: How long, seconds; 0 or less looks once.
        """
        found = look()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(timeout_s, 0)):
                while found is None:
                    await self._next_record(key)
                    found = look()
        return found

    async def _next_record(self, key: str) -> None:
        news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(news)
        try:
            await news
        finally:
            waiting = self._waiting.get(key, [])
            if news in waiting:  # given up: nobody may keep it for a key that never comes
                waiting.remove(news)
                if not waiting:
                    del self._waiting[key]

    def _wake(self, key: str) -> None:
        for news in self._waiting.pop(key, ()):
            if not news.done():
                news.set_result(None)

    def _percentage(self, seen: RequestSeen | None) -> int:
        if seen is None:
            return 0
        export = self.export(seen.export_id)
        if export is not None and export.tiles_expected > 0:
            done = min(99, 100 * export.tiles_done // export.tiles_expected)
            seen.told_percentage = max(seen.told_percentage, done)
        return seen.told_percentage

    def _is_expired(self, result: ExportFinished, now_ms: int) -> bool:
        """Whether the package of a result is no longer offered.

        A later request for the same package extends it, which only the export's own record says.
        """
        expires_at_ms = _ms_of(result.expiration_time)
        seen = self._requests.get(result.request_id)
        export = self.export(seen.export_id) if seen else None
        if export is not None and f"/{export.attempt}/" in result.file_uri:
            if export.pinned:
                return False
            expires_at_ms = max(expires_at_ms, export.expires_at_ms)
        return now_ms >= expires_at_ms


def _ms_of(iso: str) -> int:
    return int(datetime.fromisoformat(iso).timestamp() * 1000)
