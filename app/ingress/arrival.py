"""From where a request really comes: what proxies say, as far as they are trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Arrival:
    """How the caller reached us.

    Attributes:
        address: The caller's IP address; that of the last proxy where it says nothing usable.
        scheme: http or https, as the caller used it.
        host: Name and port that the caller asked.
    """

    address: str
    scheme: str
    host: str


ARRIVAL: Final = web.RequestKey("arrival", Arrival)
"""Where the middleware leaves it."""


def arrivals(trusted: Sequence[Network]) -> Middleware:
    """Make the middleware that finds out from where each request comes.

    Args:
        trusted: Networks of proxies whose headers are believed.
    """

    @web.middleware
    async def find_arrival(request: web.Request, handler: Handler) -> web.StreamResponse:
        direct = Arrival(request.remote or "unknown", request.scheme, request.host)
        request[ARRIVAL] = behind_proxies(
            direct, request.headers, request.forwarded, trusted=trusted
        )
        return await handler(request)

    return find_arrival


def behind_proxies(
    direct: Arrival,
    headers: Mapping[str, str],
    forwarded: Sequence[Mapping[str, str]],
    *,
    trusted: Sequence[Network],
) -> Arrival:
    """Look behind trusted proxies, from the nearest one on, up to the first that is not.

    A proxy adds to one of the two kinds of headers and lets pass what a caller wrote into the
    other. Where both are there and tell different callers, neither is believed.

    Args:
        direct: As the connection says.
        headers: Of the request; X-Forwarded-For, -Proto and -Host count.
        forwarded: The elements of the Forwarded header (RFC 7239), nearest proxy last.
        trusted: Networks of proxies.
    """
    if not _is_trusted(direct.address, trusted):
        return direct
    listed = [hop.strip() for hop in headers.get(hdrs.X_FORWARDED_FOR, "").split(",")]
    said = {
        _caller(direct.address, hops, trusted)
        for hops in ([hop for hop in listed if hop], [one.get("for", "") for one in forwarded])
        if hops
    }
    nearest = forwarded[-1] if forwarded else {}
    scheme = _last(headers.get(hdrs.X_FORWARDED_PROTO)) or nearest.get("proto")
    host = _last(headers.get(hdrs.X_FORWARDED_HOST)) or nearest.get("host")
    return Arrival(
        address=said.pop() if len(said) == 1 else direct.address,
        scheme=scheme.lower() if scheme and scheme.lower() in ("http", "https") else direct.scheme,
        host=host or direct.host,
    )


def _caller(address: str, hops: Sequence[str], trusted: Sequence[Network]) -> str:
    for hop in reversed(hops):
        if not _is_trusted(address, trusted):
            break
        found = _address(hop)
        if found is None:
            break
        address = str(found)
    return address


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    found = _address(address)
    return found is not None and any(found in network for network in trusted)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    # A socket that listens on :: shows IPv4 callers as ::ffff:192.0.2.1.
    return getattr(found, "ipv4_mapped", None) or found


def _last(header: str | None) -> str | None:
    return header.rpartition(",")[2].strip() if header else None
