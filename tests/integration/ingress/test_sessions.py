"""The session of the page: a cookie, and what it may change."""

import aiohttp
import pytest

from app.catalogue.folder import FolderCatalogue
from app.ingress.auth_endpoints import Session, SessionOpened
from app.ingress.run import serving
from app.store.artifact_store import ArtifactStore
from tests.integration.ingress.asking import is_ready, status_of


async def test_a_session_keeps_the_token_where_no_script_reads_it(service, issuer):
    token = issuer.token(sub="anna", role="admin")
    async with service.post("/session", json={"token": token}) as answer:
        assert answer.status == 200
        told = await answer.json()
        SessionOpened.model_validate(told)
        cookie = answer.cookies["session"]
    assert told.pop("expiresAt").endswith("Z")
    assert told == {"client": "anna", "administrator": True, "authRequired": True}
    assert cookie["httponly"]
    assert (cookie["samesite"], cookie["path"], cookie["secure"]) == ("Strict", "/", "")
    assert 500 <= int(cookie["max-age"]) <= 600
    # aiohttp's client keeps no cookies of addresses, so it is sent by hand.
    signed_in = {"Cookie": f"session={cookie.value}"}
    async with service.get("/session", headers=signed_in) as answer:
        assert await answer.json() == told
        Session.model_validate(told)
    async with service.delete("/session", headers=signed_in) as answer:
        assert answer.status == 204
        assert answer.cookies["session"]["max-age"] == "0"


async def test_nobody_is_told_so_and_not_refused(service, issuer):
    nobody = {"client": None, "administrator": False, "authRequired": True}
    for headers in ({}, {"Cookie": "session=x"}, {"x-api-key": issuer.token(d="dem")}):
        async with service.get("/session", headers=headers) as answer:
            assert (answer.status, await answer.json()) == (200, nobody)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{}", 400),
        (b"[]", 400),
        (b'{"token": 7}', 400),
        (b'{"token": "x", "more": 1}', 400),
        (b'{"token": "x"}', 401),
        (b" " * 20_000, 413),
    ],
)
async def test_a_session_needs_a_good_token(service, body, status):
    assert await status_of(service, "POST", "/session", data=body) == status


async def test_the_cookie_is_secure_behind_https(guarded, issuer, broker, topics, eventually):
    behind = guarded.model_copy(update={"public_url": "https://exports.example"})
    catalogue, files = FolderCatalogue(behind.catalogue_dir), ArtifactStore(behind.exports_dir)
    async with (
        serving(behind, bootstrap=broker, catalogue=catalogue, files=files),
        aiohttp.ClientSession(f"http://127.0.0.1:{behind.port}") as service,
    ):
        await eventually(lambda: is_ready(service))
        async with service.post("/session", json={"token": issuer.token()}) as answer:
            assert answer.cookies["session"]["secure"] is True


async def test_a_session_changes_nothing_for_another_page(service, issuer, peer, golden):
    cookie = {"Cookie": f"session={issuer.token()}"}
    own = str(service._base_url).rstrip("/")
    for headers, status in (
        ({}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://maps.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": own}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": own}, 200),
    ):
        told = {"headers": cookie | headers, "json": golden}
        assert await status_of(service, "POST", "/create", **told) == status, headers
    assert len(peer.asked) == 2
    assert await status_of(service, "GET", "/layers", headers=cookie) == 200
    foreign = {"json": {"token": issuer.token()}, "headers": {"Origin": "https://evil.example"}}
    assert await status_of(service, "POST", "/session", **foreign) == 403
    assert await status_of(service, "DELETE", "/session", headers=foreign["headers"]) == 403


async def test_without_keys_there_is_no_session_and_everybody_is_anonymous(client):
    async with client.get("/session") as answer:
        told = await answer.json()
    assert told == {"client": "anonymous", "administrator": False, "authRequired": False}
    assert await status_of(client, "POST", "/session", json={"token": "x"}) == 400
