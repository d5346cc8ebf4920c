"""Every status that the OpenAPI document promises is really produced, and no other."""

from uuid import uuid4

import orjson

from app.domain.decision import Send
from app.domain.records import ExportRequested
from app.domain.rows import DeliveryRow
from app.ingress.auth_endpoints import AUTH_ENDPOINTS
from app.ingress.openapi import documented_statuses

EXPORT_ID = "e" * 64
OF_AUTH = {(endpoint.method.upper(), endpoint.path) for endpoint in AUTH_ENDPOINTS}
ATTEMPT = "1795404000000-17"
DOWNLOAD = "/downloads/{export_id}/{attempt}/{name}"


class Tried:
    """Sends requests and collects the statuses by route."""

    def __init__(self, client) -> None:
        self.client = client
        self.seen: dict[tuple[str, str], set[int]] = {}

    async def __call__(self, method: str, route: str, path: str, **options) -> int:
        async with self.client.request(method, path, **options) as answer:
            self.seen.setdefault((method, route), set()).add(answer.status)
            if answer.status >= 400 and method != "HEAD":
                assert (await answer.json())["message"]
            return answer.status


async def is_told(client, request_id: str, status: str) -> bool:
    async with client.get(f"/exports/{request_id}") as answer:
        return (await answer.json()).get("status") == status


async def estimate(tried, body: object) -> None:
    await tried("POST", "/estimate", "/estimate", data=orjson.dumps(body))


async def try_space(tried, golden, settings) -> None:
    for body in (golden, {}, golden | {"dbId": str(uuid4())}, "x" * settings.max_body_bytes):
        await estimate(tried, body)
    await tried("GET", "/storage", "/storage")


async def try_deliveries(tried, peer, known: str, eventually) -> None:
    """Of a result and of a warning; a third one is not there."""
    route = "/exports/{id}/deliveries"
    for number, event in enumerate(("completed", "expiring")):
        row = DeliveryRow(known, "http://h/", "delivered", 1, event=event)
        await peer.send(Send("coordinator-deliveries-changelog", f"{number}" * 32, row))

    async def are_told() -> bool:
        async with tried.client.get(f"/exports/{known}/deliveries") as answer:
            return len((await answer.json())["deliveries"]) == 2

    await eventually(are_told)
    for name in (known, "7" * 101, uuid4()):
        await tried("GET", route, f"/exports/{name}/deliveries")
        for number in range(3):
            path = f"/exports/{name}/deliveries/{f'{number}' * 32}/redeliver"
            await tried("POST", f"{route}/{{deliveryId}}/redeliver", path)


async def download_what_has_gone(tried, peer, say, known: str, eventually) -> None:
    gone = f"http://x/downloads/{EXPORT_ID}/{ATTEMPT}/gone.gpkg"
    await peer.send(say.finished(known, file_uri=gone))
    await eventually(lambda: is_told(tried.client, known, "Completed"))
    for method in ("GET", "HEAD"):
        await tried(method, DOWNLOAD, gone.removeprefix("http://x"))


async def retry_what_is_too_large_by_now(tried, peer, say, layer_id: str, eventually) -> None:
    """The whole layer: it was taken in when the limit was another one."""
    large = ExportRequested(str(uuid4()), layer_id, client="anonymous", via_http=True)
    path = f"/exports/{large.request_id}"
    await peer.send(say.progress(large), say.finished(large.request_id, "Failed"))
    await eventually(lambda: is_told(tried.client, large.request_id, "Failed"))
    assert await tried("POST", "/exports/{id}/retry", f"{path}/retry") == 413


async def try_exports(tried, known: str) -> None:
    for path in ("/exports", "/exports/events"):
        await tried("GET", path, path)
    await tried("GET", "/exports", "/exports?limit=0")
    await tried("GET", "/exports/events", "/exports/events?ids=")
    for end in ("", "/events"):
        for name in (known, "7" * 101, uuid4()):
            await tried("GET", f"/exports/{{id}}{end}", f"/exports/{name}{end}")


async def try_plain(tried) -> None:
    await tried("GET", "/layers", "/layers?bbox=34,31,35,32")
    await tried("GET", "/layers", "/layers?bbox=here")
    await tried("GET", "/livez", "/livez")
    await tried("GET", "/readyz", "/readyz")


async def try_downloads(tried, package) -> None:
    where = f"/downloads/{EXPORT_ID}/{ATTEMPT}/{package.name}"
    for headers in (
        {},
        {"Range": "bytes=0-1"},
        {"If-None-Match": "*"},
        {"If-Match": '"x"'},
        {"Range": "bytes=100000-"},
    ):
        for method in ("GET", "HEAD"):
            await tried(method, DOWNLOAD, where, headers=headers)
    for method in ("GET", "HEAD"):
        await tried(method, DOWNLOAD, where + "x")


async def test_each_documented_status_is_produced(
    client, peer, say, settings, package, golden, eventually
):
    tried = Tried(client)

    async def create(body: dict | bytes = golden) -> int:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        return await tried("POST", "/create", "/create", data=data)

    await create()
    await create({})
    await create(golden | {"dbId": str(uuid4())})
    await create(b" " * (settings.max_body_bytes + 1))
    for status in (429, 507):
        peer.script = lambda asked, status=status: [
            say.progress(asked, "Refused", http_status=status, reason="full", export_id=None)
        ]
        await create()
    known = peer.asked[0].request_id
    await eventually(lambda: tried("GET", "/taskStatus/{id}", f"/taskStatus/{known}"))
    await tried("GET", "/taskStatus/{id}", f"/taskStatus/{'7' * 101}")
    await tried("GET", "/taskStatus/{id}", f"/taskStatus/{uuid4()}")

    await try_exports(tried, known)
    await try_deliveries(tried, peer, known, eventually)

    async def command(method: str, name: object, body: bytes = b"", end: str = "") -> int:
        route, path = f"/exports/{{id}}{end}", f"/exports/{name}{end}"
        return await tried(method, route, path, data=body)

    for method, end in (("DELETE", ""), ("PATCH", ""), ("POST", "/retry")):
        for name in ("7" * 101, uuid4()):
            await command(method, name, end=end)
    await command("DELETE", known)
    await command("PATCH", known, b'{"pinned": true}')
    await command("PATCH", known, b" " * 20_000)
    await command("POST", known, end="/retry")
    await peer.send(say.export(18, "Completed"), say.finished(known))
    await eventually(lambda: is_told(client, known, "Completed"))
    await command("PATCH", known, b'{"pinned": true}')
    await peer.send(say.finished(known, "Failed"))
    await eventually(lambda: is_told(client, known, "Failed"))
    await command("DELETE", known)
    for status in (429, 507, 200):
        peer.script = lambda asked, status=status: [
            say.progress(
                asked,
                "Refused" if status > 200 else "Accepted",
                http_status=status,
                reason="full",
            )
        ]
        await command("POST", known, end="/retry")

    await retry_what_is_too_large_by_now(tried, peer, say, golden["dbId"], eventually)
    await try_downloads(tried, package)
    await download_what_has_gone(tried, peer, say, known, eventually)
    await try_space(tried, golden, settings)
    await try_plain(tried)

    settings.catalogue_dir.rename(settings.data_dir / "elsewhere")
    await create()
    await estimate(tried, golden)
    await tried("GET", "/layers", "/layers")

    # Of a broker and a disk that are gone: test_broker_away.py, test_space.py; of too many
    # streams: test_event_readers.py; of tokens and links: test_sessions.py, test_links.py; of
    # single tiles: test_tiles.py; of areas: test_areas.py.
    expected = {
        key: told
        for key, told in documented_statuses().items()
        if "/tiles/" not in key[1] and key[1] != "/areas" and key not in OF_AUTH
    }
    for method, end in (("DELETE", ""), ("PATCH", ""), ("POST", "/retry")):
        expected[method, f"/exports/{{id}}{end}"] -= {503}
    expected["GET", "/readyz"] -= {503}
    for method in ("GET", "HEAD"):
        expected[method, DOWNLOAD] -= {503}
    expected["GET", "/storage"] -= {503}
    expected["POST", "/exports/{id}/deliveries/{deliveryId}/redeliver"] -= {503}
    expected["GET", "/exports/events"] -= {429, 503}
    expected["GET", "/exports/{id}/events"] -= {429, 503}
    assert tried.seen == expected


async def test_unknown_paths_and_methods_are_told_as_json(client):
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/nothing?x=1", 404),
        ("POST", "/layers", 405),
        ("DELETE", "/create", 405),
        ("GET", "/create", 405),
        ("PUT", "/taskStatus/7", 405),
    ):
        async with client.request(method, path) as answer:
            assert (answer.status, answer.content_type) == (status, "application/json")
            assert (await answer.json())["message"]
            assert ("Allow" in answer.headers) == (status == 405)


async def test_layers_are_told_without_their_source(client, settings):
    async with client.get("/layers") as answer:
        (layer,) = await answer.json()
    assert layer["productId"] == "BLUE_MARBLE"
    assert "source" not in layer
    async with client.get("/layers", params={"bbox": "50,50,60,60"}) as answer:
        assert await answer.json() == []


async def test_without_topics_the_ingress_lives_and_is_not_ready(unready_client):
    async with unready_client.get("/livez") as answer:
        assert answer.status == 200
    async with unready_client.get("/readyz") as answer:
        assert answer.status == 503
        assert "export-requests is missing" in (await answer.json())["message"]


async def test_the_document_is_served(client):
    async with client.get("/openapi.json") as answer:
        assert (await answer.json())["openapi"].startswith("3.1")
