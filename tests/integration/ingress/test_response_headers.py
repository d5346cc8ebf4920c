"""Headers of all answers: which pages may read them, and what browsers must not do."""

from uuid import uuid4

import pytest

from app.ingress.auth.access import OriginUnusable
from tests.integration.ingress.asking import is_ready, with_token


async def test_pages_that_are_allowed_may_read_and_others_may_not(service, issuer, where):
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    async with service.options("/create", headers=asks | {"Origin": "https://maps.example"}) as ok:
        assert ok.status == 204
        assert ok.headers["Access-Control-Allow-Origin"] == "https://maps.example"
        allowed = ok.headers["Access-Control-Allow-Headers"]
        assert {"x-api-key", "range", "last-event-id"} <= set(allowed.split(", "))
        conditions = {"if-range", "if-match", "if-none-match"}
        assert conditions | {"if-modified-since", "if-unmodified-since"} <= set(allowed.split(", "))
        assert "PATCH" in ok.headers["Access-Control-Allow-Methods"]
    async with service.options("/create", headers=asks | {"Origin": "https://evil.example"}) as no:
        assert no.status == 204
        assert "Access-Control-Allow-Origin" not in no.headers
    token = issuer.token()
    for path, options in (
        ("/layers", {}),
        (where, with_token(token)),
        (where, with_token(token, Range="bytes=0-1")),
        ("/nothing", with_token(token)),
    ):
        headers = options.get("headers", {}) | {"Origin": "https://maps.example"}
        async with service.get(path, headers=headers) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "https://maps.example"
            assert "content-range" in answer.headers["Access-Control-Expose-Headers"]
            assert "Access-Control-Allow-Credentials" not in answer.headers
            assert answer.headers["Vary"] == "Origin"
        async with service.get(path, headers=headers | {"Origin": "https://evil"}) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert answer.headers["Vary"] == "Origin"


async def test_what_is_no_origin_is_refused_at_the_start(settings, broker, ingress_of):
    wrong = settings.model_copy(update={"cors_origins": ("maps.example",)})
    with pytest.raises(OriginUnusable, match=r"'maps\.example'; it must be an origin"):
        async with ingress_of(wrong, broker):
            pass


async def test_all_pages_may_read_where_all_are_allowed(
    guarded, broker, topics, ingress_of, eventually
):
    for_all = guarded.model_copy(update={"cors_origins": ("*",)})
    async with ingress_of(for_all, broker) as service:
        await eventually(lambda: is_ready(service))
        async with service.get("/livez", headers={"Origin": "https://any.example"}) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in answer.headers
            assert "Vary" not in answer.headers


async def test_every_answer_tells_browsers_what_they_must_not_do(service, issuer, where):
    token = issuer.token()
    for method, path, options in (
        ("GET", "/livez", {}),
        ("GET", "/layers", {}),
        ("GET", "/layers", with_token(token)),
        ("GET", where, with_token(token)),
        ("GET", where, with_token(token, Range="bytes=0-1")),
        ("GET", "/nothing", with_token(token)),
        ("POST", "/create", with_token(token)),
        ("OPTIONS", "/create", {}),
    ):
        async with service.request(method, path, **options) as answer:
            assert answer.headers.getall("X-Content-Type-Options") == ["nosniff"], path
            assert answer.headers["Referrer-Policy"] == "same-origin"
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


async def test_what_a_token_has_opened_no_shared_cache_keeps(service, issuer, where):
    for path in ("/layers", "/exports", where, "/nothing", f"/exports/{uuid4()}"):
        async with service.get(path, **with_token(issuer.token())) as answer:
            assert answer.headers["Cache-Control"] in ("no-store", "private, no-cache"), path
