"""Starts the ingress with its real parts, and ends it when it is told to."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import structlog
from aiohttp import web

from app.catalogue.port import Catalogue, SharedLookups
from app.domain.ingress_seal import IngressSeal
from app.domain.judgement import RequestLimits
from app.ingress.accepted_requests import AcceptedRequests
from app.ingress.access_log import AccessLogger
from app.ingress.auth.access import open_access
from app.ingress.backlog_watch import BacklogWatch
from app.ingress.broker import KafkaReadiness, KafkaRequests, read_into, watch_broker
from app.ingress.create_export import ExportDesk
from app.ingress.event_feed import EventFeed
from app.ingress.ports import PackageFiles
from app.ingress.saving_watch import SavingWatch
from app.ingress.view import IngressView
from app.ingress.web_app import IngressParts, build_web_app
from app.kafka.backlog import oldest_unread
from app.kafka.broker_folder import BrokerFolder
from app.kafka.codec import Codec
from app.kafka.topics import (
    EXPORT_PLANS,
    EXPORT_REGISTRY,
    EXPORT_REQUESTS,
    OLDEST_HANDLED_MS,
    TABLE_APP,
    TASK_APP,
    TILE_RANGE_WORK,
    Topics,
)
from app.package.tile_reader import TileReader
from app.settings import Settings
from app.sources.opening import open_source

log = structlog.get_logger(__name__)

STOP_GRACE_S: Final = 2.0
"""How long requests under way may go on after the order to stop; downloads can be resumed."""
CANCEL_AGAIN_S: Final = 1.0
BACKLOG: Final = 512
"""Connections that may wait to be accepted."""
ON_THE_WAY: Final = (
    (EXPORT_REQUESTS, TASK_APP),
    (EXPORT_REGISTRY, TABLE_APP),
    (EXPORT_PLANS, TABLE_APP),
    (TILE_RANGE_WORK, TASK_APP),
)
"""The inboxes through which a request becomes a package, each with the group that reads it."""
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
        OpenToAll: It would listen beyond loopback without keys.
        SecretUnusable: Download links cannot be signed.
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
    saving = SavingWatch(
        BrokerFolder(settings.data_dir / "broker").problem,
        problem="nobody has looked yet whether the broker saves" if settings.embedded else None,
    )
    access = await open_access(settings)
    seal = IngressSeal(access.gate.link_secret)
    requests = KafkaRequests(bootstrap, codec, topics, seal, saving.check)
    accepted = AcceptedRequests(requests, view)
    backlog = BacklogWatch(
        partial(oldest_unread, bootstrap, topics, ON_THE_WAY), OLDEST_HANDLED_MS, _now_ms
    )
    desk = ExportDesk(
        catalogue=catalogue,
        accepted=accepted,
        view=view,
        limits=RequestLimits(
            max_vertices=settings.max_vertices,
            max_tiles=settings.max_tiles,
            max_area_km2=settings.max_area_km2,
            callback_networks=settings.callback_networks,
        ),
        verdict_wait_s=settings.verdict_wait_s,
        now_ms=_now_ms,
        check_backlog=backlog.check,
        client_limits=settings.client_limits,
    )
    tile_reader = TileReader()
    parts = IngressParts(
        desk=desk,
        publisher=requests,
        catalogue=catalogue,
        files=files,
        access=access,
        feed=EventFeed(view, reader.caught_up),
        readiness=KafkaReadiness(bootstrap, topics, reader, lambda: saving.problem),
        base_url=settings.base_url,
        max_body_bytes=settings.max_body_bytes,
        package_max_days=settings.package_max_days,
        open_source=partial(
            open_source, allowed_roots=(settings.layers_dir, *settings.source_roots)
        ),
        read_tile=tile_reader.read,
    )
    background = [
        asyncio.create_task(reader.run(), name="view"),
        asyncio.create_task(accepted.repeat_forever(), name="accepted requests"),
        asyncio.create_task(backlog.run(), name="backlog watch"),
        asyncio.create_task(
            watch_broker(
                lambda: reader.is_connected and saving.problem is None,
                accepted.broker_went_away,
                accepted.broker_came_back,
            ),
            name="broker watch",
        ),
    ]
    if settings.embedded:
        background.append(asyncio.create_task(saving.run(), name="saving watch"))
    if access.keychain is not None:
        background.append(asyncio.create_task(access.keychain.refresh_forever(), name="keys"))
    try:
        async with _listening(build_web_app(parts), settings.host, settings.port):
            yield background
    finally:
        for task in background:
            await _end(task)
        await requests.stop()
        tile_reader.close()


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
