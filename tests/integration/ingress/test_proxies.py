"""Forwarded headers on a real ingress: believed from trusted proxies, ignored from anybody else."""

from ipaddress import ip_network

import pytest
import structlog

from tests.integration.ingress.asking import create, is_ready, links_of, status_of, with_token

FORWARDED = {
    "X-Forwarded-For": "203.0.113.9, 192.0.2.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "maps.corp.example",
}


@pytest.mark.parametrize(
    ("trusted", "address", "status"),
    [("127.0.0.0/8", "192.0.2.7", 200), ("10.0.0.0/8", "127.0.0.1", 403)],
)
async def test_only_a_trusted_proxy_says_who_asks_and_at_which_address(
    guarded, issuer, broker, topics, peer, golden, ingress_of, eventually, trusted, address, status
):
    behind = guarded.model_copy(update={"trusted_proxies": (ip_network(trusted),)})
    async with ingress_of(behind, broker) as service:
        await eventually(lambda: is_ready(service))
        headers = FORWARDED | {
            "Cookie": f"session={issuer.token()}",
            "Origin": "https://maps.corp.example",
        }
        with structlog.testing.capture_logs() as logged:
            asked = {"json": golden, "headers": headers}
            # The page's own origin is the one that the proxy says the browser has asked.
            assert await status_of(service, "POST", "/create", **asked) == status
            await eventually(lambda: any(line["event"] == "http_request" for line in logged))
        (line,) = (line for line in logged if line["event"] == "http_request")
        assert line["client_address"] == address


async def test_no_header_leads_a_link_elsewhere(
    guarded, issuer, broker, topics, peer, say, golden, package, ingress_of, eventually
):
    behind = guarded.model_copy(update={"trusted_proxies": (ip_network("127.0.0.0/8"),)})
    peer.script = lambda asked: [
        say.progress(asked),
        say.export(18, "Completed"),
        say.finished(asked.request_id),
    ]
    async with ingress_of(behind, broker) as service:
        await eventually(lambda: is_ready(service))
        request_id = await create(service, issuer.token(), golden)
        path = f"/exports/{request_id}/links"

        async def is_finished() -> bool:
            return await status_of(service, "POST", path, **with_token(issuer.token())) == 200

        await eventually(is_finished)
        usual = await links_of(service, issuer.token(), request_id)
        options = with_token(issuer.token(), **FORWARDED, Host="evil.example")
        async with service.post(path, **options) as answer:
            told = await answer.json()
        assert told["fileUri"].split("?")[0] == usual["fileUri"].split("?")[0]
        assert told["fileUri"].startswith(behind.base_url)
