"""JSON answers."""

from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import hdrs, web


def json_answer(body: Any, *, status: int = HTTPStatus.OK) -> web.Response:
    """Answer with JSON that no proxy keeps: every one of our answers changes with time."""
    return web.Response(
        body=orjson.dumps(body, default=dict),
        status=status,
        content_type="application/json",
        headers={hdrs.CACHE_CONTROL: "no-store"},
    )
