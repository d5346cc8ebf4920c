"""What the processes of the service have in common: signals, logs, and the Faust surroundings."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from app.kafka import doorbell, fetch_backoff
from app.kafka.broker_wait import until_topics_are_there
from app.kafka.codec import Codec
from app.kafka.edge import Edge
from app.kafka.faust_app import AppPlace, ServiceApp
from app.kafka.topics import PARTITIONS, Topics
from app.settings import Settings

log = structlog.get_logger(__name__)

EXIT_AT_ONCE = 130
"""Exit status after a second signal: the first one's orderly end was not awaited."""


EXIT_CUT_SHORT = 75
"""Exit status when a handler did not end in time; sysexits.h, EX_TEMPFAIL: it is done again."""

STOP_GRACE_S = 25.0
"""The longest handler lasts 20 s; the rest is for the broker. Together with the 15 s that
assemblies have before it stays below the supervisor's grace of 45 s."""


def run_until_stopped(settings: Settings, main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run a process: SIGTERM and SIGINT set its stop event, a second one ends it at once."""
    _write_logs_as_json()
    quieten_embedded_broker(settings)
    asyncio.run(_with_signals(main))


async def _with_signals(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(EXIT_AT_ONCE)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    await main(stop)


async def run_faust(
    faust_app: ServiceApp,
    stop: asyncio.Event,
    *,
    before_start: Callable[[], Coroutine[Any, Any, None]] | None = None,
    before_stop: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Run a Faust app until `stop`; its handlers in progress end first, then it commits.

    One that takes longer than `STOP_GRACE_S` is left to the next process: nothing of it is
    committed, and it is read again.

    Args:
        faust_app: The app, not started.
        stop: Ends it.
        before_start: Awaited first, unless `stop` comes before its end.
        before_stop: Awaited while the app can still send.
    """
    if before_start is not None and not await _done_before(stop, before_start()):
        return
    await faust_app.start()
    log.info(
        "started", app=faust_app.conf.id, instance_id=faust_app.conf.consumer_group_instance_id
    )
    await stop.wait()
    log.info("stopping", app=faust_app.conf.id)
    if before_stop is not None:
        await before_stop()
    # Not asyncio.timeout: to cancel a handler would acknowledge its record.
    stopping = asyncio.create_task(faust_app.stop())
    await asyncio.wait([stopping], timeout=STOP_GRACE_S)
    if not stopping.done():
        log.error("stop_cut_short", app=faust_app.conf.id, grace_s=STOP_GRACE_S)
        os._exit(EXIT_CUT_SHORT)
    stopping.result()
    log.info("stopped", app=faust_app.conf.id)


async def _done_before(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Run something that ends early when the process is to stop; whether it was done."""
    working, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return working.done()
    finally:
        for task in (working, stopped):
            task.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)


def quieten_embedded_broker(settings: Settings) -> None:
    """Keep idle consumers from spinning where the broker does not let them wait."""
    if settings.embedded:
        doorbell.install(settings.data_dir / "run" / "doorbell")
        fetch_backoff.install()


async def until_broker_is_there(settings: Settings) -> None:
    """Wait for the broker and its topics, and say so now and then."""
    await until_topics_are_there(bootstrap_of(settings), Topics(settings.topic_prefix))


def place_of(settings: Settings, name: str) -> AppPlace:
    """Say where a Faust app of this process runs."""
    return AppPlace(
        brokers=bootstrap_of(settings).split(","),
        datadir=run_folder(settings, name) / "faust",
        shared_folder=settings.data_dir / "run",
        partitions=PARTITIONS,
        prefix=settings.topic_prefix,
        instance_id=settings.instance_id,
        embedded=settings.embedded,
    )


def edge_of(settings: Settings, faust_app: ServiceApp, name: str) -> Edge:
    """Build what the agents of an app share."""
    return Edge(
        faust_app,
        codec=Codec.from_folder(),
        topic_name=Topics(settings.topic_prefix).name,
        run_folder=run_folder(settings, name),
    )


def run_folder(settings: Settings, name: str) -> Path:
    """Folder of this process alone, below the data folder that all share; made if missing.

    Where neither a run name nor an instance id is given, the host's name tells the containers of a
    service apart; on one host give each process one of them.
    """
    own = settings.run_name or settings.instance_id or f"{name}-{socket.gethostname()}"
    folder = settings.data_dir / "run" / own
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def bootstrap_of(settings: Settings) -> str:
    """The broker's address; the command line has refused to start without one."""
    if settings.broker is None:
        raise ValueError("EXPORT_BROKER is not set")
    return settings.broker


def _write_logs_as_json() -> None:
    """One JSON line an event on stderr; libraries speak up from warnings on."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=structlog.processors.JSONRenderer(),
            foreign_pre_chain=[
                *shared,
                structlog.stdlib.add_logger_name,
                structlog.processors.format_exc_info,
            ],
        )
    )
    # On the handler, not on a logger: Faust and aiokafka give theirs levels of their own.
    handler.setLevel(logging.WARNING)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
