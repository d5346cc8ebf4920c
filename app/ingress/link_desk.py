"""`POST /exports/{id}/links`: addresses of a finished package that need no token for a while."""

from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web

from app.ingress.audit import audit
from app.ingress.auth.links import LinkMaker
from app.ingress.exports import ExportReader
from app.ingress.json_answer import json_answer
from app.ingress.refusals import NothingToDo, PackageGone


@dataclass(frozen=True, slots=True)
class LinkDesk:
    """Hands out presigned links.

    Attributes:
        reader: Finds the exports of a caller.
        links: Signs.
    """

    reader: ExportReader
    links: LinkMaker

    def routes(self) -> list[web.RouteDef]:
        """The route of the links."""
        return [web.post("/exports/{id}/links", self.make)]

    async def make(self, request: web.Request) -> web.Response:
        """`POST /exports/{id}/links`: to package and metadata of the caller's own export.

        Raises:
            UnknownRequest: It is not there, or not the caller's.
            PackageGone: It has expired.
            NothingToDo: There is no package yet, or never will be.
        """
        request_id = await self.reader.find(request)
        now_ms, view = self.reader.desk.now_ms(), self.reader.desk.view
        status = view.task_status(request_id, now_ms=now_ms)
        told = "Pending" if status is None else status.status
        if told == "Expired":
            raise PackageGone(f"the package of export {request_id} has expired")
        result = view.result(request_id)
        if result is None or not result.success:
            raise NothingToDo(f"export {request_id} is {told}; it has no package")
        expires_at_s = now_ms // 1000 + self.links.lifetime_s
        expires_at = datetime.fromtimestamp(expires_at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        audit(request, "link_made", request_id=request_id, expires_at=expires_at)
        return json_answer(
            {
                "fileUri": self.links.link(result.file_uri, expires_at_s),
                "metadataUri": self.links.link(result.metadata_uri, expires_at_s),
                "expiresAt": expires_at,
            }
        )
