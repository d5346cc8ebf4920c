"""The audit log over HTTP."""

from ipaddress import ip_network

import structlog

from tests.integration.ingress.asking import EXPORT_ID, is_ready


def of_logger(logged, name):
    return [line for line in logged if line.get("logger") == name]


async def test_the_audit_log_tells_who_did_what_and_from_where(
    guarded, issuer, broker, topics, peer, golden, where, ingress_of, eventually
):
    behind = guarded.model_copy(update={"trusted_proxies": (ip_network("127.0.0.0/8"),)})
    async with ingress_of(behind, broker) as service:
        await eventually(lambda: is_ready(service))
        with structlog.testing.capture_logs() as logged:
            headers = {"x-api-key": issuer.token(), "X-Forwarded-For": "192.0.2.7"}
            async with service.post("/create", json=golden, headers=headers) as answer:
                request_id = (await answer.json())["requestId"]
            async with service.get(where, headers=headers | {"Range": "bytes=0-1"}) as answer:
                assert answer.status == 206
            async with service.get(where + "x", headers=headers) as answer:
                assert answer.status == 404
            # A line is written when its answer has been sent.
            await eventually(lambda: len(of_logger(logged, "audit")) == 2)
    lines = of_logger(logged, "audit")
    who = {"client": "anna", "administrator": False, "client_address": "192.0.2.7"}
    assert [line["event"] for line in lines] == ["export_asked", "file_downloaded"]
    assert all(who.items() <= line.items() for line in lines)
    assert lines[0]["request_id"] == request_id
    assert lines[1]["export_id"] == EXPORT_ID
    assert lines[1]["byte_range"] == "bytes=0-1"
    access = [line for line in logged if line["event"] == "http_request"]
    asked = [line for line in access if line["path"] != "/readyz"]
    assert {line["client_address"] for line in asked} == {"192.0.2.7"}
    assert {line["client"] for line in asked} == {"anna"}


async def test_a_refused_request_is_logged_with_the_client_of_its_good_token(
    service, issuer, eventually
):
    elsewhere = issuer.token(ao=["https://tiles.example"])
    with structlog.testing.capture_logs() as logged:
        for token in (issuer.token(d="dem"), elsewhere, issuer.token(exp=1)):
            headers = {"x-api-key": token, "Origin": "https://maps.example"}
            async with service.get("/exports", headers=headers) as answer:
                assert answer.status in (401, 403)
        await eventually(lambda: len(logged) == 3)
    assert [(line["status"], line["client"]) for line in logged] == [
        (403, "anna"),
        (403, "anna"),
        (401, None),
    ]
