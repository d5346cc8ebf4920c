"""Where a request comes from, when proxies stand between and callers write what they like."""

from ipaddress import ip_network

import pytest

from app.ingress.arrival import Arrival, behind_proxies

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
PROXY = Arrival("10.0.0.1", "http", "inside:8080")


def address(direct: str, forwarded_for: str) -> str:
    arrival = Arrival(direct, "http", "h")
    return behind_proxies(arrival, {"X-Forwarded-For": forwarded_for}, (), trusted=TRUSTED).address


def test_a_stranger_is_not_believed():
    stranger = Arrival("192.0.2.9", "http", "h")
    headers = {
        "X-Forwarded-For": "198.51.100.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
    }
    forwarded = ({"for": "198.51.100.7", "proto": "https", "host": "evil.example"},)
    assert behind_proxies(stranger, headers, forwarded, trusted=TRUSTED) == stranger
    assert behind_proxies(PROXY, headers, forwarded, trusted=[]) == PROXY


@pytest.mark.parametrize(
    ("direct", "forwarded_for", "expected"),
    [
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("10.0.0.1", "203.0.113.66, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
        ("fd00::1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("fd00::1", "2001:db8::7", "2001:db8::7"),
        ("::ffff:10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("unknown", "192.0.2.1", "unknown"),
    ],
)
def test_the_caller_is_the_nearest_one_that_is_no_proxy_of_ours(direct, forwarded_for, expected):
    assert address(direct, forwarded_for) == expected


def test_scheme_and_host_are_those_that_the_caller_used():
    headers = {"X-Forwarded-Proto": "HTTPS", "X-Forwarded-Host": "maps.example"}
    found = behind_proxies(PROXY, headers, (), trusted=TRUSTED)
    assert (found.scheme, found.host) == ("https", "maps.example")
    odd = behind_proxies(PROXY, {"X-Forwarded-Proto": "gopher"}, (), trusted=TRUSTED)
    assert odd == PROXY


def test_the_standard_header_counts_too():
    forwarded = ({"for": "203.0.113.66"}, {"for": "192.0.2.1", "proto": "https", "host": "m"})
    found = behind_proxies(PROXY, {}, forwarded, trusted=TRUSTED)
    assert found == Arrival("192.0.2.1", "https", "m")


def test_two_headers_that_contradict_each_other_are_not_believed():
    headers, forwarded = {"X-Forwarded-For": "192.0.2.1"}, ({"for": "198.51.100.7"},)
    assert behind_proxies(PROXY, headers, forwarded, trusted=TRUSTED).address == "10.0.0.1"
    agreed = behind_proxies(PROXY, headers, ({"for": "192.0.2.1:1"},), trusted=TRUSTED)
    assert agreed.address == "192.0.2.1"
