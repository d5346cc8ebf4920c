"""Who may come in, made of the settings."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import structlog

from app.domain.errors import ExportServiceError
from app.ingress.arrival import Network
from app.ingress.auth.bind_rule import check_bind, is_loopback
from app.ingress.auth.gate import Gate
from app.ingress.auth.keys import CachedKeychain, check_key_file, keys_of_file, keys_of_url
from app.ingress.auth.link_secret import load_link_secret
from app.ingress.auth.links import LinkMaker
from app.ingress.auth.origins import ANY_ORIGIN, normal_origin
from app.ingress.auth.tokens import TokenRules, TokenVerifier
from app.settings import Settings

log = structlog.get_logger(__name__)

HOUR_S: Final = 3600


class OriginUnusable(ExportServiceError):
    """What should be a web origin is none."""


@dataclass(frozen=True, slots=True)
class Access:
    """What the settings say of who may come in.

    Attributes:
        gate: Judges each request.
        links: Makes presigned links.
        trusted_proxies: Networks whose forwarded headers are believed.
        keychain: Wants `refresh_forever` to run; None: no keys are configured.
    """

    gate: Gate
    links: LinkMaker
    trusted_proxies: Sequence[Network]
    keychain: CachedKeychain | None


async def open_access(settings: Settings) -> Access:
    """Make it, and say in the log who may come in.

    Keys of a URL that cannot be read now are read later: until then callers are told to come again.

    Raises:
        OpenToAll: The service would listen beyond loopback without keys.
        WrongSetting: The file of keys is not there, or holds none.
        SecretUnusable: There is no secret to sign links with.
        OriginUnusable: A page's origin is none.
    """
    check_bind(settings)
    await asyncio.to_thread(check_key_file, settings.jwks_file)
    secret = await asyncio.to_thread(load_link_secret, settings.data_dir, settings.link_secret)
    keychain = _keychain(settings)
    _say_who_may_come(settings)
    gate = Gate(
        verifier=TokenVerifier(
            keychain,
            TokenRules(settings.jwt_issuer, settings.admin_claim, settings.admin_value),
        )
        if keychain is not None
        else None,
        link_secret=secret,
        public_origin=normal_origin(settings.base_url),
        page_origins=[_page_origin(text) for text in settings.cors_origins],
        is_local=is_loopback(settings.host),
    )
    links = LinkMaker(secret, settings.base_url, int(settings.link_hours * HOUR_S))
    return Access(gate, links, settings.trusted_proxies, keychain)


def _page_origin(text: str) -> str:
    """Write an origin as browsers do, or they would never match it."""
    origin = text if text == ANY_ORIGIN else normal_origin(text)
    if origin is None:
        raise OriginUnusable(
            f"EXPORT_CORS_ORIGINS has {text!r}; it must be an origin such as https://maps.example"
        )
    return origin


def _keychain(settings: Settings) -> CachedKeychain | None:
    if settings.jwks_file is not None:
        return keys_of_file(settings.jwks_file)
    if settings.jwks_url is not None:
        return keys_of_url(
            settings.jwks_url,
            max_age_s=settings.jwks_max_age_s,
            ask_again_s=settings.jwks_ask_again_s,
        )
    return None


def _say_who_may_come(settings: Settings) -> None:
    if settings.has_keys:
        place = settings.jwks_url or str(settings.jwks_file)
        log.info("tokens_required", keys=place, issuer=settings.jwt_issuer)
        jwks = urlsplit(settings.jwks_url or "")
        if jwks.scheme == "http" and not is_loopback(jwks.hostname or ""):
            log.warning(
                "jwks_without_tls",
                url=settings.jwks_url,
                consequence="whoever sits in between can put in their own keys, and be anybody",
            )
    elif is_loopback(settings.host):
        log.warning(
            "no_keys_configured", host=settings.host, consequence="bound to this machine only"
        )
    else:
        log.warning(
            "open_to_all",
            host=settings.host,
            consequence="everybody who reaches the port may do everything",
        )
