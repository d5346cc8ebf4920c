"""What every courier must keep to, asked of the real one and of its model in the simulation."""

import asyncio
from heapq import heappop, heappush
from itertools import count
from types import SimpleNamespace

import pytest
from aiohttp import web

from app.completion.courier import REPORT_LOST_MS, Courier
from app.completion.deliveries import delivery_id
from app.completion.owner import Completion
from app.completion.webhook_call import WebhookRules
from app.domain.callback_target import LOOPBACK
from app.domain.inbox import InboxPosition
from app.domain.records import RedeliveryAsked, RequestSettled
from tests.simulation import courier as model

NOW_MS = 1_700_000_000_000
CALL_LOST_MS = REPORT_LOST_MS + model.TIMEOUT_MS + 1
A_WHILE_MS = 200
"""Longer than a call and its report take, shorter than any pause between two tries."""


class Desk:
    """A completion partition over dictionaries.

    Attributes:
        status: What the receiver answers.
        loses_reports: What the courier says of its calls gets lost.
        called: The ids under which the receiver was called.
    """

    def __init__(self):
        self.now_ms = NOW_MS
        self.status = 200
        self.loses_reports = False
        self.called = []
        self.reports = []
        self.rows = {}
        self.owner = Completion(lambda table, key: self.rows.get((table, key)), self.wake)

    def wake(self):
        """Say that something may be due."""

    def take(self, report):
        if not self.loses_reports:
            self.reports.append(report)
            self.handle(report)

    def handle(self, record):
        for store in self.owner.decide(record, InboxPosition(0, 0)).stores:
            self.rows[store.table, store.key] = store.row
            self.owner.apply(store)

    def settle(self, request_id):
        self.handle(
            RequestSettled(
                request_id=request_id,
                at_ms=self.now_ms,
                status="Failed",
                reason="no space left",
                layer_id="l",
                bbox_json=None,
                target_resolution_deg=None,
                callback_urls=(self.url,),
                file_uri="",
                metadata_uri="",
                expires_at_ms=0,
                finished_at_ms=self.now_ms,
                facts=None,
            )
        )


class RealDesk(Desk):
    """The real courier and a receiver over HTTP; time passes by waking the courier."""

    async def start(self):
        async def receive(request):
            self.called.append(request.headers["webhook-id"])
            return web.Response(status=self.status)

        app = web.Application()
        app.router.add_post("/hook", receive)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/hook"
        rules = WebhookRules(timeout_s=model.TIMEOUT_MS / 1000, allowed=LOOPBACK)
        self.courier = Courier(lambda: [self.owner], self, lambda: self.now_ms, rules)
        self.task = asyncio.create_task(self.courier.run())

    async def stop(self):
        self.task.cancel()
        await asyncio.wait([self.task])
        await self.runner.cleanup()

    def wake(self):
        if hasattr(self, "courier"):
            self.courier.wake()

    async def send(self, _topic, _key, report):
        self.take(report)

    async def pass_ms(self, ms):
        """Let time pass, and the courier do what is due until it naps."""
        self.now_ms += ms
        self.wake()
        async with asyncio.timeout(60):
            while True:
                await asyncio.sleep(0)
                if not self.courier._wake.is_set() and not self.courier._calls:
                    return


class ModelDesk(Desk):
    """The simulation's courier in a world that has nothing else."""

    async def start(self):
        self.url = "http://a/hook"
        self.heap, self.numbers = [], count()
        world = SimpleNamespace(
            now_ms=NOW_MS,
            chance=lambda: 0.5,
            passes=lambda _process: "pass",
            after=self.after,
            shell=SimpleNamespace(minds_fence=True),
            witness=SimpleNamespace(receive_webhook=self.receive),
            broker=SimpleNamespace(append=lambda _topic, _key, report: self.take(report)),
        )
        self.world = world
        process = SimpleNamespace(now_ms=NOW_MS, fenced=False, held=[])
        self.process = process
        self.courier = model.Courier(world, process)
        self.courier.watch(SimpleNamespace(lost=False, owner=self.owner))

    async def stop(self):
        """There is nothing to stop."""

    def wake(self):
        if hasattr(self, "courier"):
            self.courier.wake()

    def after(self, ms, action, _process):
        heappush(self.heap, (self.world.now_ms + ms, next(self.numbers), action))

    def receive(self, told_id, _row, _result):
        self.called.append(told_id)
        return self.status

    async def pass_ms(self, ms):
        end_ms = self.now_ms + ms
        while self.heap and self.heap[0][0] <= end_ms:
            at_ms, _, action = heappop(self.heap)
            self.now_ms = self.world.now_ms = self.process.now_ms = at_ms
            action()
        self.now_ms = self.world.now_ms = self.process.now_ms = end_ms


@pytest.fixture(params=[RealDesk, ModelDesk])
async def desk(request):
    made = request.param()
    await made.start()
    yield made
    await made.stop()


async def test_a_result_is_told_once_under_its_id_and_the_call_reported(desk):
    desk.settle("r1")
    await desk.pass_ms(A_WHILE_MS)
    await desk.pass_ms(CALL_LOST_MS)
    assert desk.called == [delivery_id("r1", desk.url)]
    (report,) = desk.reports
    assert (report.delivery_id, report.trial, report.http_status) == (desk.called[0], 1, 200)


async def test_nobody_is_called_while_nothing_has_ended(desk):
    desk.handle(RedeliveryAsked("r1", NOW_MS, desk.url))
    await desk.pass_ms(CALL_LOST_MS)
    assert desk.called == []
    desk.settle("r1")
    await desk.pass_ms(A_WHILE_MS)
    assert desk.called == [delivery_id("r1", desk.url)]


async def test_a_receiver_that_fails_is_called_again_when_its_time_has_come_and_not_before(desk):
    desk.status = 500
    desk.settle("r1")
    await desk.pass_ms(A_WHILE_MS)
    for trial in (1, 2, 3):
        assert desk.called == [delivery_id("r1", desk.url)] * trial
        assert [report.trial for report in desk.reports] == list(range(1, trial + 1))
        (row,) = desk.owner.pending.values()
        await desk.pass_ms(row.next_at_ms - 1 - desk.now_ms)
        assert len(desk.called) == trial
        await desk.pass_ms(1_000)


async def test_a_receiver_that_wants_no_more_calls_gets_none(desk):
    desk.status = 410
    desk.settle("r1")
    await desk.pass_ms(A_WHILE_MS)
    await desk.pass_ms(CALL_LOST_MS)
    assert len(desk.called) == 1
    assert desk.owner.pending == {}


async def test_a_lost_report_is_a_call_more_under_the_same_id_but_only_after_a_while(desk):
    desk.loses_reports = True
    desk.settle("r1")
    await desk.pass_ms(A_WHILE_MS)
    await desk.pass_ms(REPORT_LOST_MS - A_WHILE_MS)
    assert len(desk.called) == 1
    desk.loses_reports = False
    await desk.pass_ms(2 * model.LONGEST_NAP_MS)
    assert desk.called == [delivery_id("r1", desk.url)] * 2
    assert [report.trial for report in desk.reports] == [1]


async def test_who_asks_again_is_called_again_under_the_same_id(desk):
    desk.settle("r1")
    await desk.pass_ms(A_WHILE_MS)
    desk.handle(RedeliveryAsked("r1", desk.now_ms, desk.url, again=True))
    await desk.pass_ms(A_WHILE_MS)
    assert desk.called == [delivery_id("r1", desk.url)] * 2
    assert [report.trial for report in desk.reports] == [1, 2]
