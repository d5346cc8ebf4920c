"""One structured line a request, written when its answer has been sent."""

from typing import Final

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from app.ingress.arrival import ARRIVAL
from app.ingress.identity import IDENTITY, KNOWN_AS

log = structlog.get_logger(__name__)

REQUEST_ID: Final = web.RequestKey("request_id", str)
"""Where a handler leaves the id that it gave a request."""


class AccessLogger(AbstractAccessLogger):
    """Writes method, path, status, bytes and duration; never the query, which may hold a token."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the line of one request; `time` is in seconds."""
        log.info(
            "http_request",
            method=request.method,
            path=request.path,
            status=response.status,
            sent_bytes=response.body_length,
            duration_ms=round(time * 1000, 1),
            client=request[IDENTITY].client if IDENTITY in request else request.get(KNOWN_AS),
            client_address=request[ARRIVAL].address if ARRIVAL in request else request.remote,
            request_id=request.get(REQUEST_ID),
        )
