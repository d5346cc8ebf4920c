"""Starts the ingress with its real parts, and ends it when it is told to."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog
from aiohttp import web

from app.catalogue.port import Catalogue, SharedLookups
from app.domain.judgement import RequestLimits
from app.ingress.accepted_requests import AcceptedRequests
from app.ingress.access_log import AccessLogger
from app.ingress.broker import KafkaReadiness, KafkaRequests, read_into, watch_broker
from app.ingress.create_export import ExportDesk
from app.ingress.ports import PackageFiles
from app.ingress.view import IngressView
from app.ingress.web_app import IngressParts, build_web_app
from app.kafka.codec import Codec
from app.kafka.topics import Topics
from app.settings import Settings

log = structlog.get_logger(__name__)

STOP_GRACE_S: Final = 2.0
"""How long requests under way may go on after the order to stop; downloads can be resumed."""
CANCEL_AGAIN_S: Final = 1.0
BACKLOG: Final = 512
MAX_HEADER_BYTES: Final = 16_384


async def run_ingress(
    settings: Settings,
    stop: asyncio.Event,
    *,
    bootstrap: str,
    catalogue: Catalogue,
    files: PackageFiles,
) -> None:
    """Serve until `stop` is set, then end within seconds though downloads are open.

    Args:
        settings: Host, port, limits and waits.
        stop: Ends the service.
        bootstrap: Kafka address, `host:port`, several with commas.
        catalogue: Where layers are found.
        files: Finished packages.

    Raises:
        OSError: The port cannot be had.
        Exception: Whatever ended a task in the background; the process should start anew.
    """
    async with serving(
        settings, bootstrap=bootstrap, catalogue=catalogue, files=files
    ) as background:
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait(
                [stopped, *background], return_when=asyncio.FIRST_COMPLETED
            )
            for task in done - {stopped}:
                task.result()
        finally:
            stopped.cancel()


@asynccontextmanager
async def serving(
    settings: Settings, *, bootstrap: str, catalogue: Catalogue, files: PackageFiles
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Serve within the block; see `run_ingress`.

    Yields:
        The tasks in the background, none of which ends by itself.
    """
    catalogue = SharedLookups(catalogue, timeout_s=settings.catalogue_timeout_s)
    codec = Codec.from_folder()
    topics = Topics(settings.topic_prefix)
    view = IngressView()
    reader = read_into(view, bootstrap, topics, codec)
    requests = KafkaRequests(bootstrap, codec, topics)
    accepted = AcceptedRequests(requests, view)
    desk = ExportDesk(
        catalogue=catalogue,
        accepted=accepted,
        view=view,
        limits=RequestLimits(max_vertices=settings.max_vertices, max_tiles=settings.max_tiles),
        verdict_wait_s=settings.verdict_wait_s,
        now_ms=_now_ms,
    )
    parts = IngressParts(
        desk=desk,
        publisher=requests,
        catalogue=catalogue,
        files=files,
        readiness=KafkaReadiness(bootstrap, topics, reader),
        base_url=settings.base_url,
        max_body_bytes=settings.max_body_bytes,
    )
    background = [
        asyncio.create_task(reader.run(), name="view"),
        asyncio.create_task(accepted.repeat_forever(), name="accepted requests"),
        asyncio.create_task(watch_broker(reader, accepted.broker_came_back), name="broker watch"),
    ]
    try:
        async with _listening(build_web_app(parts), settings.host, settings.port):
            yield background
    finally:
        for task in background:
            await _end(task)
        await requests.stop()


def _now_ms() -> int:
    """The wall clock, ms since 1970 UTC."""
    return time.time_ns() // 1_000_000


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel until it ends: a consumer of aiokafka that is stopping swallows a cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_AGAIN_S)


@asynccontextmanager
async def _listening(web_app: web.Application, host: str, port: int) -> AsyncIterator[None]:
    runner = web.AppRunner(
        web_app,
        access_log_class=AccessLogger,
        shutdown_timeout=STOP_GRACE_S,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
        log.info("ingress_listening", host=host, port=port)
        yield
    finally:
        await runner.cleanup()
