"""Headers of all answers: what a browser must not do with them, and which pages may read them."""

from collections.abc import Collection
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from app.ingress.auth.origins import ANY_ORIGIN

SECURITY: Final = {
    "X-Content-Type-Options": "nosniff",
    # Our own page still says where it is, so that is_same_origin works in old browsers.
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
ALLOW_HEADERS: Final = (
    "x-api-key, authorization, content-type, last-event-id, range, if-range, if-match, "
    "if-none-match, if-modified-since, if-unmodified-since"
)
ALLOW_METHODS: Final = "GET, HEAD, POST, PATCH, DELETE, OPTIONS"
EXPOSE_HEADERS: Final = (
    "etag, last-modified, content-range, accept-ranges, content-disposition, retry-after"
)
MAX_AGE_S: Final = 600

_ALLOWED: Final = web.RequestKey("cors_allowed_origin", str)
"""What Access-Control-Allow-Origin says; absent: other pages may not read the answer."""


def cross_origin(origins: Collection[str]) -> Middleware:
    """Make the middleware that answers preflights and notes which page may read an answer.

    No answer allows credentials: the session's cookie is for our own page, others send a token.

    Args:
        origins: Origins whose pages may use the API; `*`: all.
    """

    @web.middleware
    async def share(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get(hdrs.ORIGIN)
        if ANY_ORIGIN in origins:
            request[_ALLOWED] = ANY_ORIGIN
        elif origin is not None and origin in origins:
            request[_ALLOWED] = origin
        if (
            request.method == hdrs.METH_OPTIONS
            and origin is not None
            and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        ):
            return _preflight(is_allowed=_ALLOWED in request)
        return await handler(request)

    return share


def add_headers_to_all(web_app: web.Application, origins: Collection[str]) -> None:
    """Add the headers just before each answer goes out, streams and files as well.

    What a handler has set stays: the page brings a Content-Security-Policy of its own.
    """

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        for name, value in SECURITY.items():
            response.headers.setdefault(name, value)
        if (allowed := request.get(_ALLOWED)) is not None:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = allowed
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSE_HEADERS
        if origins and ANY_ORIGIN not in origins:
            response.headers.add(hdrs.VARY, hdrs.ORIGIN)

    web_app.on_response_prepare.append(add)


def _preflight(*, is_allowed: bool) -> web.Response:
    answer = web.Response(status=204)
    if is_allowed:
        answer.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = ALLOW_METHODS
        answer.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = ALLOW_HEADERS
        answer.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(MAX_AGE_S)
    return answer
