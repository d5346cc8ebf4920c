"""A JSON Web Key Set, reduced to the keys that may sign our tokens."""

from collections.abc import Mapping
from typing import Any, Final

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from app.domain.errors import ExportServiceError

ALGORITHM: Final = "RS256"
MIN_KEY_BITS: Final = 2048
"""RFC 7518, section 3.3: a key of 2048 bits or larger MUST be used."""

Keys = Mapping[str, jwt.PyJWK]
"""Public keys by their `kid`."""


class KeySetUnreadable(ExportServiceError):
    """What should be a JWKS is none, or holds no key for RS256."""


def parse_key_set(text: bytes, place: str) -> Keys:
    """Read the RSA keys that sign, by `kid`; others are left out.

    Keys of another type, for encryption, without a kid, or that are symmetric are no mistake: an
    issuer may publish them beside those that we need. Private parts are never used.

    Args:
        text: The set, JSON.
        place: Where it comes from, for messages.

    Raises:
        KeySetUnreadable: No JWKS, or no key in it that can be used.
    """
    try:
        listed = orjson.loads(text)["keys"]
        candidates = [key for key in listed if _may_sign(key)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KeySetUnreadable(f"{place} is no JWKS: {error!r:.200}") from error
    keys = {str(key["kid"]): made for key in candidates if (made := _public_key(key)) is not None}
    if not keys:
        raise KeySetUnreadable(
            f"{place} has no key that can be used: none of {len(listed)} is an RSA key for "
            f"{ALGORITHM} with a kid and at least {MIN_KEY_BITS} bits"
        )
    return keys


def _may_sign(key: dict[str, Any]) -> bool:
    return (
        key.get("kty") == "RSA"
        and isinstance(key.get("kid"), str)
        and key.get("use", "sig") == "sig"
        and key.get("alg", ALGORITHM) == ALGORITHM
    )


def _public_key(key: dict[str, Any]) -> jwt.PyJWK | None:
    public: dict[str, Any] = {name: key[name] for name in ("kty", "kid", "n", "e") if name in key}
    try:
        made = jwt.PyJWK(public, algorithm=ALGORITHM)
    except (jwt.PyJWTError, ValueError):
        return None
    if not isinstance(made.key, RSAPublicKey) or made.key.key_size < MIN_KEY_BITS:
        return None
    return made
