"""Judge where a webhook may be sent: not into the networks that only this service can reach.

Pure: a name tells nothing before it is resolved. So the ingress can refuse only addresses that
are written out, and completion asks again for the address that it is about to connect to.
"""

from collections.abc import Iterable
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)
from typing import Final
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LOOPBACK: Final[tuple[Network, ...]] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

_NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""RFC 6052 and RFC 8215: the last 32 bits are an IPv4 address."""

_IPV4_COMPATIBLE: Final = IPv6Network("::/96")
"""RFC 4291, 2.5.5.1, deprecated; some systems still route it."""

_INNER: Final[tuple[tuple[Network, str], ...]] = (
    (IPv4Network("100.64.0.0/10"), "carrier-grade NAT"),
    (IPv4Network("168.63.129.16/32"), "cloud metadata"),
    (IPv4Network("192.0.0.0/24"), "protocol assignment"),
    (IPv4Network("192.88.99.0/24"), "6to4 relay"),
    (IPv6Network("3fff::/20"), "documentation"),
)
"""What `ipaddress` takes for public, at least in some versions of Python. Azure answers its virtual
machines at 168.63.129.16, Oracle at 192.0.0.192; most other clouds at link-local addresses."""


def refused_url(url: str, allowed: Iterable[Network]) -> str | None:
    """Say why an address must not be called, as far as it tells without being resolved.

    Args:
        url: Webhook address as the caller wrote it.
        allowed: Networks that may be called though they are not public.

    Returns:
        The reason in words; None: not refused, though what the name resolves to may be.

    >>> refused_url("http://10.0.0.7/hook", ())
    '10.0.0.7 is a private address, and webhook_allowed_networks does not name it'
    >>> refused_url("https://example.com/hook", ()) is None
    True
    """
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        return f"{url} is no address of a webhook: {error}"
    if parts.scheme not in ("http", "https") or not host:
        return f"{url} is no http or https address"
    return refused_host(host, allowed)


def refused_host(host: str, allowed: Iterable[Network]) -> str | None:
    """Say why a host must not be called; None: it may be, or it is a name still to be resolved."""
    try:
        address = literal_address(host)
    except ValueError:
        return f"{host} is no IP address and no name"
    return None if address is None else refused_address(address, allowed)


def refused_address(address: Address, allowed: Iterable[Network]) -> str | None:
    """Say why an IP address must not be connected to; None: it may be.

    >>> refused_address(IPv6Address("::ffff:127.0.0.1"), ())
    '127.0.0.1 is a loopback address, and webhook_allowed_networks does not name it'
    >>> refused_address(IPv6Address("::ffff:127.0.0.1"), LOOPBACK) is None
    True
    """
    meant = embedded_address(address)
    kind = _kind_of(meant)
    if kind is None or any(meant in network for network in allowed):
        return None
    article = "an" if kind[0] in "aeiou" else "a"
    return f"{meant} is {article} {kind} address, and webhook_allowed_networks does not name it"


def embedded_address(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for: mapped, 6to4, NAT64; else itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    compatible = address in _IPV4_COMPATIBLE and int(address) > 1
    if compatible or any(address in network for network in _NAT64):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def literal_address(host: str) -> Address | None:
    """Read a host that is an IP address in any form that a C library takes for one.

    Returns:
        The address; None: the host is a name.

    Raises:
        ValueError: It can only be meant as an address, and is none.

    Source:
        inet_aton(3): one to four numbers, decimal, octal or hexadecimal; the last one fills
        the bytes that are left.

    >>> literal_address("0x7f.1"), literal_address("2130706433"), literal_address("a.example")
    (IPv4Address('127.0.0.1'), IPv4Address('127.0.0.1'), None)
    """
    host = host.removesuffix(".").strip("[]")
    if ":" in host:
        return IPv6Address(host.partition("%")[0])
    parts = host.lower().split(".")
    if not parts[-1][:1].isdigit():
        return None
    numbers = [_number(part) for part in parts]
    if len(numbers) > 4 or any(number > 0xFF for number in numbers[:-1]):
        raise AddressValueError(f"{host} is no IPv4 address")
    value = numbers[-1]
    if value >= 256 ** (5 - len(numbers)):
        raise AddressValueError(f"{host} is no IPv4 address")
    for index, number in enumerate(numbers[:-1]):
        value += number << (24 - 8 * index)
    return IPv4Address(value)


def _number(part: str) -> int:
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8 if part.startswith("0") else 10)


def _kind_of(address: Address) -> str | None:
    """Name what keeps an address from being public; None: it is public."""
    kinds = (
        (address.is_loopback, "loopback"),
        (address.is_unspecified, "unspecified"),
        (address.is_link_local, "link-local"),
        (address.is_multicast, "multicast"),
        (address.is_reserved, "reserved"),
        (isinstance(address, IPv6Address) and address.is_site_local, "site-local"),
        *((address in network, kind) for network, kind in _INNER),
        (not address.is_global, "private"),
    )
    return next((kind for holds, kind in kinds if holds), None)
