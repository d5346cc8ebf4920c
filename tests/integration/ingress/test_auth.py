"""Tokens over HTTP: who comes in, and as whom."""

import asyncio
import time
from uuid import uuid4

import aiohttp
import orjson
import pytest
import structlog
from yarl import URL

from app.ingress.auth.access import open_access
from app.ingress.auth.bind_rule import OpenToAll
from app.ingress.auth.tokens import LEEWAY_S
from app.settings import WrongSetting
from tests.integration.ingress.asking import create, is_ready, status_of, with_token
from tests.key_server import KeyServer
from tests.token_issuer import new_key


async def test_a_token_is_taken_from_each_of_its_places(service, issuer, where):
    token = issuer.token()
    for options in (
        with_token(token),
        {"headers": {"Authorization": f"Bearer {token}"}},
        {"headers": {"Authorization": f"bearer  {token}"}},
        {"params": {"token": token}},
        {"headers": {"Cookie": f"session={token}"}},
        {"headers": {"Authorization": "Basic YTpi"}, "params": {"token": token}},
    ):
        for path in ("/layers", where):
            assert await status_of(service, "GET", path, **options) == 200, options


async def test_without_a_good_token_nothing_is_told(service, issuer, where):
    late = int(time.time()) - 3600
    bad = [
        {},
        with_token("x"),
        with_token(issuer.token(exp=late)),
        with_token(issuer.token(key=new_key())),
        {"headers": {"Authorization": "Basic YTpi"}},
        {"params": {"token": "x"}},
        {"headers": {"Cookie": "session=x"}},
        # The first one counts: a bad one is never made good by another.
        {"headers": {"x-api-key": "x", "Cookie": f"session={issuer.token()}"}},
    ]
    for options in bad:
        for method, path in (
            ("GET", "/layers"),
            ("GET", where),
            ("HEAD", where),
            ("POST", "/create"),
            ("GET", f"/taskStatus/{uuid4()}"),
            ("POST", f"/exports/{uuid4()}/links"),
            ("GET", "/nothing"),
        ):
            if method == "HEAD":
                async with service.head(path, **options) as answer:
                    assert answer.status == 401
                continue
            assert await status_of(service, method, path, **options) == 401, (path, options)


async def test_a_good_token_that_may_not_is_a_403(service, issuer):
    assert await status_of(service, "GET", "/layers", **with_token(issuer.token(d="dem"))) == 403


async def test_a_token_bound_to_an_origin_is_good_there_only(service, issuer):
    token = issuer.token(ao="https://maps.example")
    for headers, status in (
        ({"Origin": "https://maps.example"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Referer": str(service._base_url / "page")}, 200),
    ):
        assert await status_of(service, "GET", "/layers", **with_token(token, **headers)) == status


async def test_probes_and_descriptions_need_no_token(service):
    for path in ("/livez", "/readyz", "/openapi.json"):
        assert await status_of(service, "GET", path) == 200
    base = str(service._base_url).rstrip("/")
    for path in ("/livez/../layers", "/docs/api/../../layers", "/%2e/livez", "//livez"):
        async with service.get(URL(base + path, encoded=True)) as answer:
            assert answer.status == 401, path


async def test_a_request_is_its_callers_and_an_administrators_only(service, issuer, peer, golden):
    anna, berta = issuer.token(), issuer.token(sub="berta")
    request_id = await create(service, anna, golden)
    assert [asked.client for asked in peer.asked] == ["anna"]
    for token, status in (
        (anna, 200),
        (berta, 404),
        (issuer.token(sub="root", role="admin"), 200),
        (issuer.token(sub="anonymous"), 404),
    ):
        path = f"/taskStatus/{request_id}"
        assert await status_of(service, "GET", path, **with_token(token)) == status


async def test_a_request_is_hidden_before_the_registrar_has_spoken_of_it(
    service, issuer, peer, golden
):
    peer.script = lambda _: []
    path = f"/taskStatus/{await create(service, issuer.token(), golden)}"
    assert await status_of(service, "GET", path, **with_token(issuer.token())) == 200
    assert await status_of(service, "GET", path, **with_token(issuer.token(sub="berta"))) == 404


async def test_a_stream_of_events_ends_with_its_token(service, issuer):
    async with (
        service.get("/exports/events", **with_token(issuer.token())) as other,
        asyncio.timeout(120),
    ):
        # Made only now: it is to be good when its stream is opened.
        ending = with_token(issuer.token(exp=int(time.time()) - LEEWAY_S + 6))
        async with service.get("/exports/events", **ending) as answer:
            assert (other.status, answer.status) == (200, 200)
            assert await answer.content.read()
            assert await status_of(service, "GET", "/exports/events", **ending) == 401
            assert not other.content.at_eof()


async def test_any_raster_token_may_download(service, issuer, package, where):
    async with service.get(where, **with_token(issuer.token(sub="somebody"))) as answer:
        assert await answer.read() == package.read_bytes()


async def test_keys_that_cannot_be_read_yet_are_a_503_until_they_can(
    settings, broker, topics, ingress_of, eventually
):
    server = KeyServer(status=500)
    issuer = server.issuer
    async with server.serving(0) as port:
        url = f"http://127.0.0.1:{port}/jwks"
        of_url = settings.model_copy(update={"jwks_url": url, "jwks_ask_again_s": 0.1})
        async with ingress_of(of_url, broker) as service:
            await eventually(lambda: is_ready(service))
            assert await status_of(service, "GET", "/layers", **with_token(issuer.token())) == 503
            assert await status_of(service, "GET", "/layers") == 401
            server.status = 200

            async def is_known() -> bool:
                token = with_token(issuer.token())
                return await status_of(service, "GET", "/layers", **token) == 200

            await eventually(is_known)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file or directory"),
        (b"no JSON", "it is no JWKS"),
        (b'{"keys": []}', "it has no key that can be used"),
    ],
)
async def test_a_file_without_keys_is_refused_at_the_start(
    guarded, broker, ingress_of, text, reason
):
    path = guarded.jwks_file
    path.unlink() if text is None else path.write_bytes(text)
    with pytest.raises(WrongSetting, match=f"EXPORT_JWKS_FILE is {path}: {reason}"):
        async with ingress_of(guarded, broker):
            pass


async def test_without_keys_everybody_is_one_client(client, peer, golden):
    async with client.post("/create", json=golden, headers={"x-api-key": "x"}) as answer:
        request_id = (await answer.json())["requestId"]
    assert [asked.client for asked in peer.asked] == ["anonymous"]
    assert await status_of(client, "GET", f"/taskStatus/{request_id}") == 200


async def test_without_keys_a_page_of_somebody_else_changes_nothing(client, peer, golden):
    data = orjson.dumps(golden)
    for headers in (
        {"Origin": "https://evil.example", "Content-Type": "text/plain"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        told = {"data": data, "headers": headers}
        assert await status_of(client, "POST", "/create", **told) == 403
    assert peer.asked == []


async def test_without_keys_no_name_that_somebody_made_lead_here_is_served(
    settings, broker, topics, ingress_of, eventually
):
    named = settings.model_copy(update={"public_url": "https://exports.example"})
    async with ingress_of(named, broker) as _:
        base = f"http://127.0.0.1:{settings.port}"
        async with aiohttp.ClientSession(base) as service:
            await eventually(lambda: is_ready(service))
            for host, status in (
                ("localhost", 200),
                (f"127.0.0.1:{settings.port}", 200),
                ("[::1]:80", 200),
                ("exports.example", 200),
                ("EXPORTS.example:443", 200),
                ("evil.example", 403),
                (f"evil.example:{settings.port}", 403),
                ("localhost.evil.example", 403),
                ("127.0.0.1@evil.example", 403),
                ("", 403),
            ):
                headers = {"Host": host}
                assert await status_of(service, "GET", "/layers", headers=headers) == status, host


async def test_beyond_loopback_the_ingress_starts_only_with_keys_or_when_told_to(
    settings, guarded, broker, topics, ingress_of, eventually
):
    everywhere = {"host": "0.0.0.0", "public_url": settings.base_url}
    with pytest.raises(OpenToAll, match="EXPORT_OPEN_TO_ALL"):
        async with ingress_of(settings.model_copy(update=everywhere), broker):
            pass
    for allowed in (
        guarded.model_copy(update=everywhere),
        settings.model_copy(update=everywhere | {"open_to_all": True}),
    ):
        async with ingress_of(allowed, broker) as service:
            await eventually(lambda service=service: is_ready(service))


async def test_the_log_says_who_may_come(settings, guarded, broker, topics, ingress_of, eventually):
    with structlog.testing.capture_logs() as logged:
        for some in (settings, guarded):
            async with ingress_of(some, broker) as service:
                await eventually(lambda service=service: is_ready(service))
    said = [line["event"] for line in logged]
    assert "no_keys_configured" in said
    assert "tokens_required" in said


@pytest.mark.parametrize(
    ("url", "is_warned"),
    [
        ("http://keys.example/jwks", True),
        ("https://keys.example/jwks", False),
        ("http://127.0.0.1:9/jwks", False),
    ],
)
async def test_the_log_warns_of_keys_that_come_without_tls(settings, url, is_warned):
    with structlog.testing.capture_logs() as logged:
        await open_access(settings.model_copy(update={"jwks_url": url}))
    assert ("jwks_without_tls" in [line["event"] for line in logged]) is is_warned
