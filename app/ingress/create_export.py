"""The use case behind `POST /create`: judge, publish, and wait a little for the verdict."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from app.catalogue.port import Catalogue
from app.domain.client_limits import ClientLimits, too_many_requests
from app.domain.errors import InvalidRequest, TooManyRequests, UnknownLayer
from app.domain.judgement import Judgement, RequestLimits, check_plain_fields, judge
from app.domain.records import ExportFinished, ExportRequested
from app.domain.result import result_body
from app.ingress.accepted_requests import AcceptedRequests
from app.ingress.request_body import parse_create_request
from app.ingress.view import LIVE, IngressView, RequestSeen


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and JSON body of an answer."""

    status: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ExportDesk:
    """Takes requests in.

    Attributes:
        catalogue: Where layers are found.
        accepted: The way into `export-requests`.
        view: What registrar and completion say.
        limits: How much one request may ask for.
        verdict_wait_s: How long an answer waits for the registrar, seconds.
        now_ms: The clock, ms since 1970 UTC.
        check_backlog: Raises TemporaryFailure when a request would wait for nobody.
        client_limits: How much one client may ask for; the registrar counts its exports.
    """

    catalogue: Catalogue
    accepted: AcceptedRequests
    view: IngressView
    limits: RequestLimits
    verdict_wait_s: float
    now_ms: Callable[[], int]
    check_backlog: Callable[[], None] = lambda: None
    client_limits: ClientLimits = field(default_factory=ClientLimits)

    async def create(self, body: bytes, request_id: str, client: str = "anonymous") -> Answer:
        """Take one request in.

        Whatever the body and the layer's record decide is refused before anything is published.

        Args:
            body: As the caller sent it.
            request_id: The id that the request gets, a uuid.
            client: Who asks.

        Raises:
            InvalidRequest: The body or what it asks of this layer is wrong.
            TooManyRequests: The client has sent too many within a minute.
            UnknownLayer: The catalogue has no such layer.
            TemporaryFailure: Catalogue or broker are out of reach; nothing was accepted.
        """
        asked = await asyncio.to_thread(self.parse, body, request_id, client)
        await self._check_retry(asked)
        return await self.take(asked)

    async def take(self, asked: ExportRequested) -> Answer:
        """Take in a request whose plain fields are sound; see `create`."""
        layer = await self.catalogue.find(asked.layer_id)
        if layer is None:
            raise UnknownLayer(asked.layer_id)
        judgement = await asyncio.to_thread(judge, asked, layer, self.limits)
        self.check_backlog()
        self._count(asked)
        await self.accepted.accept(asked)
        return await self._answer(asked, judgement)

    def client_of(self, request_id: str) -> str | None:
        """Who asked; None: nothing is known of the request, or its result alone."""
        seen = self.view.verdict(request_id)
        if seen is not None:
            return seen.said.client
        asked = self.accepted.asked(request_id)
        return None if asked is None else asked.client

    def _count(self, asked: ExportRequested) -> None:
        """Count a request among those of its client, those of other ingresses among them."""
        now_ms, recent = self.now_ms(), self.view.recent
        count = recent.count(asked.client, now_ms)
        too_many = too_many_requests(self.client_limits, asked.client, count)
        if too_many is not None:
            raise TooManyRequests(too_many, recent.wait_s(asked.client, now_ms))
        recent.note(asked.request_id, asked.client, now_ms)

    def parse(self, body: bytes, request_id: str, client: str) -> ExportRequested:
        """Read a body as far as it can be judged without its layer; blocks for large ones.

        Raises:
            InvalidRequest: A field is wrong whatever the layer is.
        """
        asked = parse_create_request(body, request_id=request_id, at_ms=self.now_ms())
        asked = replace(asked, client=client)
        # Before the catalogue is asked: a wrong field is a 400 for unknown layers too.
        check_plain_fields(asked, self.limits)
        return asked

    async def _check_retry(self, asked: ExportRequested) -> None:
        """Refuse to try again what is not there, not the caller's, or not over.

        Raises:
            InvalidRequest: The field is `retryOf`.
        """
        old = asked.retry_of
        if old is None:
            return

        def look() -> RequestSeen | None:
            seen = self.view.verdict(old)
            return seen if seen is not None and seen.said.client == asked.client else None

        # Another client's request is waited for like one that is not there: see ExportReader.
        if await self.view.wait_for(old, look, self.verdict_wait_s) is None:
            raise InvalidRequest(f"retryOf is {old}; there is no such request")
        seen = self.view.verdict(self.view.answering(old))
        if seen is not None and not seen.is_admitted:
            raise InvalidRequest(
                f"retryOf is {old}, which was refused: {seen.said.reason}; send a new request"
            )
        status = self.view.task_status(self.view.answering(old), now_ms=self.now_ms())
        if status is None or status.status in LIVE or status.status == "Completed":
            told = "unknown" if status is None else status.status
            raise InvalidRequest(f"retryOf is {old}, which is {told}; it must have ended otherwise")

    async def _answer(self, asked: ExportRequested, judgement: Judgement) -> Answer:
        clock = asyncio.get_running_loop().time
        deadline_s = clock() + self.verdict_wait_s
        seen = await self.view.wait_for(
            asked.request_id, lambda: self.view.verdict(asked.request_id), self.verdict_wait_s
        )
        if seen is not None and seen.verdict == "Refused":
            # It is in the caller's list, and its webhooks are called: say by which id.
            return Answer(
                seen.said.http_status,
                {"message": seen.said.reason, "requestId": asked.request_id},
            )
        subject = self.view.answering(asked.request_id)
        # A repeat has a result of its own, with the expiry extended and links of today; only the
        # request that answers for it is the first one.
        finished = await self.view.wait_for(
            asked.request_id,
            lambda: self.view.result(asked.request_id),
            deadline_s - clock() if seen is not None and self._is_finished(seen) else 0,
        )
        if finished is not None and finished.success:
            return _completed(replace(finished, request_id=subject), asked, judgement)
        return Answer(
            HTTPStatus.OK,
            {
                "status": self.view.running_status(subject),
                "requestId": subject,
                "id": subject,
                "taskIds": [subject],
                "isDuplicated": seen is not None and seen.verdict in ("Joined", "Repeated"),
                "zoom": judgement.max_zoom,
            },
        )

    def _is_finished(self, seen: RequestSeen) -> bool:
        """Whether a result is on its way that the answer should hold."""
        if seen.verdict == "Cached":
            return True
        export = self.view.export(seen.export_id)
        return seen.verdict == "Repeated" and export is not None and export.state == "Completed"


def _completed(finished: ExportFinished, asked: ExportRequested, judgement: Judgement) -> Answer:
    """The whole result, echoing what this caller asked for."""
    body = result_body(
        replace(
            finished,
            bbox_json=asked.bbox_json,
            target_resolution_deg=judgement.target_resolution_deg,
        )
    )
    return Answer(HTTPStatus.OK, body | {"id": finished.request_id, "zoom": judgement.max_zoom})
