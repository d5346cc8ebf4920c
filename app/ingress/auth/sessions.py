"""`/session`: the page's sign-in, a token kept in a cookie that no script can read."""

from datetime import UTC, datetime
from typing import Any, Final

import orjson
from aiohttp import web

from app.domain.errors import InvalidRequest
from app.ingress.audit import audit
from app.ingress.auth.gate import SESSION_COOKIE, Gate, presented_token
from app.ingress.auth.origins import is_cross_site
from app.ingress.auth.refusals import CallerRefused, NotAllowed
from app.ingress.auth.tokens import MAX_TOKEN_CHARS
from app.ingress.identity import ANONYMOUS, IDENTITY, Identity
from app.ingress.json_answer import json_answer
from app.ingress.request_body import read_body

MAX_BODY_BYTES: Final = MAX_TOKEN_CHARS + 1_000


def session_routes(gate: Gate) -> list[web.RouteDef]:
    """Make the routes of the page's session.

    Args:
        gate: Judges the token.
    """

    async def show(request: web.Request) -> web.Response:
        """`GET /session`: who asks; nobody is told so, not refused."""
        if not gate.asks_for_tokens:
            return json_answer(_told(ANONYMOUS, gate))
        presented = presented_token(request)
        try:
            bearer = await gate.verify(presented.token, request) if presented else None
        except CallerRefused:
            bearer = None
        return json_answer(_told(bearer.identity if bearer else None, gate))

    async def open_(request: web.Request) -> web.Response:
        """`POST /session`: verify a token and keep it in the cookie until it expires."""
        _refuse_other_pages(request, gate)
        if not gate.asks_for_tokens:
            raise InvalidRequest("no keys are configured; everybody is anonymous without a session")
        token = _token_of(await read_body(request, max_bytes=MAX_BODY_BYTES))
        bearer = await gate.verify(token, request)
        request[IDENTITY] = bearer.identity
        audit(request, "session_opened")
        expires_at = datetime.fromtimestamp(bearer.expires_at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        answer = json_answer(_told(bearer.identity, gate) | {"expiresAt": expires_at})
        answer.set_cookie(
            SESSION_COOKIE,
            token,
            max_age=max(0, bearer.expires_at_s - int(gate.now_s())),
            httponly=True,
            samesite="Strict",
            secure=_is_https(gate),
            path="/",
        )
        return answer

    async def close(request: web.Request) -> web.Response:
        """`DELETE /session`: forget the cookie."""
        _refuse_other_pages(request, gate)
        answer = web.Response(status=204)
        answer.del_cookie(
            SESSION_COOKIE, httponly=True, samesite="Strict", secure=_is_https(gate), path="/"
        )
        return answer

    return [
        web.get("/session", show),
        web.post("/session", open_),
        web.delete("/session", close),
    ]


def _told(identity: Identity | None, gate: Gate) -> dict[str, Any]:
    return {
        "client": identity.client if identity else None,
        "administrator": identity is not None and identity.is_administrator,
        "authRequired": gate.asks_for_tokens,
    }


def _is_https(gate: Gate) -> bool:
    return gate.public_origin is not None and gate.public_origin.startswith("https:")


def _refuse_other_pages(request: web.Request, gate: Gate) -> None:
    """A page of somebody else must not sign its visitor in or out of ours."""
    if is_cross_site(request.headers, gate.own_origins(request)):
        raise NotAllowed("a session may be opened and closed by this service's own page only")


def _token_of(body: bytes) -> str:
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest("body is no JSON; it must be an object with token") from error
    if not isinstance(told, dict) or not isinstance(told.get("token"), str) or len(told) > 1:
        raise InvalidRequest('body must be {"token": "..."}, and nothing else')
    return str(told["token"])
