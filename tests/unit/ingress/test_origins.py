"""Which page asks, told by the headers that browsers send."""

import pytest

from app.ingress.auth.origins import is_cross_site, is_same_origin, may_use_token, normal_origin

OWN = {"https://exports.example"}
BOUND = ("https://Maps.example/", "http://localhost:3000")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a.example", "https://a.example"),
        ("https://A.example:443/x?y#z", "https://a.example"),
        ("http://a.example:8080", "http://a.example:8080"),
        ("http://[::1]:80", "http://[::1]"),
        ("http://[::1]:81", "http://[::1]:81"),
        ("null", None),
        ("", None),
        ("*", None),
        ("a.example", None),
        ("file:///etc/passwd", None),
        ("http://a.example:port", None),
        ("https://", None),
    ],
)
def test_an_origin_is_written_in_one_way(text, expected):
    assert normal_origin(text) == expected


@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        ("https://maps.example", True),
        ("https://maps.example:443", True),
        ("http://localhost:3000", True),
        ("http://maps.example", False),
        ("https://maps.example.evil.example", False),
        ("https://evil.example", False),
        ("https://exports.example", False),
        ("null", False),
    ],
)
def test_a_bound_token_is_good_for_its_origins_only(origin, passes):
    assert may_use_token(BOUND, {"Origin": origin}, OWN) is passes


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Referer": "https://exports.example/"}, False),
        ({"Referer": "https://exports.example/page"}, True),
        ({"Referer": "https://evil.example/https://exports.example"}, False),
        ({}, False),
    ],
)
def test_without_an_origin_a_bound_token_passes_for_same_origin_requests_only(headers, passes):
    assert may_use_token(BOUND, headers, OWN) is passes
    assert is_same_origin(headers, OWN) is passes


def test_a_token_that_is_not_bound_passes_from_everywhere():
    assert may_use_token(None, {"Origin": "https://evil.example"}, OWN)
    assert may_use_token(None, {}, OWN)


def test_a_token_bound_to_nothing_readable_passes_for_no_origin():
    assert not may_use_token((), {"Origin": "https://evil.example"}, OWN)
    assert not may_use_token(("null", "*"), {"Origin": "null"}, OWN)


def test_a_program_is_no_page_of_somebody_else():
    assert not is_cross_site({}, OWN)
    assert not is_cross_site({"Origin": "https://exports.example"}, OWN)
    assert is_cross_site({"Origin": "https://evil.example"}, OWN)
    assert is_cross_site({"Sec-Fetch-Site": "same-site"}, OWN)
