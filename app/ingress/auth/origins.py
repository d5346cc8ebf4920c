"""Where in the web a request comes from: pure decisions over its headers."""

from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

ANY_ORIGIN: Final = "*"
"""Stands for all origins in what is configured."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def normal_origin(text: str) -> str | None:
    """Write an origin, or the origin of a URL, in one way; None: it is none.

    >>> normal_origin("HTTPS://Maps.example:443/page")
    'https://maps.example'
    >>> normal_origin("null")
    """
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not host:
        return None
    shown = f"[{host}]" if ":" in host else host
    usual = port is None or port == _DEFAULT_PORTS[parts.scheme]
    return f"{parts.scheme}://{shown}" if usual else f"{parts.scheme}://{shown}:{port}"


def is_same_origin(headers: Mapping[str, str], own: Collection[str]) -> bool:
    """Whether a page of this service itself asks, as its browser says.

    Sec-Fetch-Site decides where it is sent: no page can forge it. Older browsers send Origin with
    whatever changes something, and else the Referer. A request with none of the three is no
    page's, as far as anybody can tell.

    Args:
        headers: Of the request, names in any case.
        own: Origins of this service, as `normal_origin` writes them.
    """
    if (site := headers.get("Sec-Fetch-Site")) is not None:
        return site == "same-origin"
    if (told := headers.get("Origin") or headers.get("Referer")) is not None:
        return normal_origin(told) in own
    return False


def is_cross_site(headers: Mapping[str, str], own: Collection[str]) -> bool:
    """Whether the page of somebody else asks; a program, which says nothing, is no page."""
    says = any(headers.get(name) is not None for name in ("Sec-Fetch-Site", "Origin", "Referer"))
    return says and not is_same_origin(headers, own)


def may_use_token(
    origins: Collection[str] | None, headers: Mapping[str, str], own: Collection[str]
) -> bool:
    """Whether a token that is bound to web origins may be used by this request.

    Without an Origin it passes for same-origin requests only: browsers send none with a GET of
    the service's own page. This binds pages, not programs, which can write any Origin.

    Args:
        origins: The token's `ao`; None: it is not bound.
        headers: Of the request.
        own: Origins of this service.
    """
    if origins is None:
        return True
    origin = headers.get("Origin")
    if origin is None:
        return is_same_origin(headers, own)
    return normal_origin(origin) in {normal_origin(one) for one in origins} - {None}
