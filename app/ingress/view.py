"""What this ingress knows of requests, exports and deliveries: a view of topics, nothing else.

Records come in at least once and in the order of their keys; the last one counts. The view is
rebuilt from the start of the topics whenever the process starts.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, Literal, TypeVar

from app.domain.client_limits import REFUSED_FOR_NOW, RecentRequests
from app.domain.iso_time import ms_of
from app.domain.records import ExportFinished, ExportProgress, RequestProgress
from app.domain.reservation import still_needed_bytes
from app.domain.rows import DeliveryRow
from app.domain.topic_names import EXPORT_FINISHED, EXPORT_PROGRESS
from app.ingress.bbox_memory import BboxMemory, Bounds, bounds_of
from app.ingress.delivery_memory import DeliveryMemory
from app.ingress.layer_memory import LayerMemory
from app.ingress.queue_view import QueueView
from app.ingress.request_index import RequestIndex

Found = TypeVar("Found")
Status = Literal["Completed", "In-Progress", "Pending", "Failed", "Expired", "Aborted"]

LIVE: Final = frozenset({"Pending", "In-Progress"})
GONE: Final = frozenset({"Expired", "Failed", "Aborted"})
MAX_REPEATS: Final = 8
"""A repeat names the first request; a longer chain is a mistake and must not become a loop."""


@dataclass(slots=True)
class RequestSeen:
    """What the registrar said of a request.

    Attributes:
        said: Its last word, without the area.
        bounds: The box around the area, degrees; None: the layer's footprint.
        told_percentage: The highest percentage a client has been told.
    """

    said: RequestProgress
    bounds: Bounds | None
    told_percentage: int = 0

    @property
    def verdict(self) -> str:
        """Accepted, Joined, Repeated, Cached, Refused or Cancelled."""
        return self.said.verdict

    @property
    def is_admitted(self) -> bool:
        """Whether admission found it sound, whatever became of it.

        Of one that it refused no more is kept than what a result tells: what its producer wrote may
        be wrong, or too long to be told.
        """
        return self.verdict != "Refused" or self.said.http_status in REFUSED_FOR_NOW

    @property
    def export_id(self) -> str | None:
        """The export it belongs to; None when refused."""
        return self.said.export_id


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands; the view's own place is that of the record it takes now."""

    topic: str = ""
    partition: int = 0
    offset: int = -1


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
        self.areas = BboxMemory()
        self.deliveries = DeliveryMemory()
        self.index = RequestIndex()
        self.layers = LayerMemory()
        self.queue = QueueView()
        self.recent = RecentRequests()
        self._requests: dict[str, RequestSeen] = {}
        self._exports: dict[str, ExportProgress] = {}
        self._results: dict[str, ExportFinished] = {}
        self._by_export: dict[str, set[str]] = {}
        self._past_runs: dict[str, ExportProgress] = {}
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self.resets = 0
        self._reserved_bytes = 0
        self._place = Place()
        self._places: dict[tuple[str, str], Place] = {}
        self._offsets: dict[tuple[str, int], int] = {}
        self._listeners: list[Callable[[str], None]] = []

    def move_to(self, place: Place) -> None:
        """Say where the record stands that is taken next."""
        self._place = place
        self._offsets[place.topic, place.partition] = place.offset + 1

    def begin_again(self) -> None:
        """A broker has lost its tail: a partition is read again, and its offsets mean others."""
        self.resets += 1

    def request_progressed(self, record: RequestProgress) -> None:
        """Take what the registrar says of a request."""
        request_id = record.request_id
        before = self._requests.get(request_id)
        keeps_area = record.area_omitted and before is not None
        self._requests[request_id] = RequestSeen(
            said=replace(record, bbox_json=None),
            bounds=before.bounds if before and keeps_area else bounds_of(record.bbox_json),
            told_percentage=before.told_percentage if before else 0,
        )
        if not keeps_area:
            self.areas.put(request_id, record.bbox_json)
        if record.http_status != HTTPStatus.TOO_MANY_REQUESTS:
            self.recent.note(request_id, record.client, record.accepted_at_ms)
        if record.repeats is None:
            self.index.put(request_id, record.client, record.accepted_at_ms)
        else:
            self.index.drop(request_id)
        self._belong(request_id, before.export_id if before else None, record.export_id)
        self._tell(request_id, request_id)

    def export_progressed(self, record: ExportProgress) -> None:
        """Take how far an export is."""
        export_id = record.export_id
        self.layers.note(record)
        record = replace(record, learned=())
        before = self._exports.get(export_id)
        if before is not None and before.queued_at_ms < record.queued_at_ms:
            self._keep_run(before)
        self._reserved_bytes += _reserved(record) - _reserved(before)
        self._exports[export_id] = record
        self.queue.put(record)
        self._tell(export_id, *self._by_export.get(export_id, ()))

    def export_finished(self, record: ExportFinished) -> None:
        """Take the result of a request."""
        self._results[record.request_id] = replace(record, bbox_json=None)
        self._tell(record.request_id, record.request_id)

    def delivery_changed(self, delivery_id: str, row: DeliveryRow) -> None:
        """Take what completion keeps of a webhook."""
        self.deliveries.put(delivery_id, row)
        self._wake(delivery_id)

    def forget_progress(self, key: str) -> None:
        """Drop a request or an export whose tombstone came on `export-progress`."""
        seen = self._requests.pop(key, None)
        if seen is not None:
            self._belong(key, seen.export_id, None)
            self.areas.drop(key)
            self.index.drop(key)
        export = self._exports.pop(key, None)
        if export is not None:
            self._keep_run(export)
            self._reserved_bytes -= _reserved(export)
            self.queue.drop(key)
        if export is None or key not in self._by_export:
            self._places.pop((EXPORT_PROGRESS, key), None)
        else:  # that its package is gone is news to those who asked for it
            self._tell(key, *self._by_export[key])

    def forget_result(self, request_id: str) -> None:
        """Drop a result whose tombstone came on `export-finished`."""
        self._results.pop(request_id, None)
        self._places.pop((EXPORT_FINISHED, request_id), None)

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call back with the id of each request of which something changed."""
        self._listeners.append(listener)

    def offsets(self) -> dict[tuple[str, int], int]:
        """How far the topics are taken in: the offset to come, by topic and partition."""
        return dict(self._offsets)

    def places(self, request_id: str) -> Iterator[Place]:
        """Where the records stand that make what is told of a request."""
        seen = self._requests.get(request_id)
        for name, key in (
            (EXPORT_PROGRESS, request_id),
            (EXPORT_PROGRESS, seen.export_id if seen else None),
            (EXPORT_FINISHED, request_id),
        ):
            place = self._places.get((name, key or ""))
            if place is not None:
                yield place

    @property
    def reserved_bytes(self) -> int:
        """Space that live exports may still need, as the registrar counts it, bytes."""
        return self._reserved_bytes

    def verdict(self, request_id: str) -> RequestSeen | None:
        """What the registrar said of a request; None: nothing yet."""
        return self._requests.get(request_id)

    def result(self, request_id: str) -> ExportFinished | None:
        """The result of a request, without its bbox; None: none yet."""
        return self._results.get(request_id)

    def has_offered(self, export_id: str, attempt: str, package_name: str) -> bool:
        """Whether any result that is still remembered named this package."""
        file = f"/{export_id}/{attempt}/{package_name}"
        results = map(self._results.get, self._by_export.get(export_id, ()))
        return any(result is not None and result.file_uri.endswith(file) for result in results)

    def export(self, export_id: str | None) -> ExportProgress | None:
        """How far an export is; None: nothing known."""
        return None if export_id is None else self._exports.get(export_id)

    def run_of(self, request_id: str) -> ExportProgress | None:
        """The run of its export that a request waits for, or that ended it.

        An export is made again when its package has gone; that is news to nobody who has had one.

        Returns:
            None: it has none, or nobody knows of it any more: the registrar forgets an export with
            its files, and the topic does so in time.
        """
        seen, result = self._requests.get(request_id), self._results.get(request_id)
        export = self.export(seen.export_id) if seen is not None else None
        if seen is None or result is None:
            return export
        ended_ms = ms_of(result.finished_at)
        for run in (export, self._past_runs.get(seen.export_id or "")):
            if run is not None and run.queued_at_ms <= ended_ms:
                return run
        return None

    def knows(self, request_id: str) -> bool:
        """Whether registrar or completion has spoken of this request."""
        return request_id in self._requests or request_id in self._results

    def answering(self, request_id: str) -> str:
        """The request that answers for this one: itself, or the one it repeats."""
        for _ in range(MAX_REPEATS):
            seen = self._requests.get(request_id)
            if seen is None or seen.said.repeats is None:
                break
            request_id = seen.said.repeats
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
            return TaskStatus(percentage, "Failed", seen.said.reason)
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

        A later request for the same package extends it, which only the export's own record says;
        and a package that was made again under another name is not this one.
        """
        by_time = now_ms >= ms_of(result.expiration_time)
        seen = self._requests.get(result.request_id)
        if seen is None or seen.export_id is None:
            return by_time
        export = self.export(seen.export_id)
        if seen.said.deleted or export is None:
            return True
        if export.attempt != attempt_of(result):
            return True
        if export.pinned:
            return False
        if export.state in GONE:
            return True
        return now_ms >= export.expires_at_ms if export.expires_at_ms else by_time

    def _keep_run(self, export: ExportProgress) -> None:
        """Keep what is known of a run that is over, as long as a request is that it may have ended.

        The next run that ends takes its place.
        """
        if export.state not in LIVE and export.export_id in self._by_export:
            self._past_runs[export.export_id] = export

    def _belong(self, request_id: str, before: str | None, now: str | None) -> None:
        if before is not None and before != now:
            others = self._by_export.get(before, set())
            others.discard(request_id)
            if not others:
                self._by_export.pop(before, None)
                self._past_runs.pop(before, None)
                if before not in self._exports:
                    self._places.pop((EXPORT_PROGRESS, before), None)
        if now is not None:
            self._by_export.setdefault(now, set()).add(request_id)

    def _tell(self, key: str, *request_ids: str) -> None:
        """Note where the news stands, wake those who wait for it, and tell the listeners."""
        self._places[self._place.topic, key] = self._place
        self._wake(key)
        for listener in self._listeners:
            for request_id in request_ids:
                listener(request_id)


def _reserved(export: ExportProgress | None) -> int:
    if export is None or export.state not in LIVE:
        return 0
    return still_needed_bytes(
        estimated_bytes=export.estimated_bytes,
        tile_count=export.tiles_expected,
        tiles_done=export.tiles_done,
        bytes_written=export.bytes_written,
    )


def attempt_of(result: ExportFinished) -> str:
    """The run that made a package, as its address names it; the result is a success."""
    return result.file_uri.split("/")[-2]
