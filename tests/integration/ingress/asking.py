"""Asking a service that wants tokens."""

from typing import Any

from app.ingress.auth_endpoints import Links

EXPORT_ID = "e" * 64
ATTEMPT = "1795404000000-17"


async def is_ready(service) -> bool:
    """Whether an ingress has read its topics; one that is stopped earlier leaves sockets open."""
    async with service.get("/readyz") as answer:
        return answer.status == 200


def with_token(token: str, **headers: str) -> dict[str, Any]:
    """Options of a request that shows a token."""
    return {"headers": {"x-api-key": token, **headers}}


async def status_of(service, method: str, path: str, **options) -> int:
    async with service.request(method, path, **options) as answer:
        if answer.status >= 400:
            assert (await answer.json())["message"]
        assert (answer.status == 401) == ("WWW-Authenticate" in answer.headers)
        return answer.status


async def create(service, token: str, body: dict) -> str:
    async with service.post("/create", json=body, **with_token(token)) as answer:
        assert answer.status == 200
        return (await answer.json())["requestId"]


async def finished(service, issuer, peer, say, golden, package, eventually) -> str:
    peer.script = lambda asked: [
        say.progress(asked),
        say.export(18, "Completed", expires_at_ms=4_000_000_000_000),
        say.finished(
            asked.request_id,
            file_uri=f"http://x/prefix/downloads/{EXPORT_ID}/{ATTEMPT}/{package.name}",
            metadata_uri=f"http://x/downloads/{EXPORT_ID}/{ATTEMPT}/{package.stem}.json",
        ),
    ]
    request_id = await create(service, issuer.token(), golden)

    async def is_finished() -> bool:
        async with service.get(f"/taskStatus/{request_id}", **with_token(issuer.token())) as answer:
            return (await answer.json())["status"] == "Completed"

    await eventually(is_finished)
    return request_id


async def links_of(service, token: str, request_id: str) -> dict:
    async with service.post(f"/exports/{request_id}/links", **with_token(token)) as answer:
        assert answer.status == 200
        told: dict = await answer.json()
        Links.model_validate(told)
        return told
