"""The service behind a proxy: whom it believes, where its links lead, who may read, what it audits.

The proxy has an address of its own, 127.0.0.2, which alone is trusted; 127.0.0.1 is a stranger.
The log is read as an operator reads it: the file in the data folder, while the service runs.
"""

import hashlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from app.demo import DEMO_LAYER_ID
from tests.end_to_end.conftest import Service
from tests.end_to_end.guarded import ISSUER, Caller, guarded_service, put_stuck_layer

PROXY, STRANGER = "127.0.0.2", "127.0.0.1"
PUBLIC = "https://exports.example"
PAGE = "https://maps.example"
BEHIND = {
    "EXPORT_PUBLIC_URL": PUBLIC,
    "EXPORT_TRUSTED_PROXIES": f'["{PROXY}/32"]',
    "EXPORT_CORS_ORIGINS": f'["{PAGE}"]',
    "EXPORT_VERDICT_WAIT_S": "30",  # a slow machine, too, says at once which request a repeat is
}
FORWARDED = {
    # What the caller wrote itself stands first; the proxy adds whom it has seen.
    "X-Forwarded-For": "203.0.113.9, 192.0.2.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "tiles.corp.example",
}
DEADLINE_S = 60


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Service]:
    with socket.socket() as tried:
        try:
            tried.bind((PROXY, 0))
        except OSError:
            pytest.skip(f"this machine has no {PROXY}: its loopback is one address")
    with guarded_service(tmp_path_factory.mktemp("behind"), **BEHIND) as started:
        yield started


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[str], aiohttp.ClientSession]]:
    """Sessions that come from an address."""
    sessions: list[aiohttp.ClientSession] = []

    def of(address: str) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(local_addr=(address, 0))
        sessions.append(aiohttp.ClientSession(connector=connector))
        return sessions[-1]

    yield of
    for session in sessions:
        await session.close()


def logged(service: Service, **facts: Any) -> list[dict[str, Any]]:
    """The lines of the ingress's log that say all this."""
    log: Path = service.data_dir / "run" / "ingress.log"
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if facts.items() <= line.items()]


async def finished(caller: Caller, request_id: str, eventually) -> dict[str, Any]:
    """The result of an export, which is a package."""

    async def result() -> dict[str, Any] | None:
        return (await caller.export(request_id))["result"]

    told: dict[str, Any] = await eventually(result, deadline_s=DEADLINE_S)
    assert told["success"], told
    return told


def inside(service: Service, uri: str) -> str:
    """The way to a public address from within the proxy."""
    assert uri.startswith(f"{PUBLIC}/downloads/")
    return service.url.rstrip("/") + uri.removeprefix(PUBLIC)


@pytest.mark.parametrize(
    ("comes_from", "address", "status"), [(PROXY, "192.0.2.7", 200), (STRANGER, STRANGER, 403)]
)
async def test_only_the_trusted_proxy_says_who_asks_and_at_which_address(
    service, connect, eventually, comes_from, address, status
):
    """With a page's cookie one may change something from that page's own origin alone."""
    client = f"page at {comes_from}"
    headers = {"Cookie": f"session={ISSUER.token(sub=client)}"}
    headers |= {"Origin": "https://tiles.corp.example"} | FORWARDED
    body = {"dbId": DEMO_LAYER_ID, "bbox": [10, 50, 11, 51]}
    asked = connect(comes_from).post(f"{service.url}/create", json=body, headers=headers)
    async with asked as answer:
        assert answer.status == status, await answer.text()
        told = await answer.json()
    said = {"client": client, "client_address": address}
    (line,) = await eventually(lambda: logged(service, event="http_request", **said))
    assert (line["path"], line["status"]) == ("/create", status)
    audited = [line["event"] for line in logged(service, logger="audit", **said)]
    assert audited == (["export_asked"] if status == 200 else [])
    assert "from its own page only" in told.get("message", "") or status == 200


async def test_all_links_lead_to_the_public_address_whatever_a_header_says(
    service, connect, hooks, eventually
):
    olaf = Caller(service, connect(PROXY), "olaf")
    request_id = await olaf.create(DEMO_LAYER_ID, [20, 50, 21, 51], callbackURLs=[hooks.url])
    result = await finished(olaf, request_id, eventually)
    assert await hooks.result(request_id) == result
    links = await olaf("POST", f"/exports/{request_id}/links", **FORWARDED, Host="evil.example")
    for told in (result, links.body):
        for uri in (told["fileUri"], told["metadataUri"]):
            assert uri.startswith(f"{PUBLIC}/downloads/"), uri
    package = await olaf("GET", inside(service, result["fileUri"]))
    assert hashlib.sha256(package.body).hexdigest() == result["sha256"]
    document = await olaf("GET", "/openapi.json", **FORWARDED)
    assert document.body["servers"] == [{"url": PUBLIC}]
    opened = await olaf("POST", "/session", {"token": olaf.token})
    assert {"Secure", "HttpOnly"} <= set(opened.headers["Set-Cookie"].split("; "))


async def test_pages_of_the_origin_that_is_listed_may_ask_and_read_and_others_may_not(
    service, connect, eventually
):
    paul = Caller(service, connect(PROXY), "paul")
    request_id = await paul.create(DEMO_LAYER_ID, [30, 50, 31, 51])
    result = await finished(paul, request_id, eventually)
    wish = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    for origin, allowed in ((PAGE, PAGE), ("https://evil.example", None)):
        headers = wish | {"Origin": origin}
        async with paul.http.options(f"{service.url}/create", headers=headers) as preflight:
            assert preflight.status == 204  # though it has no token
            assert preflight.headers.get("Access-Control-Allow-Origin") == allowed
            assert ("Access-Control-Allow-Methods" in preflight.headers) == (allowed is not None)
        for method, path, body in (
            ("POST", "/create", {"dbId": DEMO_LAYER_ID, "bbox": [30, 50, 31, 51]}),
            ("GET", f"/exports/{request_id}", None),
            ("GET", inside(service, result["fileUri"]), None),
            ("GET", "/exports?limit=0", None),
        ):
            told = await paul(method, path, body, Origin=origin)
            assert told.headers.get("Access-Control-Allow-Origin") == allowed, path
            assert told.headers["Vary"] == "Origin"
            assert "Access-Control-Allow-Credentials" not in told.headers
        stream = {"x-api-key": paul.token, "Origin": origin}
        async with paul.http.get(f"{service.url}/exports/events", headers=stream) as events:
            assert events.status == 200
            assert events.headers.get("Access-Control-Allow-Origin") == allowed


@dataclass
class Story:
    """What some people did through the proxy, and what the audit log must say of each deed."""

    service: Service
    http: aiohttp.ClientSession
    expected: list[dict[str, Any]] = field(default_factory=list)

    async def deed(
        self, who: Caller, where: str, method: str, path: str, body: Any = None, **headers: str
    ) -> Any:
        """Do something, which is allowed; what was answered."""
        told = await who(method, path, body, **{"X-Forwarded-For": where, **headers})
        assert told.status < 300, told
        return told.body

    def tells(self, who: str, where: str, event: str, **facts: Any) -> None:
        said = {"client": who, "administrator": who == "root", "client_address": where}
        self.expected.append({"event": event, **said, **facts})

    async def create(self, who: Caller, where: str, **body: Any) -> str:
        answer = await self.deed(who, where, "POST", "/create", body)
        request_id: str = answer["requestId"]
        self.tells(who.name, where, "export_asked", answered_by=request_id)
        return request_id


SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=90)
HOME, OFFICE, ABROAD = "192.0.2.7", "2001:db8::7", "198.51.100.4"


async def take_away(story: Story, anna: Caller, request_id: str, result: dict[str, Any]) -> str:
    """Anna takes the package and its metadata, a friend the package by her link; gives the link."""
    package, metadata = (inside(story.service, result[name]) for name in ("fileUri", "metadataUri"))
    *_, export_id, _attempt, name = package.split("/")
    about = {"export_id": export_id, "name": name}
    await story.deed(anna, HOME, "GET", package, Range="bytes=0-99")
    story.tells("anna", HOME, "file_downloaded", **about, byte_range="bytes=0-99")
    await story.deed(anna, HOME, "HEAD", package)  # nothing was taken
    await story.deed(anna, OFFICE, "GET", metadata)
    about_metadata = about | {"name": metadata.rpartition("/")[2], "byte_range": None}
    story.tells("anna", OFFICE, "file_downloaded", **about_metadata)
    links = await story.deed(anna, HOME, "POST", f"/exports/{request_id}/links")
    story.tells("anna", HOME, "link_made", request_id=request_id, expires_at=links["expiresAt"])
    link = inside(story.service, links["fileUri"])
    async with story.http.get(link, headers={"X-Forwarded-For": ABROAD}) as answer:
        assert answer.status == 200, await answer.text()
        assert len(await answer.read()) == result["fileSize"]
    story.tells("(link)", ABROAD, "file_downloaded", **about, byte_range=None)
    return link


async def keep_and_let_go(story: Story, anna: Caller, request_id: str) -> None:
    """Each order that there is for a finished export, and then it is made once more."""
    path = f"/exports/{request_id}"
    for change, event, argument in (
        ({"expirationTime": SOON.isoformat()}, "extended", str(int(SOON.timestamp() * 1000))),
        ({"pinned": True}, "pinned", None),
        ({"pinned": False}, "unpinned", None),
    ):
        await story.deed(anna, HOME, "PATCH", path, change)
        story.tells("anna", HOME, f"export_{event}", request_id=request_id, argument=argument)
    (delivery,) = (await story.deed(anna, HOME, "GET", f"{path}/deliveries"))["deliveries"]
    await story.deed(anna, HOME, "POST", f"{path}/deliveries/{delivery['id']}/redeliver")
    story.tells("anna", HOME, "delivery_redelivered", request_id=request_id, argument=None)
    await story.deed(anna, HOME, "DELETE", path)
    story.tells("anna", HOME, "export_deleted", request_id=request_id)
    again = await story.deed(anna, HOME, "POST", f"{path}/retry")
    story.tells("anna", HOME, "export_retried", request_id=request_id, again=again["requestId"])


async def be_cancelled(story: Story, bea: Caller, root: Caller) -> None:
    """Bea cancels one of her exports herself, and an administrator the other."""
    stuck = put_stuck_layer(story.service)
    for who, bbox in ((bea, [-10, 0, -5, 5]), (root, [5, 0, 10, 5])):
        request_id = await story.create(bea, OFFICE, dbId=stuck, bbox=bbox)
        await story.deed(who, HOME, "DELETE", f"/exports/{request_id}")
        story.tells(who.name, HOME, "export_cancelled", request_id=request_id)


async def be_refused(story: Story, bea: Caller, dan: Caller, path: str, eventually) -> None:
    """A stranger, one whose token is for another domain, and nobody; the access log knows them."""
    assert (await bea("DELETE", path)).status == 404
    assert (await dan("DELETE", path)).status == 403
    async with story.http.delete(f"{story.service.url}{path}") as answer:
        assert answer.status == 401
    for client, status in (("bea", 404), ("dan", 403), (None, 401)):
        said = {"event": "http_request", "client": client, "status": status, "path": path}
        await eventually(lambda said=said: logged(story.service, **said))


async def test_the_audit_log_of_the_service_tells_who_did_what_when_and_from_where(
    service, connect, hooks, eventually
):
    http = connect(PROXY)
    anna, bea = Caller(service, http, "anna"), Caller(service, http, "bea")
    root, dan = Caller(service, http, "root", role="admin"), Caller(service, http, "dan", d="dem")
    story = Story(service, http)

    await story.deed(anna, HOME, "POST", "/session", {"token": anna.token})
    story.tells("anna", HOME, "session_opened")
    wish = {"dbId": DEMO_LAYER_ID, "bbox": [40, 50, 41, 51], "callbackURLs": [hooks.url]}
    request_id = await story.create(anna, HOME, **wish)
    result = await finished(anna, request_id, eventually)
    await hooks.result(request_id)
    assert await story.create(anna, OFFICE, **wish) == request_id  # it answers for the repeat
    link = await take_away(story, anna, request_id, result)
    await keep_and_let_go(story, anna, request_id)
    await be_cancelled(story, bea, root)
    await be_refused(story, bea, dan, f"/exports/{request_id}", eventually)

    people = {"anna", "bea", "root", "dan", "(link)"}
    told = [line for line in logged(service, logger="audit") if line["client"] in people]
    for line, expected in zip(told, story.expected, strict=True):
        assert expected.items() <= line.items()
    times = [datetime.fromisoformat(line["timestamp"]) for line in told]
    assert times == sorted(times)
    assert {at.utcoffset() for at in times} == {timedelta(0)}
    log = (service.data_dir / "run" / "ingress.log").read_text()
    signatures = [who.token.rpartition(".")[2] for who in (anna, bea, root, dan)]
    for secret in (*signatures, link.rpartition("signature=")[2], hooks.url):
        assert secret not in log
