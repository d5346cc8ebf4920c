"""`GET /exports` and `GET /exports/{id}`: what a caller is told of its exports."""

from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from app.domain.errors import InvalidRequest
from app.ingress.access_log import REQUEST_ID
from app.ingress.create_export import ExportDesk
from app.ingress.export_body import accepted_body, export_body
from app.ingress.export_list import list_exports, parse_list_query
from app.ingress.identity import Identity, identity_of
from app.ingress.json_answer import json_answer
from app.ingress.refusals import UnknownRequest
from app.ingress.request_body import UUID_FORM

VIEW_WAIT_S: Final = 2.0
"""How long an unknown request is waited for: another ingress may have taken it in just now."""


@dataclass(frozen=True, slots=True)
class ExportReader:
    """Looks exports up for callers, and shows each its own only.

    Attributes:
        desk: Holds view, clock and the requests that were taken in here.
    """

    desk: ExportDesk

    def routes(self) -> list[web.RouteDef]:
        """The routes that this answers."""
        return [
            web.get("/exports", self.page, allow_head=False),
            web.get("/exports/{id}", self.show, allow_head=False),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """`GET /exports`: the caller's exports, newest first."""
        asked = parse_list_query(request.query, identity_of(request))
        return json_answer(list_exports(self.desk.view, asked, now_ms=self.desk.now_ms()))

    async def show(self, request: web.Request) -> web.Response:
        """`GET /exports/{id}`: all that is known of one export."""
        return json_answer(self.body(await self.find(request)))

    async def find(self, request: web.Request) -> str:
        """Find the request that a path names and the caller may see.

        A request that repeats another one is answered for by that one.

        Returns:
            Its id; the view knows it, or it was taken in here.

        Raises:
            InvalidRequest: No uuid.
            UnknownRequest: There is none, or it is another client's.
        """
        request_id = request[REQUEST_ID] = request.match_info["id"]
        if not UUID_FORM.fullmatch(request_id):
            raise InvalidRequest(f"id is {request_id!r:.80}; it must be a uuid")
        return await self.find_id(request_id.lower(), identity_of(request))

    async def find_id(self, request_id: str, identity: Identity) -> str:
        """Find a request that somebody may see; see `find`."""
        view = self.desk.view
        owner = await view.wait_for(request_id, lambda: self._owner(request_id), VIEW_WAIT_S)
        if owner is None or not (identity.is_administrator or owner == identity.client):
            raise UnknownRequest(request_id)
        return view.answering(request_id)

    def body(self, request_id: str) -> dict[str, Any]:
        """Tell all that is known of a request that `find` has found.

        Raises:
            UnknownRequest: It was forgotten meanwhile.
        """
        told = export_body(self.desk.view, request_id, now_ms=self.desk.now_ms(), whole=True)
        if told is not None:
            return told
        asked = self.desk.accepted.asked(request_id)
        if asked is None:
            raise UnknownRequest(request_id)
        return accepted_body(asked)

    def _owner(self, request_id: str) -> str | None:
        seen = self.desk.view.verdict(request_id)
        if seen is not None:
            return seen.said.client
        asked = self.desk.accepted.asked(request_id)
        return None if asked is None else asked.client
