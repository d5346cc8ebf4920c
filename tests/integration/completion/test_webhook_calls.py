"""What receivers get to see, and which addresses are never connected to; over real HTTP."""

import asyncio
import os
import socket
import threading
import time
from base64 import b64encode
from dataclasses import replace
from ipaddress import ip_network

import orjson
import pytest
from aiohttp import web
from pydantic import ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from app.completion.deliveries import delivery_id, warning_id
from app.completion.webhook_call import WebhookRules, guarded_socket
from app.domain.callback_target import LOOPBACK
from app.domain.records import RedeliveryAsked, RequestExpiring
from app.domain.result import result_body
from app.settings import Settings

NOW_MS = 1_700_000_000_000
RULES = WebhookRules(timeout_s=30.0, allowed=LOOPBACK)
OLD, NEW = (f"whsec_{b64encode(bytes([number]) * 32).decode()}" for number in (1, 2))


def recorder(calls, status=200, headers=None):
    async def receive(request):
        calls.append((request.method, request.path, dict(request.headers), await request.read()))
        return web.Response(status=status, headers=headers)

    return receive


@pytest.fixture
def resolve_to(monkeypatch):
    """Let every name resolve to addresses of the test's choice, as a DNS server would."""

    def install(*answers):
        left = list(answers)

        def look_up(_host, port, *_):
            address = left.pop(0) if len(left) > 1 else left[0]
            return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    return install


async def test_a_receiver_is_told_the_event_and_gets_the_contracts_result(make_desk, serve):
    calls = []
    url = await serve(recorder(calls))
    desk = make_desk()
    desk.complete("r1", f"{url}/done")
    desk.settle("r2", f"{url}/failed")
    await desk.deliver(2)
    told = {path: (headers, body) for _, path, headers, body in calls}
    assert told["/done"][0]["webhook-event"] == "completed"
    assert told["/failed"][0]["webhook-event"] == "failed"
    for path, request_id in (("/done", "r1"), ("/failed", "r2")):
        assert told[path][1] == orjson.dumps(result_body(desk.rows["results", request_id]))
    assert "webhook-signature" not in told["/done"][0]


async def test_a_warning_is_the_result_with_the_expiry_that_it_warns_of(make_desk, serve):
    calls = []
    url = await serve(recorder(calls))
    desk = make_desk()
    desk.complete("r1", f"{url}/hook")
    await desk.deliver(1)
    expires_ms = NOW_MS + 40 * 24 * 3600 * 1000
    desk.handle(RequestExpiring("r1", NOW_MS, expires_ms))
    await desk.deliver(2)
    (_, _, first, result), (_, _, second, warning) = calls
    assert second["webhook-event"] == "expiring"
    assert second["webhook-id"] == warning_id("r1", f"{url}/hook", expires_ms)
    assert second["webhook-id"] != first["webhook-id"]
    told, warned = orjson.loads(result), orjson.loads(warning)
    assert warned.pop("expirationTime") == "2023-12-24T22:13:20.000Z"
    assert told.pop("expirationTime") == "2023-12-14T22:13:20.000Z"
    assert warned == told


async def test_who_asks_again_is_called_again_under_the_same_id(make_desk, serve):
    calls = []
    url = await serve(recorder(calls))
    desk = make_desk()
    desk.complete("r1", f"{url}/hook")
    await desk.deliver(1)
    desk.now_ms += 5
    desk.handle(RedeliveryAsked("r1", desk.now_ms, f"{url}/hook", again=True))
    await desk.deliver(2)
    assert {headers["webhook-id"] for _, _, headers, _ in calls} == {
        delivery_id("r1", f"{url}/hook")
    }
    (row,) = [row for (table, _), row in desk.rows.items() if table == "deliveries"]
    assert [(trial.at_ms - NOW_MS, trial.http_status) for trial in row.history] == [
        (0, 200),
        (5, 200),
    ]


@pytest.mark.parametrize("secrets", [(NEW,), (NEW, OLD), (OLD, NEW)])
async def test_a_signature_holds_for_each_key_that_is_in_use_and_for_no_other(
    make_desk, serve, secrets
):
    calls = []
    url = await serve(recorder(calls))
    desk = make_desk(replace(RULES, secrets=secrets))
    desk.now_ms = time.time_ns() // 1_000_000
    desk.complete("r1", f"{url}/hook")
    await desk.deliver(1)
    (_, _, headers, body) = calls[0]
    assert len(headers["webhook-signature"].split()) == len(secrets)
    for secret in secrets:
        assert Webhook(secret).verify(body, headers)["requestId"] == "r1"
    if OLD not in secrets:
        with pytest.raises(WebhookVerificationError):
            Webhook(OLD).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(body.replace(b"r1", b"r2"), headers)


@pytest.mark.parametrize(
    "secret", ["secret", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!", NEW.removeprefix("whsec_")]
)
def test_a_key_that_receivers_could_not_use_is_refused_at_the_start_and_not_told(secret):
    with pytest.raises(ValidationError) as refused:
        Settings(webhook_secrets=(secret,))
    assert "webhook_secrets" in str(refused.value)
    assert OLD not in repr(Settings(webhook_secrets=(OLD,)))


async def test_a_hanging_host_with_a_thousand_deliveries_does_not_delay_a_quick_one(
    make_desk, serve
):
    held = []

    async def hang(request):
        held.append(request.path)
        await asyncio.Event().wait()

    calls = []
    hanging, quick = await serve(hang), await serve(recorder(calls))
    desk = make_desk(replace(RULES, timeout_s=60.0))
    for number in range(1000):
        desk.settle(f"slow-{number}", f"{hanging}/{number}")
    for number in range(20):
        desk.settle(f"quick-{number}", f"{quick}/{number}")
    await desk.deliver(20)
    assert len(calls) == 20
    assert len(held) <= RULES.calls_per_host
    assert {report.http_status for report in desk.reports} == {200}


async def test_many_hanging_hosts_leave_room_for_one_more(make_desk, serve):
    async def hang(_request):
        await asyncio.Event().wait()

    calls = []
    hosts = [await serve(hang) for _ in range(12)]
    desk = make_desk(replace(RULES, timeout_s=30.0))
    for number in range(240):
        desk.settle(f"slow-{number}", f"{hosts[number % 12]}/{number}")
    quick = await serve(recorder(calls))
    desk.settle("quick", f"{quick}/hook")
    await desk.deliver(1)
    assert [report.request_id for report in desk.reports] == ["quick"]


async def test_more_hanging_receivers_than_there_is_room_for_take_turns(make_desk, serve):
    called = set()

    async def hang(request):
        called.add(request.host)
        await asyncio.Event().wait()

    hosts = [await serve(hang) for _ in range(10)]
    desk = make_desk(replace(RULES, timeout_s=0.5, calls=4, calls_per_host=2))
    for host in hosts:
        for number in range(40):
            desk.settle(f"{host}-{number}", f"{host}/{number}")
    await desk.deliver(30)
    assert len(called) == 10


async def test_forty_names_whose_server_hangs_do_not_delay_a_name_that_is_found(
    make_desk, serve, monkeypatch, eventually
):
    answering = threading.Event()
    asked = set()

    def look_up(host, port, *_):
        asked.add(host)
        if host != "quick.example":
            answering.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]

    calls = []
    url = await serve(recorder(calls))
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    desk = make_desk(replace(RULES, timeout_s=30.0))
    for number in range(40):
        desk.settle(f"slow-{number}", f"http://slow-{number}.example/hook")
    desk.settle("quick", url.replace("127.0.0.1", "quick.example") + "/hook")
    try:
        await desk.deliver(1)
        await eventually(lambda: len(asked) == 41)
    finally:
        answering.set()
    assert [report.request_id for report in desk.reports] == ["quick"]


async def test_a_name_that_is_unknown_is_reported_as_such(make_desk, monkeypatch):
    def look_up(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    desk = make_desk()
    desk.settle("r1", "http://nowhere.example/hook")
    await desk.deliver(1)
    assert desk.reports[0].http_status == 0
    assert "Name or service not known" in desk.reports[0].error


async def test_what_can_be_no_name_is_reported_as_such(make_desk):
    desk = make_desk()
    desk.settle("r1", f"http://{'x' * 64}.example/hook")
    await desk.deliver(1)
    assert desk.reports[0].http_status == 0
    assert "is no name" in desk.reports[0].error


@pytest.mark.parametrize("http_status", [307, 308])
async def test_a_redirect_that_keeps_the_call_is_followed(make_desk, serve, http_status):
    calls = []
    target = await serve(recorder(calls))
    url = await serve(recorder([], http_status, {"location": f"{target}/there"}))
    desk = make_desk()
    desk.settle("r1", f"{url}/here")
    await desk.deliver(1)
    (method, path, headers, body) = calls[0]
    assert (method, path, headers["webhook-id"]) == ("POST", "/there", desk.reports[0].delivery_id)
    assert orjson.loads(body)["requestId"] == "r1"
    assert desk.reports[0].http_status == 200


@pytest.mark.parametrize("http_status", [301, 302, 303, 304])
async def test_a_redirect_that_makes_another_call_of_it_is_a_failure(make_desk, serve, http_status):
    calls = []
    target = await serve(recorder(calls))
    url = await serve(recorder([], http_status, {"location": f"{target}/there"}))
    desk = make_desk()
    desk.settle("r1", f"{url}/here")
    await desk.deliver(1)
    assert calls == []
    assert desk.reports[0].http_status == http_status
    assert "307 and 308" in desk.reports[0].error


async def test_a_fourth_redirect_is_not_followed(make_desk, serve):
    calls = []
    url = await serve(recorder(calls, 307, {"location": "/again"}))
    desk = make_desk()
    desk.settle("r1", f"{url}/here")
    await desk.deliver(1)
    assert len(calls) == 4
    assert (desk.reports[0].http_status, desk.reports[0].error) == (307, "more than 3 redirects")


@pytest.mark.parametrize("target", ["http://10.0.0.1/", "http://169.254.169.254/", "file:///etc"])
async def test_a_redirect_into_an_inner_network_is_refused(make_desk, serve, target):
    url = await serve(recorder([], 307, {"location": target}))
    desk = make_desk()
    desk.settle("r1", f"{url}/here")
    await desk.deliver(1)
    assert desk.reports[0].http_status == 0
    assert target.removesuffix("/").removeprefix("http://") in desk.reports[0].error


async def test_a_redirect_into_loopback_is_refused_where_loopback_is_not_allowed(make_desk, serve):
    calls = []
    inner = await serve(recorder(calls), "127.0.0.2")
    url = await serve(recorder([], 307, {"location": f"{inner}/admin"}))
    desk = make_desk(replace(RULES, allowed=(ip_network("127.0.0.1/32"),)))
    desk.settle("r1", f"{url}/here")
    await desk.deliver(1)
    assert calls == []
    (row,) = desk.owner.pending.values()
    assert "127.0.0.2 is a loopback address" in row.history[0].error
    assert row.history[0].http_status == 0


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "localhost",
     "[::ffff:127.0.0.1]"],
)  # fmt: skip
async def test_loopback_is_not_called_unless_it_is_allowed_however_it_is_written(
    make_desk, serve, host
):
    calls = []
    url = await serve(recorder(calls))
    desk = make_desk(replace(RULES, allowed=()))
    desk.settle("r1", url.replace("127.0.0.1", host) + "/hook")
    await desk.deliver(1)
    assert calls == []
    assert "a loopback address" in desk.reports[0].error
    (row,) = desk.owner.pending.values()
    assert "a loopback address" in row.history[0].error
    assert row.next_at_ms > NOW_MS


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1"])
async def test_a_name_that_leads_into_an_inner_network_is_refused(
    make_desk, serve, resolve_to, address
):
    calls = []
    url = await serve(recorder(calls))
    resolve_to(address)
    desk = make_desk(replace(RULES, allowed=()))
    desk.settle("r1", url.replace("127.0.0.1", "hook.example") + "/hook")
    await desk.deliver(1)
    assert calls == []
    assert f"{address} is a" in desk.reports[0].error


async def test_a_name_that_changes_its_address_is_judged_by_the_one_connected_to(
    make_desk, serve, resolve_to
):
    calls = []
    url = await serve(recorder(calls))
    # The first look-up gives an allowed address where nobody listens, the next an inner one.
    resolve_to("127.0.0.2", "127.0.0.1")
    desk = make_desk(replace(RULES, allowed=(ip_network("127.0.0.2/32"),)))
    desk.settle("r1", url.replace("127.0.0.1", "hook.example") + "/hook")
    await desk.deliver(1)
    assert desk.reports[0].http_status == 0
    assert "webhook_allowed_networks" not in desk.reports[0].error
    (row,) = desk.owner.pending.values()
    desk.now_ms = row.next_at_ms
    await desk.deliver(2)
    assert calls == []
    assert "127.0.0.1 is a loopback address" in desk.reports[1].error


async def test_a_named_receiver_in_an_allowed_network_is_called(make_desk, serve, resolve_to):
    calls = []
    url = await serve(recorder(calls))
    resolve_to("127.0.0.1")
    desk = make_desk(replace(RULES, allowed=(ip_network("127.0.0.1/32"),)))
    desk.settle("r1", url.replace("127.0.0.1", "hook.example") + "/hook")
    await desk.deliver(1)
    assert desk.reports[0].http_status == 200


def test_no_socket_is_made_for_a_shorthand_that_would_be_resolved_once_more():
    info = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.1", 80))
    with pytest.raises(OSError, match=r"127\.1 is no IP address"):
        guarded_socket(info, LOOPBACK)


async def test_a_receiver_that_asks_for_patience_is_called_when_it_said(make_desk, serve):
    url = await serve(recorder([], 503, {"retry-after": "600"}))
    desk = make_desk()
    desk.settle("r1", f"{url}/hook")
    await desk.deliver(1)
    (row,) = desk.owner.pending.values()
    assert row.next_at_ms == NOW_MS + 600_000


@pytest.mark.parametrize(
    ("host", "allowed"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_may_be_called_only_by_a_service_that_only_loopback_reaches(host, allowed):
    settings = Settings(host=host)
    assert (settings.callback_networks == LOOPBACK) == allowed


def test_networks_come_from_the_environment(monkeypatch):
    monkeypatch.setitem(os.environ, "EXPORT_WEBHOOK_ALLOWED_NETWORKS", '["10.0.0.0/8","fd00::/8"]')
    assert Settings(host="0.0.0.0").callback_networks == (
        ip_network("10.0.0.0/8"),
        ip_network("fd00::/8"),
    )
