"""Where a webhook may be sent, judged from what is written in its address."""

from ipaddress import ip_address, ip_network

import pytest

from app.domain.callback_target import LOOPBACK, literal_address, refused_address, refused_url

INNER = {
    "loopback": ["127.0.0.1", "127.8.9.1", "[::1]", "127.1", "2130706433", "0x7f000001"],
    "loopback in disguise": [
        "0177.0.0.1",
        "0x7f.0.0.1",
        "127.0.1",
        "127.0.0.1.",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
    ],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "0xa000001"],
    "link-local": ["169.254.169.254", "[fe80::1]", "2852039166", "[::ffff:a9fe:a9fe]"],
    "unspecified": ["0.0.0.0", "[::]", "0"],
    "multicast": ["224.0.0.1", "239.1.2.3", "[ff02::1]"],
    "other": ["100.64.0.1", "100.127.255.254", "[fc00::1]", "[fd12:3456::1]", "[fec0::1]"],
    "cloud metadata": ["168.63.129.16", "192.0.0.192", "100.100.100.200", "[fd00:ec2::254]"],
    "reserved": ["240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "0.1.2.3"],
    "nonsense": ["256.1.1.1.1", "1.2.3.4.5", "1.2.3.256", "08.1.1.1", "4294967296"],
}


@pytest.mark.parametrize("host", [host for hosts in INNER.values() for host in hosts])
def test_an_inner_address_is_refused_however_it_is_written(host):
    assert refused_url(f"http://{host}:8080/hook", ()) is not None


@pytest.mark.parametrize(
    "host",
    [
        "93.184.216.34",
        "[2606:4700::1111]",
        "[::ffff:93.184.216.34]",
        "[64:ff9b::5db8:d822]",
        "100.63.255.255",
        "100.128.0.1",
        "172.32.0.1",
        "example.com",
        "10.example.com",
        "localhost",
    ],
)
def test_a_public_address_or_a_name_is_not_refused(host):
    assert refused_url(f"https://{host}/hook", ()) is None


def test_what_is_allowed_by_name_is_not_refused_in_any_of_its_forms():
    allowed = (ip_network("10.1.0.0/16"),)
    assert refused_url("http://10.1.2.3/", allowed) is None
    assert refused_address(ip_address("::ffff:10.1.2.3"), allowed) is None
    assert "10.2.0.1 is a private address" in refused_url("http://10.2.0.1/", allowed)


def test_loopback_is_allowed_as_a_whole():
    for host in (*INNER["loopback"], *INNER["loopback in disguise"]):
        assert refused_url(f"http://{host}/", LOOPBACK) is None, host


@pytest.mark.parametrize(
    "url", ["ftp://a.example/", "http://", "http:///hook", "http://[::1", "http://a:99999/", "a"]
)
def test_what_is_no_web_address_is_refused(url):
    assert refused_url(url, LOOPBACK) is not None


def test_a_scope_does_not_hide_an_address():
    assert literal_address("fe80::1%eth0") == ip_address("fe80::1")
