"""Every error as `{"message": ...}`, whoever raised it."""

from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from app.domain.errors import InvalidRequest, TemporaryFailure, TooManyRequests
from app.ingress.auth.refusals import CallerRefused, NotAuthenticated
from app.ingress.json_answer import json_answer

log = structlog.get_logger(__name__)

RETRY_AFTER_S: Final = 5
"""When to come again after a 503: brokers and catalogues restart within seconds."""


@web.middleware
async def problems_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what went wrong in the caller's terms, and what is our fault with a bare 500."""
    try:
        return await handler(request)
    except InvalidRequest as error:
        wait_s = error.retry_after_s if isinstance(error, TooManyRequests) else RETRY_AFTER_S
        return problem(error.http_status, str(error), wait_s)
    except CallerRefused as error:
        return _refused(error)
    except TemporaryFailure as error:
        log.warning("temporary_failure", path=request.path, reason=str(error))
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
    except web.HTTPException as error:
        return _routing_problem(request, error)
    except Exception:
        log.exception("bug", method=request.method, path=request.path)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "this is our fault; it has been logged")


def problem(
    status: int,
    message: str,
    retry_after_s: int = RETRY_AFTER_S,
    *,
    request_id: str | None = None,
) -> web.Response:
    """Build the answer of an error.

    Args:
        status: 400 or more; 429 and 503 say when to come again.
        message: For people; names field, value and limit.
        retry_after_s: When to come again, seconds.
        request_id: Of a request that was taken in before it was refused.
    """
    known = {} if request_id is None else {"requestId": request_id}
    answer = json_answer({"message": message} | known, status=status)
    if status == HTTPStatus.REQUEST_TIMEOUT:
        answer.force_close()  # the rest of the body may come for ever
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        answer.headers[hdrs.RETRY_AFTER] = str(retry_after_s)
    return answer


def _refused(error: CallerRefused) -> web.Response:
    answer = problem(error.http_status, str(error))
    if isinstance(error, NotAuthenticated):
        answer.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="raster exports"'
    return answer


def _routing_problem(request: web.Request, error: web.HTTPException) -> web.Response:
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        answer = problem(error.status, f"{request.method} is not allowed here; use {allowed}")
        answer.headers[hdrs.ALLOW] = allowed
        return answer
    if isinstance(error, web.HTTPNotFound):
        return problem(error.status, f"there is nothing at {request.path:.200}")
    return problem(error.status, error.reason)
