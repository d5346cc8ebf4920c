"""The list of exports: what a caller may filter by, and pages that stand still."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, get_args

from app.domain.errors import InvalidRequest
from app.ingress.export_body import export_body
from app.ingress.identity import TOKEN_PARAMETER, Identity
from app.ingress.request_index import Spot
from app.ingress.view import IngressView, Status

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
MAX_LOOKED_AT: Final = 10_000
"""Requests looked at for one page, about 0.1 s: a rare status must not hold up everybody else.
A page may therefore hold fewer than `limit`, even none, and still name a next one."""
END_OF_TIME_MS: Final = 1 << 62
STATUSES: Final = get_args(Status)
FILTERS: Final = ("status", "layer", "from", "to", "limit", "cursor", "client")

_CURSOR: Final = re.compile(r"(\d{1,18}):(.{0,1000})", re.ASCII | re.DOTALL)
"""Time and id; the id of what admission refused may be longer than others, or empty."""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What a caller wants to see.

    Attributes:
        client: Whose; None: everybody's.
        status: One of the contract's words; None: any.
        layer: Only of this layer; None: of any.
        from_ms: Not accepted earlier, ms since 1970 UTC.
        to_ms: Accepted before this time, ms since 1970 UTC.
        limit: Most exports of a page.
        before: Where the last page ended; None: the first page.
    """

    client: str | None
    status: str | None
    layer: str | None
    from_ms: int
    to_ms: int
    limit: int
    before: Spot | None


def parse_list_query(query: Mapping[str, str], identity: Identity) -> ListQuery:
    """Read the query parameters of `GET /exports`.

    Args:
        query: As aiohttp parsed it.
        identity: Who asks; with keys only an administrator sees the exports of others.

    Raises:
        InvalidRequest: A parameter is unknown, or its value is none that it may have.
    """
    unknown = sorted(set(query) - {*FILTERS, TOKEN_PARAMETER})
    if unknown:
        raise InvalidRequest(f"{unknown[0]:.80} is unknown; known are {', '.join(FILTERS)}")
    client: str | None = query.get("client")
    if not identity.sees_all:
        if client not in (None, identity.client):
            raise InvalidRequest(f"client is {client!r:.80}; only an administrator may ask for it")
        client = identity.client
    status = query.get("status")
    if status is not None and status not in STATUSES:
        raise InvalidRequest(f"status is {status!r:.80}; it must be {' or '.join(STATUSES)}")
    layer = query.get("layer")
    return ListQuery(
        client=client,
        status=status,
        layer=None if layer is None else layer.lower(),
        from_ms=_time("from", query.get("from"), 0),
        to_ms=_time("to", query.get("to"), END_OF_TIME_MS),
        limit=_limit(query.get("limit")),
        before=_parse_cursor(query.get("cursor")),
    )


def list_exports(view: IngressView, asked: ListQuery, *, now_ms: int) -> dict[str, Any]:
    """Cut one page; new requests come before it, so the pages that follow do not move.

    Args:
        view: What registrar and completion said.
        asked: Filters and place.
        now_ms: The time now, ms since 1970 UTC.

    Returns:
        The model `ExportPage`, ready for JSON.
    """
    found: list[dict[str, Any]] = []
    last: Spot | None = None
    spots = view.index.newest_first(
        asked.client, before=asked.before, from_ms=asked.from_ms, to_ms=asked.to_ms
    )
    for number, spot in enumerate(spots):
        if len(found) == asked.limit or number == MAX_LOOKED_AT:
            return {"exports": found, "next": None if last is None else _cursor(last)}
        last = spot
        if not _matches(view, spot[1], asked, now_ms):
            continue
        body = export_body(view, spot[1], now_ms=now_ms, whole=False)
        if body is not None:
            found.append(body)
    return {"exports": found, "next": None}


def _matches(view: IngressView, request_id: str, asked: ListQuery, now_ms: int) -> bool:
    if asked.layer is not None:
        seen = view.verdict(request_id)
        if seen is None or seen.said.layer_id != asked.layer:
            return False
    if asked.status is None:
        return True
    status = view.task_status(request_id, now_ms=now_ms)
    return status is not None and status.status == asked.status


def _time(field: str, text: str | None, otherwise: int) -> int:
    if text is None:
        return otherwise
    try:
        at = datetime.fromisoformat(text)
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        return int(at.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(
            f"{field} is {text!r:.80}; it must be a time such as 2026-11-23T03:30:00Z"
        ) from error


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= MAX_LIMIT):
        raise InvalidRequest(f"limit is {text!r:.80}; it must be an integer from 1 to {MAX_LIMIT}")
    return int(text)


def _cursor(spot: Spot) -> str:
    return base64.urlsafe_b64encode(f"{spot[0]}:{spot[1]}".encode()).decode().rstrip("=")


def _parse_cursor(text: str | None) -> Spot | None:
    if text is None:
        return None
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)
        found = _CURSOR.fullmatch(plain.decode())
    except (binascii.Error, ValueError):
        found = None
    if found is None:
        raise InvalidRequest(f"cursor is {text!r:.80}; it must be the `next` of an earlier page")
    return int(found[1]), found[2]
