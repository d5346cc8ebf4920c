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
from app.completion.webhook_call import WebhookRules
from app.kafka.faust_app import ServiceApp, build_coordinator_app
from app.registrar.rules import RegistrarRules
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
        package_ms=int(settings.package_days * DAY_MS),
        max_running=settings.max_running_exports,
        spare_running=settings.spare_running_exports,
        range_bytes=settings.range_bytes,
        range_tiles=settings.range_tiles,
        grace_ms=settings.removal_grace_s * 1000,
        package_max_ms=settings.package_max_days * DAY_MS,
        expiring_notice_ms=int(settings.expiring_notice_days * DAY_MS),
        limits=settings.client_limits,
    )
    app.registrar.agent.attach(edge, rules)
    app.planning.agent.attach(edge)
    webhooks = WebhookRules(
        timeout_s=settings.webhook_timeout_s,
        calls_per_host=settings.webhook_calls_per_host,
        allowed=settings.callback_networks,
        secrets=tuple(secret.get_secret_value() for secret in settings.webhook_secrets),
    )
    app.completion.agent.attach(edge, webhooks)
    return faust_app
