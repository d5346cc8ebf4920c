"""The HTTP surface: routes, and handlers that only translate."""

import asyncio
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import orjson
from aiohttp import hdrs, web

from app.catalogue.port import Catalogue
from app.domain.errors import InvalidRequest
from app.ingress.access_log import REQUEST_ID
from app.ingress.commands import ExportCommands
from app.ingress.create_export import ExportDesk
from app.ingress.downloads import answer_download, find_download
from app.ingress.exports import ExportReader
from app.ingress.identity import identity_of
from app.ingress.json_answer import json_answer
from app.ingress.layers import parse_bbox_parameter, public_layers
from app.ingress.openapi import openapi_document
from app.ingress.ports import PackageFiles, Readiness, RequestPublisher
from app.ingress.problems import problem, problems_as_json
from app.ingress.request_body import read_body
from app.ingress.view import TaskStatus

VIEW_WAIT_S: Final = 2.0
"""How long an unknown request is waited for: another ingress may have taken it in just now."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class IngressParts:
    """What the handlers work with.

    Attributes:
        desk: Takes requests in; holds view and clock.
        publisher: The way of commands into `export-requests`.
        catalogue: Lists the layers.
        files: Finished packages.
        readiness: What `GET /readyz` asks.
        base_url: Address of this service, without a slash at the end.
        max_body_bytes: Largest request body.
    """

    desk: ExportDesk
    publisher: RequestPublisher
    catalogue: Catalogue
    files: PackageFiles
    readiness: Readiness
    base_url: str
    max_body_bytes: int


PARTS: Final = web.AppKey("parts", IngressParts)
OPENAPI: Final = web.AppKey("openapi", bytes)


def build_web_app(parts: IngressParts) -> web.Application:
    """Build the application; starting and stopping its parts is `app.ingress.run`'s task.

    Args:
        parts: What the handlers work with.
    """
    web_app = web.Application(middlewares=[problems_as_json])
    web_app[PARTS] = parts
    web_app[OPENAPI] = orjson.dumps(openapi_document(parts.base_url))
    web_app.add_routes(
        [
            web.post("/create", create),
            web.get("/taskStatus/{id}", task_status),
            web.get("/layers", layers),
            web.get("/downloads/{export_id}/{attempt}/{name}", download),
            web.get("/livez", livez),
            web.get("/readyz", readyz),
            web.get("/openapi.json", openapi),
        ]
    )
    reader = ExportReader(parts.desk)
    web_app.add_routes(reader.routes())
    web_app.add_routes(ExportCommands(reader, parts.publisher).routes())
    return web_app


async def create(request: web.Request) -> web.Response:
    """`POST /create`: ask for an export."""
    parts = request.app[PARTS]
    request_id = request[REQUEST_ID] = str(uuid4())
    body = await read_body(request, max_bytes=parts.max_body_bytes)
    answer = await parts.desk.create(body, request_id, identity_of(request).client)
    if answer.status >= HTTPStatus.BAD_REQUEST:
        return problem(answer.status, answer.body["message"])
    return json_answer(answer.body, status=answer.status)


async def task_status(request: web.Request) -> web.Response:
    """`GET /taskStatus/{id}`: how far a request is."""
    request_id = request[REQUEST_ID] = request.match_info["id"]
    if not _UUID.fullmatch(request_id):
        raise InvalidRequest(f"id is {request_id!r:.80}; it must be a uuid")
    desk = request.app[PARTS].desk

    def look() -> TaskStatus | None:
        known = desk.view.task_status(request_id, now_ms=desk.now_ms())
        return known or (TaskStatus(0, "Pending") if request_id in desk.accepted else None)

    status = await desk.view.wait_for(request_id, look, VIEW_WAIT_S)
    if status is None:
        return problem(HTTPStatus.NOT_FOUND, f"id is {request_id}; there is no such request")
    body: dict[str, Any] = {"percentage": status.percentage, "status": status.status}
    if status.reason is not None:
        body["errorReason"] = status.reason
    return json_answer(body)


async def layers(request: web.Request) -> web.Response:
    """`GET /layers`: what can be exported."""
    box = parse_bbox_parameter(request.query.get("bbox"))
    records = await request.app[PARTS].catalogue.all()
    return json_answer(await asyncio.to_thread(public_layers, records, box))


async def download(request: web.Request) -> web.StreamResponse:
    """`GET /downloads/...`: a package or its metadata."""
    where: dict[str, Any] = dict(request.match_info)
    stored = await find_download(request.app[PARTS].files, **where)
    if stored is None:
        return problem(HTTPStatus.NOT_FOUND, f"there is no file at {request.path:.300}")
    return answer_download(request, stored)


async def livez(_request: web.Request) -> web.Response:
    """`GET /livez`: the process answers."""
    return json_answer({"status": "ok", "problems": []})


async def readyz(request: web.Request) -> web.Response:
    """`GET /readyz`: whether requests can be taken in now."""
    problems = await request.app[PARTS].readiness.problems()
    if problems:
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(problems))
    return json_answer({"status": "ok", "problems": []})


async def openapi(request: web.Request) -> web.Response:
    """`GET /openapi.json`: the description of all this."""
    return web.Response(
        body=request.app[OPENAPI],
        content_type="application/json",
        headers={hdrs.CACHE_CONTROL: "no-cache"},
    )
