"""What callers order about their exports: cancel, delete, keep longer, try again, deliver again.

The registrar alone decides. What the view knows to be pointless is refused at once; else the
order is published, its effect awaited for a moment, and the export told as it is then.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Final
from uuid import uuid4

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from app.domain.errors import InvalidRequest
from app.domain.iso_time import iso_time
from app.domain.judgement import bbox_value
from app.domain.records import ExportCommanded, ExportRequested
from app.domain.requested_features import says_own_resolutions
from app.domain.world_crs84_quad import COARSEST_RESOLUTION_DEG
from app.ingress.audit import audit, audit_command
from app.ingress.exports import ExportReader
from app.ingress.identity import identity_of
from app.ingress.json_answer import json_answer
from app.ingress.ports import RequestPublisher
from app.ingress.problems import problem
from app.ingress.refusals import NothingToDo
from app.ingress.request_body import parse_model, read_body
from app.ingress.view import LIVE

MAX_PATCH_BYTES: Final = 10_000
MAX_DAYS_AHEAD: Final = 365
"""Unless the settings say otherwise; whoever wants a package for longer pins it."""
DAY_MS: Final = 24 * 3600 * 1000
RETRIABLE: Final = frozenset({"Failed", "Aborted", "Expired"})
PATCH_EXAMPLE: Final[dict[str, Any]] = {"expirationTime": "2027-01-31T00:00:00Z", "pinned": True}


class ExportPatch(BaseModel):
    """What can be changed of a finished export; what is absent stays."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [PATCH_EXAMPLE]}
    )

    expiration_time: Annotated[
        str | None,
        Field(
            alias="expirationTime",
            description="When the package may go, ISO 8601; never earlier than it may already.",
            json_schema_extra={"format": "date-time"},
        ),
    ] = None
    pinned: Annotated[
        bool | None, Field(description="Whether the package is kept beyond its expiry.")
    ] = None


@dataclass(frozen=True, slots=True)
class ExportCommands:
    """Passes the orders of callers on.

    Attributes:
        reader: Finds exports, and tells them.
        publisher: The way into `export-requests`.
        effect_wait_s: How long an answer waits for the effect, seconds.
        max_days_ahead: How far a package may be extended, days.
    """

    reader: ExportReader
    publisher: RequestPublisher
    effect_wait_s: float
    max_days_ahead: int = MAX_DAYS_AHEAD

    def routes(self) -> list[web.RouteDef]:
        """The routes that this answers."""
        return [
            web.delete("/exports/{id}", self.remove),
            web.patch("/exports/{id}", self.change),
            web.post("/exports/{id}/retry", self.retry),
        ]

    async def remove(self, request: web.Request) -> web.Response:
        """`DELETE /exports/{id}`: cancel an open export, delete the package of a finished one."""
        request_id = await self.reader.find(request)
        status = self._status(request_id)
        if status in RETRIABLE:
            raise NothingToDo(f"export {request_id} is {status}; there is nothing to delete")
        await self.order(request, request_id, "cancel" if status in LIVE else "delete")
        view = self.reader.desk.view
        # A deletion shows first in the request's own record, a cancellation in its result.
        await view.wait_for(
            request_id,
            lambda: self._status(request_id) in RETRIABLE or None,
            self.effect_wait_s,
        )
        return json_answer(self.reader.body(request_id), status=HTTPStatus.ACCEPTED)

    async def change(self, request: web.Request) -> web.Response:
        """`PATCH /exports/{id}`: keep the package until another time, or for ever."""
        request_id = await self.reader.find(request)
        patch = parse_model(ExportPatch, await read_body(request, max_bytes=MAX_PATCH_BYTES))
        expires_at_ms = _expiry(
            patch.expiration_time, self.reader.desk.now_ms(), self.max_days_ahead
        )
        if expires_at_ms is None and patch.pinned is None:
            raise InvalidRequest("body changes nothing; it must have expirationTime or pinned")
        status = self._status(request_id)
        if status != "Completed":
            raise NothingToDo(f"export {request_id} is {status}; only a Completed one is kept")
        if expires_at_ms is not None:
            self._check_promise(request_id, expires_at_ms)
            await self.order(request, request_id, "extend", str(expires_at_ms))
        if patch.pinned is not None:
            await self.order(request, request_id, "pin" if patch.pinned else "unpin")
        await self._wait_for_change(request_id, expires_at_ms, pinned=patch.pinned)
        return json_answer(self.reader.body(request_id))

    async def retry(self, request: web.Request) -> web.Response:
        """`POST /exports/{id}/retry`: ask for the same again; what is there is not read again."""
        request_id = await self.reader.find(request)
        status = self._status(request_id)
        if status not in RETRIABLE:
            raise NothingToDo(
                f"export {request_id} is {status}; "
                f"it can be tried again once it is {' or '.join(sorted(RETRIABLE))}"
            )
        self._check_admitted(request_id)
        answer = await self.reader.desk.take(self._again(request_id))
        if answer.status >= HTTPStatus.BAD_REQUEST:
            return problem(
                answer.status, answer.body["message"], request_id=answer.body["requestId"]
            )
        audit(request, "export_retried", request_id=request_id, again=answer.body["requestId"])
        return json_answer(answer.body, status=answer.status)

    async def order(
        self, request: web.Request, request_id: str, command: str, argument: str | None = None
    ) -> None:
        """Publish an order in the name of the caller, who may be an administrator.

        Where nobody says who they are, it is whoever asked for the export.

        Raises:
            TemporaryFailure: The broker did not acknowledge it.
        """
        identity = identity_of(request)
        client = self.reader.desk.client_of(request_id) if identity.is_anybody else None
        await self.publisher.publish(
            ExportCommanded(
                request_id=request_id,
                at_ms=self.reader.desk.now_ms(),
                client=client or identity.client,
                command=command,
                argument=argument,
                by_administrator=identity.is_administrator,
                via_http=True,
            )
        )
        audit_command(request, command, request_id=request_id, argument=argument)

    def _status(self, request_id: str) -> str:
        desk = self.reader.desk
        status = desk.view.task_status(request_id, now_ms=desk.now_ms())
        return "Pending" if status is None else status.status

    def _check_admitted(self, request_id: str) -> None:
        """Refuse to ask again for what was refused: not all of it was kept.

        Raises:
            NothingToDo: It was.
        """
        seen = self.reader.desk.view.verdict(request_id)
        if seen is not None and not seen.is_admitted:
            raise NothingToDo(
                f"export {request_id} was refused: {seen.said.reason}; send a new request"
            )

    def _check_promise(self, request_id: str, expires_at_ms: int) -> None:
        """Refuse to keep a package shorter than it was promised, to this caller or another.

        Raises:
            InvalidRequest: It would be.
        """
        view = self.reader.desk.view
        seen = view.verdict(request_id)
        export = view.export(seen.export_id) if seen is not None and seen.export_id else None
        if export is not None and expires_at_ms < export.expires_at_ms:
            asked, promised = (iso_time(at_ms) for at_ms in (expires_at_ms, export.expires_at_ms))
            raise InvalidRequest(
                f"expirationTime is {asked}; the package is promised until {promised}, "
                f"and can only be kept longer"
            )

    async def _wait_for_change(
        self, request_id: str, expires_at_ms: int | None, *, pinned: bool | None
    ) -> None:
        """Wait a moment for what was ordered: the export tells the time, the request its pin."""
        view = self.reader.desk.view
        seen = view.verdict(request_id)
        export_id = seen.export_id if seen is not None else None
        if export_id is None:
            return

        def is_kept() -> bool | None:
            export = view.export(export_id)
            return export is None or expires_at_ms in (None, export.expires_at_ms) or None

        def is_pinned() -> bool | None:
            seen = view.verdict(request_id)
            return seen is None or pinned in (None, seen.said.pinned) or None

        await view.wait_for(export_id, is_kept, self.effect_wait_s)
        await view.wait_for(request_id, is_pinned, self.effect_wait_s)

    def _again(self, request_id: str) -> ExportRequested:
        """The same request once more, from what the view kept of it.

        Raises:
            NothingToDo: Its area was too large to be kept.
        """
        desk = self.reader.desk
        seen = desk.view.verdict(request_id)
        area = desk.view.areas.get(request_id)
        had_area = seen is not None and (seen.bounds is not None or seen.said.area_omitted)
        if seen is None or (area is None and had_area):
            raise NothingToDo(
                f"export {request_id} had an area that is not kept any more; "
                f"send it to /create again, with retryOf"
            )
        said = seen.said
        coarsest = COARSEST_RESOLUTION_DEG / 2**said.min_zoom if said.min_zoom else None
        of_features = says_own_resolutions(bbox_value(area))
        return ExportRequested(
            request_id=str(uuid4()),
            layer_id=said.layer_id,
            at_ms=desk.now_ms(),
            client=said.client,
            bbox_json=area,
            target_resolution_deg=None if of_features else said.target_resolution_deg,
            min_resolution_deg=None if of_features else coarsest,
            callback_urls=said.callback_urls,
            priority=said.priority,
            description=said.description,
            on_error=said.on_error,
            via_http=True,
            retry_of=request_id,
        )


def _expiry(text: str | None, now_ms: int, max_days_ahead: int) -> int | None:
    """Read when a package may go, ms since 1970 UTC; None: not asked for."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        at_ms = int(at.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(
            f"expirationTime is {text!r:.80}; it must be a time such as 2027-01-31T00:00:00Z"
        ) from error
    if not now_ms < at_ms <= now_ms + max_days_ahead * DAY_MS:
        raise InvalidRequest(
            f"expirationTime is {text}; it must lie ahead, by at most {max_days_ahead} days"
        )
    return at_ms
