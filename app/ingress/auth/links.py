"""Presigned links: an address that needs no token until its time is over.

Pure: the time and the secret are given. What is signed is the path as decoded and the second of
the expiry, so neither can be changed; the host is not, so a proxy may rename the service.
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from app.ingress.auth.refusals import LinkExpired, NotAllowed

EXPIRES: Final = "expires"
SIGNATURE: Final = "signature"
DOWNLOADS: Final = "/downloads/"

_SECOND: Final = re.compile(r"\d{1,12}", re.ASCII)
_PURPOSE: Final = b"raster-export download link v1"
"""Keeps a signature from being good for anything else that the same secret may once sign."""


def sign_path(secret: bytes, path: str, expires_at_s: int) -> str:
    """Sign a path until a time.

    Args:
        secret: At least 16 bytes that nobody else knows.
        path: As decoded, `/downloads/...`.
        expires_at_s: The first second at which it is not good any more, s since 1970 UTC.

    Returns:
        HMAC-SHA256, 64 hexadecimal digits.
    """
    told = b"\0".join((_PURPOSE, str(expires_at_s).encode(), path.encode("utf-8", "surrogatepass")))
    return hmac.digest(secret, told, "sha256").hex()


def presigned(secret: bytes, path: str, expires_at_s: int) -> str:
    """Make path and query of a link; the path is given decoded, and comes back quoted."""
    signature = sign_path(secret, path, expires_at_s)
    return f"{quote(path)}?{EXPIRES}={expires_at_s}&{SIGNATURE}={signature}"


def is_link(query: Mapping[str, str]) -> bool:
    """Whether an address claims to be a presigned link."""
    return SIGNATURE in query or EXPIRES in query


def check_link(secret: bytes, path: str, query: Mapping[str, str], *, now_s: float) -> None:
    """Check the signature first, then the time: a stranger learns nothing from a guess.

    Args:
        secret: As it was signed with.
        path: Of the request, decoded.
        query: Of the request.
        now_s: The time now, s since 1970 UTC.

    Raises:
        NotAllowed: It was not signed by us for this path and time.
        LinkExpired: It was, and its time is over.
    """
    expires, signature = query.get(EXPIRES, ""), query.get(SIGNATURE, "")
    expected = sign_path(secret, path, int(expires)) if _SECOND.fullmatch(expires) else ""
    # compare_digest wants ASCII where it compares texts; bytes may hold anything.
    good = hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogatepass"))
    if not expected or not good:
        raise NotAllowed("the link's signature is wrong; ask for a new link")
    if now_s >= int(expires):
        raise LinkExpired(f"the link expired at {expires} (s since 1970 UTC); ask for a new one")


def download_path(file_uri: str) -> str:
    """The path of a download as this service sees it, decoded, whatever stands before it.

    >>> download_path("https://x.example/prefix/downloads/e/1-2/M%C3%BCll.gpkg")
    '/downloads/e/1-2/Müll.gpkg'
    """
    path = unquote(urlsplit(file_uri).path)
    return path[path.index(DOWNLOADS) :]


@dataclass(frozen=True, slots=True)
class LinkMaker:
    """Makes links to downloads.

    Attributes:
        secret: What they are signed with.
        base_url: What they start with, without a slash at the end.
        lifetime_s: How long they are good, seconds.
    """

    secret: bytes
    base_url: str
    lifetime_s: int

    def link(self, file_uri: str, expires_at_s: int) -> str:
        """Make the link to a file, given its usual address."""
        return self.base_url + presigned(self.secret, download_path(file_uri), expires_at_s)
