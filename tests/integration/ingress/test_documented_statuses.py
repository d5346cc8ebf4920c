"""Every status that the OpenAPI document promises is really produced, and no other."""

from uuid import uuid4

import orjson

from app.ingress.openapi import documented_statuses

EXPORT_ID = "e" * 64
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
            if answer.status >= 400:
                assert (await answer.json())["message"]
            return answer.status


async def is_told(client, request_id: str, status: str) -> bool:
    async with client.get(f"/exports/{request_id}") as answer:
        return (await answer.json())["status"] == status


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
    await tried("GET", "/taskStatus/{id}", "/taskStatus/7")
    await tried("GET", "/taskStatus/{id}", f"/taskStatus/{uuid4()}")

    await tried("GET", "/exports", "/exports")
    await tried("GET", "/exports", "/exports?limit=0")
    for name in (known, "7", uuid4()):
        await tried("GET", "/exports/{id}", f"/exports/{name}")

    async def command(method: str, name: object, body: bytes = b"", end: str = "") -> int:
        route, path = f"/exports/{{id}}{end}", f"/exports/{name}{end}"
        return await tried(method, route, path, data=body)

    for method, end in (("DELETE", ""), ("PATCH", ""), ("POST", "/retry")):
        for name in ("7", uuid4()):
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

    where = f"/downloads/{EXPORT_ID}/{ATTEMPT}/{package.name}"
    for headers in (
        {},
        {"Range": "bytes=0-1"},
        {"If-None-Match": "*"},
        {"If-Match": '"x"'},
        {"Range": "bytes=100000-"},
    ):
        await tried("GET", DOWNLOAD, where, headers=headers)
    await tried("GET", DOWNLOAD, where + "x")
    await tried("GET", "/layers", "/layers?bbox=34,31,35,32")
    await tried("GET", "/layers", "/layers?bbox=here")
    await tried("GET", "/livez", "/livez")
    await tried("GET", "/readyz", "/readyz")

    settings.catalogue_dir.rename(settings.data_dir / "elsewhere")
    await create()
    await tried("GET", "/layers", "/layers")

    # Of a broker and a disk that are gone: test_broker_away.py, and a disk that hangs.
    expected = documented_statuses()
    for method, end in (("DELETE", ""), ("PATCH", ""), ("POST", "/retry")):
        expected[method, f"/exports/{{id}}{end}"] -= {503}
    expected["GET", "/readyz"] -= {503}
    expected["GET", DOWNLOAD] -= {503}
    assert tried.seen == expected


async def test_unknown_paths_and_methods_are_told_as_json(client):
    for method, path, status in (
        ("GET", "/", 404),
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
