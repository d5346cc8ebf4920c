"""The page as the ingress serves it: small, cached for good, under a strict policy."""

import itertools
import re

import aiohttp

from app.ingress import page
from app.ingress.page import DIST, WebPage

LARGEST_BUNDLE_BYTES = 130_000


async def test_the_page_is_served_under_a_strict_policy(client):
    for path in ("/", "/docs/api"):
        async with client.get(path) as answer:
            html = await answer.text()
            assert (answer.status, answer.content_type) == (200, "text/html")
            assert answer.headers["Cache-Control"] == "no-cache"
            policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'; ")
        assert "unsafe" not in policy
        assert "script-src" not in policy
        assert re.findall(r'(?:src|href|content)="(?!/assets/)[^"]*/[^"]*"', html) == []
        assert "style=" not in html
        assert re.search(r"<(?:script|style)[^>]*>[^<]", html) is None


async def test_assets_are_sent_small_and_kept_for_good(client, settings):
    names = [f"/assets/{name}" for name in assets_of("index.html")]
    assert len(names) == 4
    async with aiohttp.ClientSession(settings.base_url, auto_decompress=False) as as_sent:
        for name, encoding in itertools.product(names, ("br", "gzip")):
            headers = {"Accept-Encoding": encoding}
            async with as_sent.get(name, headers=headers) as answer:
                assert answer.status == 200
                assert answer.headers["Content-Encoding"] == encoding
                assert answer.headers["Cache-Control"].endswith("immutable")
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for name in ("/assets/other.js", "/assets/..%2findex.html", "/assets/page.html"):
        async with client.get(name) as answer:
            assert answer.status == 404


def test_the_page_with_its_map_stays_small():
    sent = [DIST / "assets" / f"{name}.br" for name in assets_of("index.html")]
    assert sum(file.stat().st_size for file in sent) <= LARGEST_BUNDLE_BYTES


def assets_of(name: str) -> list[str]:
    return re.findall(r"/assets/([\w.-]+)", (DIST / name).read_text())


async def test_a_page_that_is_not_built_says_how_to_build_it(client, tmp_path, monkeypatch):
    answer = await WebPage(tmp_path).index(None)
    assert answer.status == 503
    assert "scripts/run" in answer.text
    assert answer.text == page.NOT_BUILT
