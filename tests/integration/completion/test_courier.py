"""Webhooks called over real HTTP, and what the courier reports of each call."""

import asyncio
from dataclasses import replace

import orjson
import pytest
from aiohttp import web

from app.completion.deliveries import delivery_id, wait_ms
from app.completion.owner import Completion
from app.domain.inbox import InboxPosition
from app.domain.records import DeliveryTried
from app.domain.result import result_body

NOW_MS = 1_700_000_000_000


@pytest.fixture
async def receiver():
    calls = []
    answers = {"/ok": 200, "/gone": 410, "/broken": 500}

    async def receive(request):
        calls.append((request.path, request.headers.get("webhook-id"), await request.json()))
        if request.path == "/slow":
            await asyncio.Event().wait()
        if request.path == "/elsewhere":
            raise web.HTTPFound("/ok")
        return web.Response(status=answers[request.path])

    app = web.Application()
    app.router.add_post("/{name}", receive)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", calls
    await runner.cleanup()


async def test_a_result_is_posted_whole_and_the_call_reported(desk, receiver):
    url, calls = receiver
    desk.settle("r1", f"{url}/ok")
    await desk.until(1)
    (report,) = desk.reports
    assert (report.http_status, report.trial, report.error) == (200, 1, None)
    (_path, called_id, body) = calls[0]
    assert called_id == delivery_id("r1", f"{url}/ok") == report.delivery_id
    assert body == orjson.loads(orjson.dumps(result_body(desk.rows["results", "r1"])))
    assert desk.owner.pending == {}


async def test_a_receiver_that_fails_is_called_again_later_with_the_same_id(desk, receiver):
    url, calls = receiver
    desk.settle("r1", f"{url}/broken")
    await desk.until(1)
    (row,) = desk.owner.pending.values()
    assert NOW_MS < row.next_at_ms <= NOW_MS + 1_250
    desk.now_ms = row.next_at_ms
    desk.courier.wake()
    await desk.until(2)
    assert {called_id for _, called_id, _ in calls} == {desk.reports[0].delivery_id}
    assert [report.trial for report in desk.reports] == [1, 2]


async def test_a_receiver_that_wants_no_more_is_left_alone(desk, receiver):
    url, _ = receiver
    desk.settle("r1", f"{url}/gone")
    await desk.until(1)
    assert desk.owner.pending == {}
    assert desk.rows["deliveries", desk.reports[0].delivery_id].state == "given-up"


async def test_a_slow_receiver_delays_nobody_else_and_is_reported(desk, receiver):
    url, _ = receiver
    desk.settle("r1", f"{url}/slow")
    desk.settle("r2", f"{url}/ok")
    await desk.until(2)
    assert [report.request_id for report in desk.reports] == ["r2", "r1"]
    assert "no answer within" in desk.reports[1].error


async def test_a_redirect_is_not_followed_and_counts_as_a_failure(desk, receiver):
    url, calls = receiver
    desk.settle("r1", f"{url}/elsewhere")
    await desk.until(1)
    assert desk.reports[0].http_status == 302
    assert [path for path, _, _ in calls] == ["/elsewhere"]
    assert len(desk.owner.pending) == 1


async def test_nobody_at_the_address_is_reported_with_the_cause(desk):
    desk.settle("r1", "http://127.0.0.1:9/hook")
    await desk.until(1)
    assert desk.reports[0].http_status == 0
    assert "9" in desk.reports[0].error


async def test_a_courier_that_is_woken_in_the_moment_it_is_stopped_stops(make_desk):
    courier = make_desk().courier
    task = asyncio.create_task(courier.run())
    for _ in range(5):
        await asyncio.sleep(0)  # into its nap
    courier.wake()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=60)
    assert task.cancelled()


def test_a_webhook_is_given_up_after_three_days():
    owner_rows = {}
    owner = Completion(lambda table, key: owner_rows.get((table, key)), lambda: None)
    record = DeliveryTried("r1", NOW_MS + 72 * 3600 * 1000, "d", 9, 500, None)
    from app.domain.rows import DeliveryRow

    owner_rows["deliveries", "d"] = DeliveryRow("r1", "http://a", "pending", NOW_MS, trials=8)
    (store,) = owner.decide(record, InboxPosition(0, 0)).stores
    assert store.row.state == "given-up"
    earlier = replace(record, at_ms=NOW_MS + 1)
    (store,) = owner.decide(earlier, InboxPosition(0, 0)).stores
    assert store.row.state == "pending"


def test_waits_double_up_to_an_hour_and_are_spread():
    waits = [wait_ms("d", trial) for trial in range(1, 40)]
    assert all(750 * 2**n <= wait <= 1250 * 2**n for n, wait in enumerate(waits[:11]))
    assert max(waits) <= 1.25 * 3_600_000
    assert len({wait_ms(str(n), 5) for n in range(50)}) > 40
