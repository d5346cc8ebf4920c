"""`GET /exports` and `GET /exports/{id}`: what a caller is told of its exports."""

from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from app.domain.errors import InvalidRequest, told
from app.domain.judgement import MAX_REQUEST_ID_CHARS
from app.ingress.access_log import REQUEST_ID
from app.ingress.create_export import ExportDesk
from app.ingress.export_body import accepted_body, export_body
from app.ingress.export_list import list_exports, parse_list_query
from app.ingress.identity import identity_of
from app.ingress.json_answer import json_answer
from app.ingress.refusals import UnknownRequest

VIEW_WAIT_S: Final = 2.0
"""How long an unknown request is waited for: another ingress may have taken it in just now."""


def spellings(field: str, request_id: str) -> tuple[str, ...]:
    """The ids that a caller may mean: what is written, or that in lower case.

    Our own ids are uuids in lower case, and those of producers whatever they chose.

    Raises:
        InvalidRequest: No request can have this id.

    >>> spellings("id", "A1"), spellings("id", "a1")
    (('A1', 'a1'), ('a1',))
    """
    if not 0 < len(request_id) <= MAX_REQUEST_ID_CHARS:
        raise InvalidRequest(
            f"{field} is {told(request_id)}; it must have 1 to {MAX_REQUEST_ID_CHARS} characters"
        )
    return tuple(dict.fromkeys((request_id, request_id.lower())))


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
            InvalidRequest: No request can have this id.
            UnknownRequest: There is none, or it is another client's.
        """
        request_id = request[REQUEST_ID] = request.match_info["id"]
        meant = spellings("id", request_id)
        view, identity = self.desk.view, identity_of(request)

        def look() -> str | None:
            for one in meant:
                owner = self.desk.client_of(one)
                if owner is not None and identity.may_see(owner):
                    return one
            return None

        # Another client's request is waited for like one that is not there: no answer, nor the
        # time it takes, tells the two apart.
        found = await view.wait_for(meant[-1], look, VIEW_WAIT_S) or look()
        if found is None:
            raise UnknownRequest(request_id)
        return view.answering(found)

    def body(self, request_id: str) -> dict[str, Any]:
        """Tell all that is known of a request that `find` has found.

        Raises:
            UnknownRequest: It was forgotten meanwhile.
        """
        body = export_body(self.desk.view, request_id, now_ms=self.desk.now_ms(), whole=True)
        if body is not None:
            return body
        asked = self.desk.accepted.asked(request_id)
        if asked is None:
            raise UnknownRequest(request_id)
        return accepted_body(asked)
