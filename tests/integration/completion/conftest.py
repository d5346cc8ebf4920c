"""A completion partition over dictionaries with a real courier, and real receivers."""

import asyncio
from dataclasses import replace

import pytest
from aiohttp import web

from app.completion.courier import Courier
from app.completion.owner import Completion
from app.completion.webhook_call import WebhookRules
from app.domain.callback_target import LOOPBACK
from app.domain.inbox import InboxPosition
from app.domain.package_facts import PackageFacts, ZoomCounts
from app.domain.records import RequestSettled

NOW_MS = 1_700_000_000_000
RULES = WebhookRules(timeout_s=8.0, allowed=LOOPBACK)

COMPLETED = RequestSettled(
    request_id="r1",
    at_ms=NOW_MS,
    status="Completed",
    reason=None,
    layer_id="l",
    bbox_json="[1,2,3,4]",
    target_resolution_deg=0.703125,
    callback_urls=(),
    file_uri="http://here/p.gpkg",
    metadata_uri="http://here/p.json",
    expires_at_ms=NOW_MS + 30 * 24 * 3600 * 1000,
    finished_at_ms=NOW_MS,
    facts=PackageFacts("p.gpkg", "p.json", 9, "0" * 64, NOW_MS, (ZoomCounts(0, 4, 4, 0, 0, 9),)),
)


class Desk:
    """A completion partition over dictionaries, and the courier's outbox into it."""

    def __init__(self, rules=RULES):
        self.rows = {}
        self.reports = []
        self.now_ms = NOW_MS
        self.reported = asyncio.Event()
        self.owner = Completion(lambda table, key: self.rows.get((table, key)), self.wake)
        self.courier = Courier(lambda: [self.owner], self, lambda: self.now_ms, rules)

    def wake(self):
        if hasattr(self, "courier"):
            self.courier.wake()

    async def send(self, topic, key, record):
        assert (topic, key) == ("export-settlements", record.request_id)
        self.reports.append(record)
        self.handle(record)
        self.reported.set()

    def handle(self, record):
        for store in self.owner.decide(record, InboxPosition(0, 0)).stores:
            self.rows[store.table, store.key] = store.row
            self.owner.apply(store)

    def settle(self, request_id, *urls):
        self.handle(
            RequestSettled(
                request_id=request_id,
                at_ms=NOW_MS,
                status="Failed",
                reason="no space left",
                layer_id="l",
                bbox_json="[1,2,3,4]",
                target_resolution_deg=None,
                callback_urls=urls,
                file_uri="",
                metadata_uri="",
                expires_at_ms=0,
                finished_at_ms=NOW_MS,
                facts=None,
            )
        )

    def complete(self, request_id, *urls):
        self.handle(replace(COMPLETED, request_id=request_id, callback_urls=urls))

    async def until(self, count):
        async with asyncio.timeout(120):
            while len(self.reports) < count:
                self.reported.clear()
                await self.reported.wait()

    async def deliver(self, count):
        """Run the courier until so many calls are reported."""
        task = asyncio.create_task(self.courier.run())
        try:
            await self.until(count)
        finally:
            task.cancel()
            await asyncio.wait([task], timeout=60)
            assert task.done(), "the courier does not stop"


@pytest.fixture
async def desk():
    made = Desk()
    task = asyncio.create_task(made.courier.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def make_desk():
    return Desk


@pytest.fixture
async def serve():
    """Start a receiver for each handler; returns its address."""
    runners = []

    async def start(handler, host="127.0.0.1"):
        app = web.Application()
        app.router.add_route("*", "/{name:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, host, 0).start()
        return f"http://{host}:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()
