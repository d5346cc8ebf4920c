"""Presigned links over HTTP: what they open, for whom they are made, and for how long."""

import os
from hashlib import sha256
from uuid import uuid4

from yarl import URL

from tests.integration.ingress.asking import create, finished, links_of, status_of, with_token


async def test_a_link_needs_no_token_and_is_good_for_its_file_only(
    service, issuer, peer, say, golden, package, eventually
):
    request_id = await finished(service, issuer, peer, say, golden, package, eventually)
    links = await links_of(service, issuer.token(), request_id)
    link, metadata = URL(links["fileUri"]), URL(links["metadataUri"])
    assert str(link).startswith(str(service._base_url / "downloads"))
    async with service.get(link, headers={"Range": "bytes=1-2"}) as answer:
        assert (answer.status, await answer.read()) == (206, package.read_bytes()[1:3])
    async with service.head(link) as answer:
        assert answer.status == 200
    assert await status_of(service, "GET", str(metadata)) == 200
    for wrong in (
        metadata.with_path(link.path, keep_query=True),
        link.update_query(expires=str(int(link.query["expires"]) + 1)),
        link.update_query(signature="0" * 64),
        link.without_query_params("signature"),
    ):
        assert await status_of(service, "GET", str(wrong)) == 403
    # It is good for downloads, and for reading, only.
    assert await status_of(service, "GET", f"/layers?{link.query_string}") == 401
    assert await status_of(service, "POST", f"/create?{link.query_string}") == 401
    # Who has a token needs no link.
    old = link.update_query(signature="0" * 64)
    assert await status_of(service, "GET", str(old), **with_token(issuer.token())) == 200


async def test_links_are_made_for_ones_own_finished_requests_only(
    service, issuer, peer, say, golden, package, eventually
):
    request_id = await finished(service, issuer, peer, say, golden, package, eventually)
    path = f"/exports/{request_id}/links"
    assert await status_of(service, "POST", path, **with_token(issuer.token(sub="berta"))) == 404
    root = issuer.token(sub="root", role="admin")
    assert await status_of(service, "POST", path, **with_token(root)) == 200
    peer.script = lambda asked: [say.progress(asked)]
    running = await create(service, issuer.token(), golden)
    path = f"/exports/{running}/links"
    assert await status_of(service, "POST", path, **with_token(issuer.token())) == 409
    path = f"/exports/{uuid4()}/links"
    assert await status_of(service, "POST", path, **with_token(issuer.token())) == 404
    path = f"/exports/{'7' * 101}/links"
    assert await status_of(service, "POST", path, **with_token(issuer.token())) == 400


async def test_there_is_no_link_to_a_package_that_has_expired(
    service, issuer, peer, say, golden, package, eventually
):
    request_id = await finished(service, issuer, peer, say, golden, package, eventually)
    link = (await links_of(service, issuer.token(), request_id))["fileUri"]
    await peer.send(say.export(18, "Completed", expires_at_ms=1))
    path = f"/exports/{request_id}/links"

    async def is_gone() -> bool:
        return await status_of(service, "POST", path, **with_token(issuer.token())) == 410

    await eventually(is_gone)
    package.unlink()
    assert await status_of(service, "GET", link) == 410


async def test_a_download_that_began_before_its_link_expired_ends_whole(
    guarded, issuer, broker, topics, peer, say, golden, package, ingress_of, eventually
):
    content = os.urandom(1 << 20) * 64
    package.write_bytes(content)
    short = guarded.model_copy(update={"link_hours": 6 / 3600})
    async with ingress_of(short, broker) as service:
        request_id = await finished(service, issuer, peer, say, golden, package, eventually)
        link = (await links_of(service, issuer.token(), request_id))["fileUri"]
        async with service.get(link) as answer:
            assert answer.status == 200
            body = bytearray(await answer.content.read(1 << 16))

            async def is_gone() -> bool:
                async with service.get(link) as late:
                    return late.status == 410

            await eventually(is_gone)
            async for part in answer.content.iter_any():
                body += part
        assert sha256(body).hexdigest() == sha256(content).hexdigest()
