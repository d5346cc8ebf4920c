"""The HTTP surface: routes, and handlers that only translate."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import orjson
from aiohttp import hdrs, web

from app.catalogue.port import Catalogue
from app.ingress.access_log import REQUEST_ID
from app.ingress.areas import AreaDesk
from app.ingress.arrival import arrivals
from app.ingress.audit import audit
from app.ingress.auth.access import Access
from app.ingress.auth.gate import gatekeeper
from app.ingress.auth.sessions import session_routes
from app.ingress.commands import MAX_DAYS_AHEAD, ExportCommands
from app.ingress.create_export import ExportDesk
from app.ingress.deliveries import DeliveryDesk
from app.ingress.downloads import answer_download, find_download, missing_download
from app.ingress.estimate import Estimator
from app.ingress.event_feed import EventFeed
from app.ingress.events import EventStreams
from app.ingress.exports import ExportReader, spellings
from app.ingress.identity import ANONYMOUS, identity_of
from app.ingress.json_answer import json_answer
from app.ingress.layer_tiles import LayerTiles
from app.ingress.layers import parse_bbox_parameter, public_layers
from app.ingress.link_desk import LinkDesk
from app.ingress.openapi import openapi_document
from app.ingress.package_tiles import PackageTiles, ReadTile
from app.ingress.page import WebPage
from app.ingress.ports import PackageFiles, Readiness, RequestPublisher
from app.ingress.problems import problem, problems_as_json
from app.ingress.refusals import UnknownRequest
from app.ingress.request_body import read_body
from app.ingress.response_headers import add_headers_to_all, cross_origin
from app.ingress.storage import StorageDesk, StorageGauge
from app.ingress.view import TaskStatus
from app.package.tile_reader import read_unfinished
from app.sources.tile_source import TileSource

VIEW_WAIT_S: Final = 2.0
"""How long an unknown request is waited for: another ingress may have taken it in just now."""
SENT: Final = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT)


@dataclass(frozen=True, slots=True)
class IngressParts:
    """What the handlers work with.

    Attributes:
        desk: Takes requests in; holds view and clock.
        publisher: The way of commands into `export-requests`.
        catalogue: Lists the layers.
        files: Finished packages.
        access: Who may come in.
        feed: Says what has changed.
        readiness: What `GET /readyz` asks.
        base_url: Address of this service, without a slash at the end.
        max_body_bytes: Largest request body.
        package_max_days: How far a package may be extended, days.
        open_source: From the source part of a layer record to its tiles.
        read_tile: Reads one tile of a finished package.
    """

    desk: ExportDesk
    publisher: RequestPublisher
    catalogue: Catalogue
    files: PackageFiles
    access: Access
    feed: EventFeed
    readiness: Readiness
    base_url: str
    max_body_bytes: int
    open_source: Callable[[Any], TileSource]
    read_tile: ReadTile
    package_max_days: int = MAX_DAYS_AHEAD


PARTS: Final = web.AppKey("parts", IngressParts)
OPENAPI: Final = web.AppKey("openapi", bytes)


def build_web_app(parts: IngressParts) -> web.Application:
    """Build the application; starting and stopping its parts is `app.ingress.run`'s task.

    Args:
        parts: What the handlers work with.
    """
    access = parts.access
    web_app = web.Application(
        middlewares=[
            arrivals(access.trusted_proxies),
            cross_origin(access.gate.page_origins),
            problems_as_json,
            gatekeeper(access.gate),
        ]
    )
    add_headers_to_all(web_app, access.gate.page_origins)
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
    web_app.add_routes(EventStreams(reader, parts.feed).routes())
    web_app.on_shutdown.append(parts.feed.end)
    web_app.add_routes(reader.routes())
    commands = ExportCommands(
        reader,
        parts.publisher,
        effect_wait_s=parts.desk.verdict_wait_s,
        max_days_ahead=parts.package_max_days,
    )
    web_app.add_routes(commands.routes())
    web_app.add_routes(DeliveryDesk(commands).routes())
    web_app.add_routes(LinkDesk(reader, access.links).routes())
    web_app.add_routes(session_routes(access.gate))
    gauge = StorageGauge(parts.files, lambda: parts.desk.view.reserved_bytes)
    web_app.add_routes(StorageDesk(gauge).routes())
    web_app.add_routes(Estimator(parts.desk, gauge, parts.max_body_bytes).routes())
    web_app.add_routes(AreaDesk().routes())
    web_app.add_routes(WebPage().routes())
    web_app.add_routes(LayerTiles(parts.catalogue, parts.open_source).routes())
    web_app.add_routes(PackageTiles(reader, parts.files, parts.read_tile, read_unfinished).routes())
    return web_app


async def create(request: web.Request) -> web.Response:
    """`POST /create`: ask for an export."""
    parts = request.app[PARTS]
    request_id = request[REQUEST_ID] = str(uuid4())
    body = await read_body(request, max_bytes=parts.max_body_bytes)
    answer = await parts.desk.create(body, request_id, identity_of(request).client)
    if answer.status >= HTTPStatus.BAD_REQUEST:
        return problem(answer.status, answer.body["message"], request_id=answer.body["requestId"])
    audit(request, "export_asked", request_id=request_id, answered_by=answer.body["requestId"])
    return json_answer(answer.body, status=answer.status)


async def task_status(request: web.Request) -> web.Response:
    """`GET /taskStatus/{id}`: how far a request is."""
    request_id = request[REQUEST_ID] = request.match_info["id"]
    meant = spellings("id", request_id)
    desk = request.app[PARTS].desk
    identity = identity_of(request)

    def look() -> TaskStatus | None:
        for one in meant:
            # Of what only the result is known of, nobody knows who asked.
            if not identity.may_see(desk.client_of(one) or ANONYMOUS.client):
                continue
            known = desk.view.task_status(one, now_ms=desk.now_ms())
            if known is not None or one in desk.accepted:
                return known or TaskStatus(0, "Pending")
        return None

    status = await desk.view.wait_for(meant[-1], look, VIEW_WAIT_S) or look()
    if status is None:
        raise UnknownRequest(request_id)
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
    parts = request.app[PARTS]
    stored = await find_download(parts.files, **where)
    if stored is None:
        return missing_download(parts.desk.view, **where, path=request.path)
    answer = answer_download(request, stored)
    if request.method == hdrs.METH_GET and answer.status in SENT:
        audit(
            request,
            "file_downloaded",
            export_id=where["export_id"],
            name=where["name"],
            byte_range=request.headers.get(hdrs.RANGE),
        )
    return answer


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
