"""Keys of a file and of a real HTTP server: kept, fetched again, and never too often."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from app.ingress.auth.keys import CachedKeychain, KeysUnavailable, keys_of_file, keys_of_url
from tests.integration.ingress.asking import is_ready, status_of, with_token
from tests.key_server import KeyServer
from tests.token_issuer import Issuer, new_key


@pytest.fixture
async def published(port: int) -> AsyncIterator[KeyServer]:
    server = KeyServer()
    async with server.serving(port):
        yield server


@pytest.fixture
def url(port: int) -> str:
    return f"http://127.0.0.1:{port}/jwks"


def of_url(url: str, *, max_age_s: float = 600, ask_again_s: float = 10) -> CachedKeychain:
    return keys_of_url(url, max_age_s=max_age_s, ask_again_s=ask_again_s)


async def test_keys_are_fetched_once_for_all_that_wait(published, url):
    keychain = of_url(url)
    found = await asyncio.gather(*(keychain.find("one") for _ in range(50)))
    assert all(found)
    assert await keychain.find("one")
    assert published.asked == 1


async def test_a_new_key_is_found_when_a_token_names_it(published, url):
    keychain = of_url(url, ask_again_s=0)
    assert await keychain.find("two") is None
    published.issuer.keys["two"] = new_key()
    assert await keychain.find("two") is not None


async def test_unknown_kids_make_us_ask_at_most_once_in_a_while(published, url):
    keychain = of_url(url)
    await keychain.find("one")
    for number in range(20):
        assert await keychain.find(f"nobody's {number}") is None
    assert published.asked == 1


@pytest.mark.parametrize("status", [404, 500])
async def test_keys_are_kept_while_the_url_answers_with_an_error(published, url, status):
    keychain = of_url(url, ask_again_s=0)
    await keychain.find("one")
    published.status = status
    assert await keychain.find("two") is None
    assert published.asked == 2
    assert await keychain.find("one") is not None


async def test_keys_are_kept_while_the_url_is_down_and_told_unavailable_before(port, url):
    server, keychain = KeyServer(), of_url(url, ask_again_s=0)
    with pytest.raises(KeysUnavailable, match="could not be read"):
        await keychain.find("one")
    async with server.serving(port):
        assert await keychain.find("one") is not None
    assert await keychain.find("two") is None
    assert await keychain.find("one") is not None


async def test_a_key_that_was_withdrawn_goes_when_its_time_is_over(published, url, eventually):
    keychain = of_url(url, max_age_s=0.1)
    refreshing = asyncio.create_task(keychain.refresh_forever())
    try:
        await eventually(lambda: keychain.find("one"))
        published.issuer.keys = {"two": new_key()}

        async def has_only_the_new_one() -> bool:
            return await keychain.find("one") is None and await keychain.find("two") is not None

        await eventually(has_only_the_new_one)
    finally:
        refreshing.cancel()


async def test_the_keys_of_a_file_change_with_it(tmp_path, eventually):
    issuer, path = Issuer(), tmp_path / "jwks.json"
    path.write_bytes(issuer.jwks())
    keychain = keys_of_file(path)
    assert await keychain.find("one") is not None
    issuer.keys["two"] = new_key()
    path.write_bytes(issuer.jwks())
    await eventually(lambda: keychain.find("two"))


async def test_a_server_that_hands_out_something_else_changes_nothing(published, url):
    keychain = of_url(url, ask_again_s=0)
    await keychain.find("one")
    published.issuer.keys = {}
    assert await keychain.find("two") is None
    assert await keychain.find("one") is not None


async def test_an_ingress_follows_the_keys_of_its_issuer_and_never_floods_it(
    settings, broker, topics, ingress_of, eventually
):
    server = KeyServer()
    issuer = server.issuer
    async with server.serving(0) as port:
        url = f"http://127.0.0.1:{port}/jwks"
        with_keys = settings.model_copy(update={"jwks_url": url, "jwks_ask_again_s": 1.0})
        async with ingress_of(with_keys, broker) as service:
            await eventually(lambda: is_ready(service))

            async def status(token: str) -> int:
                return await status_of(service, "GET", "/layers", **with_token(token))

            assert await status(issuer.token()) == 200
            assert server.asked == 1
            began_s = time.monotonic()
            issuer.keys["two"] = new_key()

            async def new_key_is_taken() -> bool:
                unknown = (issuer.token(f"no {n}", key=issuer.keys["one"]) for n in range(50))
                assert set(await asyncio.gather(*map(status, unknown))) == {401}
                return await status(issuer.token("two")) == 200

            await eventually(new_key_is_taken)
            assert server.asked <= 2 + time.monotonic() - began_s
