"""What must never stand in any log."""

from uuid import uuid4

import structlog
from yarl import URL

from tests.integration.ingress.asking import finished, links_of, with_token
from tests.token_issuer import new_key


async def test_no_token_ever_reaches_a_log(
    service, issuer, peer, say, golden, package, where, eventually, caplog, capfd
):
    tokens = [
        issuer.token(),
        issuer.token(exp=1),
        issuer.token(key=new_key()),
        issuer.token(d="dem"),
        "secret-that-is-no-jwt",
    ]
    caplog.set_level("DEBUG")
    with structlog.testing.capture_logs() as logged:
        for token in tokens:
            for options in (
                with_token(token),
                {"headers": {"Authorization": f"Bearer {token}"}},
                {"params": {"token": token}},
                {"headers": {"Cookie": f"session={token}"}},
            ):
                for path in ("/layers", where, f"/taskStatus/{uuid4()}x", "/nothing"):
                    async with service.get(path, **options) as answer:
                        await answer.read()
            async with service.post("/session", json={"token": token}) as answer:
                await answer.read()
        request_id = await finished(service, issuer, peer, say, golden, package, eventually)
        links = await links_of(service, tokens[0], request_id)
        async with service.get(links["fileUri"]) as answer:
            await answer.read()
        await eventually(
            lambda: any(
                line["event"] == "file_downloaded" and line["client"] == "(link)" for line in logged
            )
        )
    written = repr(logged) + caplog.text + "".join(capfd.readouterr())
    assert sum(line["event"] == "http_request" for line in logged) > 80
    for token in tokens:
        assert token not in written
        assert token.rpartition(".")[2] not in written
    assert URL(links["fileUri"]).query["signature"] not in written
