"""Whether a token is good, and whose it is."""

from dataclasses import dataclass
from typing import Any, Final

import jwt

from app.domain.record_fields import MAX_CLIENT_CHARS
from app.ingress.auth.key_set import ALGORITHM
from app.ingress.auth.keys import Keychain
from app.ingress.auth.refusals import NotAllowed, NotAuthenticated
from app.ingress.identity import Identity

DOMAIN: Final = "raster"
"""What the claim `d` must hold, in any case."""
LEEWAY_S: Final = 30
"""How far the issuer's clock may be from ours."""
LAST_SECOND_S: Final = 253_402_300_799
"""The end of the year 9999; later times cannot be written as a date."""
OWN_NAMES: Final = "("
"""How names begin that the service itself gives: to holders of links, to Kafka's producers."""
MAX_TOKEN_CHARS: Final = 8_192
"""More than that no header line takes anyway."""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a good token must say.

    Attributes:
        issuer: The claim `iss`; None: any, the key alone decides.
        admin_claim: The claim that makes an administrator.
        admin_value: What it must be, or hold when it is a list.
    """

    issuer: str | None = None
    admin_claim: str = "role"
    admin_value: str = "admin"


@dataclass(frozen=True, slots=True)
class Bearer:
    """What a good token says.

    Attributes:
        identity: Whose it is.
        expires_at_s: When it ends, s since 1970 UTC.
        origins: Web origins it is bound to; None: it is not bound.
    """

    identity: Identity
    expires_at_s: int
    origins: tuple[str, ...] | None


class TokenVerifier:
    """Verifies tokens with the keys of one keychain."""

    def __init__(self, keychain: Keychain, rules: TokenRules) -> None:
        """Take keys and rules."""
        self._keychain = keychain
        self._rules = rules

    async def verify(self, token: str) -> Bearer:
        """Verify signature, times and claims.

        Raises:
            NotAuthenticated: It cannot be trusted.
            NotAllowed: It is good, but not for this service.
            KeysUnavailable: There are no keys yet.
        """
        kid = _kid_of(token)
        key = await self._keychain.find(kid)
        if key is None:
            raise NotAuthenticated(f"the token's kid is {kid!r:.80}; no key has it")
        return self._read(_claims(token, key, self._rules.issuer))

    def _read(self, claims: dict[str, Any]) -> Bearer:
        client = claims["sub"]
        if not client or len(client) > MAX_CLIENT_CHARS or not client.isprintable():
            raise NotAuthenticated(
                f"the token's sub has {len(client)} characters; it must have 1 to "
                f"{MAX_CLIENT_CHARS}, all printable"
            )
        if client.startswith(OWN_NAMES):
            raise NotAuthenticated(f"the token's sub is {client!r:.80}; such names are not given")
        if DOMAIN not in {domain.lower() for domain in _texts(claims.get("d"))}:
            raise NotAllowed(
                f"the token's d is {claims.get('d')!r:.80}; it must hold {DOMAIN!r}", client
            )
        roles = _texts(claims.get(self._rules.admin_claim))
        return Bearer(
            identity=Identity(client, is_administrator=self._rules.admin_value in roles),
            expires_at_s=min(int(claims["exp"]), LAST_SECOND_S),
            origins=_texts(claims["ao"]) if claims.get("ao") is not None else None,
        )


def _kid_of(token: str) -> str:
    if len(token) > MAX_TOKEN_CHARS:
        raise NotAuthenticated(f"the token is longer than {MAX_TOKEN_CHARS} characters")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError) as error:
        raise NotAuthenticated("the token is no JWT") from error
    if header.get("alg") != ALGORITHM:
        raise NotAuthenticated(f"the token's alg is {header.get('alg')!r:.80}; only {ALGORITHM}")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise NotAuthenticated("the token has no kid")
    return kid


def _claims(token: str, key: jwt.PyJWK, issuer: str | None) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            issuer=issuer,
            leeway=LEEWAY_S,
            # aud is not in the contract: whom a token is for is said by d.
            options={
                "require": ["exp", "sub"] + (["iss"] if issuer is not None else []),
                "verify_aud": False,
            },
        )
    except jwt.ExpiredSignatureError as error:
        raise NotAuthenticated("the token has expired") from error
    except jwt.ImmatureSignatureError as error:
        raise NotAuthenticated("the token is not valid yet") from error
    except jwt.InvalidIssuerError as error:
        raise NotAuthenticated(f"the token's iss is not {issuer!r}") from error
    except jwt.MissingRequiredClaimError as error:
        raise NotAuthenticated(f"the token has no {error.claim}") from error
    except jwt.PyJWTError as error:
        # The library's own words may quote parts of the token.
        raise NotAuthenticated("the token cannot be trusted: its signature or form is wrong") from (
            error
        )


def _texts(claim: Any) -> tuple[str, ...]:
    """The texts of a claim that may be one or a list; anything else holds none."""
    if isinstance(claim, str):
        return (claim,)
    return tuple(one for one in claim if isinstance(one, str)) if isinstance(claim, list) else ()
