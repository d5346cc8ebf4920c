"""The coordinator process: registrar, planner and completion in one Faust app with tables."""

import asyncio
from functools import partial

import app.completion.agent
import app.planning.agent
import app.registrar.agent
from app.bootstrap.process import (
    edge_of,
    place_of,
    run_faust,
    run_until_stopped,
    until_broker_is_there,
)
from app.kafka.faust_app import ServiceApp, build_coordinator_app
from app.registrar.state import RegistrarRules
from app.settings import Settings

DAY_MS = 24 * 3600 * 1000


def run(settings: Settings) -> None:
    """Run a coordinator until it is asked to stop."""

    async def main(stop: asyncio.Event) -> None:
        await run_faust(
            build(settings), stop, before_start=partial(until_broker_is_there, settings)
        )

    run_until_stopped(settings, main)


def build(settings: Settings) -> ServiceApp:
    """Build the app with its three stages, not started."""
    faust_app = build_coordinator_app(place_of(settings, "coordinator"))
    edge = edge_of(settings, faust_app, "coordinator")
    rules = RegistrarRules(
        base_url=settings.base_url,
        package_ms=settings.package_days * DAY_MS,
        max_running=settings.max_running_exports,
        range_bytes=settings.range_bytes,
        range_tiles=settings.range_tiles,
        grace_ms=settings.removal_grace_s * 1000,
    )
    app.registrar.agent.attach(edge, rules)
    app.planning.agent.attach(edge)
    app.completion.agent.attach(edge, webhook_timeout_s=settings.webhook_timeout_s)
    return faust_app
