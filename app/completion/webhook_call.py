"""Call one webhook over HTTP: signed, only where it may go, through at most three redirects."""

import asyncio
import errno
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any, Final

import aiohttp
import orjson
from standardwebhooks import Webhook
from yarl import URL

from app.completion.deliveries import EXPIRING, event_of
from app.completion.name_lookup import ThreadPerLookup
from app.domain.callback_target import Network, refused_address, refused_url
from app.domain.iso_time import iso_time
from app.domain.records import ExportFinished
from app.domain.result import result_body
from app.domain.rows import DeliveryRow

REDIRECTS = 3
"""Redirects followed in one call, each to a target that is judged anew."""

SAME_CALL: Final = (307, 308)
"""Redirects that keep method and body. The others (301, 302, 303) turn a POST into a GET in most
clients, so a receiver that sends one is not set up right: they count as failures."""

LONGEST_ERROR = 500
"""Of a delivery's error this much is kept, characters: rows stay small."""

Session = aiohttp.ClientSession


@dataclass(frozen=True, slots=True)
class WebhookRules:
    """What the settings say of webhooks.

    Attributes:
        timeout_s: Deadline of one call with its redirects, seconds.
        calls: Calls under way at a time.
        calls_per_host: Of these to one host and port.
        allowed: Networks that may be called though they are not public.
        secrets: Keys that sign, `whsec_...`; several while one takes over from another.
    """

    timeout_s: float = 10.0
    calls: int = 64
    calls_per_host: int = 8
    allowed: tuple[Network, ...] = ()
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call.

    Attributes:
        http_status: Of the receiver; 0: there was no answer.
        error: Why there was none, or why it is not what the receiver meant.
        retry_at_ms: From when the receiver may be called again, ms since 1970 UTC; 0: unsaid.
    """

    http_status: int
    error: str | None = None
    retry_at_ms: int = 0


class RefusedTarget(OSError):
    """The address that a name resolved to is one that webhooks must not reach."""

    def __init__(self, reason: str) -> None:
        """Look like a socket that could not be opened, so that the next address is tried."""
        super().__init__(errno.EACCES, reason)


def open_session(rules: WebhookRules) -> Session:
    """Open a session that connects only where webhooks may go.

    The address is judged where the socket is made for it, after DNS and right before it is
    connected: what was judged is what is connected to, so a name that changes gains nothing.
    """
    connector = aiohttp.TCPConnector(
        limit=rules.calls,
        resolver=ThreadPerLookup(rules.calls),
        socket_factory=lambda info: guarded_socket(info, rules.allowed),
    )
    # Neither proxies nor .netrc of the environment: a proxy would connect where we may not.
    return Session(connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar())


def guarded_socket(info: Sequence[Any], allowed: Sequence[Network]) -> socket.socket:
    """Make the socket for one resolved address.

    Args:
        info: As `socket.getaddrinfo` gives it.
        allowed: Networks that may be reached though they are not public.

    Raises:
        RefusedTarget: Webhooks must not go there.
    """
    family, kind, protocol, _, address = info
    host = str(address[0])
    try:
        reason = refused_address(ip_address(host.partition("%")[0]), allowed)
    except ValueError:
        # Shorthands like 127.1 would be resolved once more behind our back.
        reason = f"{host} is no IP address as it is usually written"
    if reason is not None:
        raise RefusedTarget(reason)
    return socket.socket(family, kind, protocol)


def event_body(result: ExportFinished, row: DeliveryRow) -> bytes:
    """The body of a delivery: the result, in a warning with the expiry that it warns of."""
    if row.event == EXPIRING:
        result = replace(result, expiration_time=iso_time(row.expires_at_ms))
    return orjson.dumps(result_body(result))


def event_headers(
    delivery_id: str, event: str, body: bytes, now_ms: int, secrets: Sequence[str]
) -> dict[str, str]:
    """The headers of a call, as Standard Webhooks names them, and `webhook-event`.

    Source:
        https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    at_s = now_ms // 1000
    headers = {
        "content-type": "application/json",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(at_s),
        "webhook-event": event,
    }
    if secrets:
        at = datetime.fromtimestamp(at_s, UTC)
        text = body.decode()
        headers["webhook-signature"] = " ".join(
            Webhook(secret).sign(delivery_id, at, text) for secret in secrets
        )
    return headers


@dataclass(slots=True)
class Caller:
    """Calls webhooks; keeps nothing but its connections.

    Attributes:
        rules: What the settings say.
        now_ms: Wall clock, ms since 1970 UTC.
    """

    rules: WebhookRules
    now_ms: Callable[[], int]

    async def call(
        self, session: Session, delivery_id: str, row: DeliveryRow, result: ExportFinished
    ) -> Answer:
        """POST one delivery; whatever goes wrong is an answer, not an exception."""
        body = event_body(result, row)
        event = EXPIRING if row.event == EXPIRING else event_of(result)
        headers = event_headers(delivery_id, event, body, self.now_ms(), self.rules.secrets)
        try:
            async with asyncio.timeout(self.rules.timeout_s):
                return await self._post(session, row.url, body, headers)
        except TimeoutError:
            return Answer(0, f"no answer within {self.rules.timeout_s} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(0, f"{type(error).__name__}: {error}"[:LONGEST_ERROR])

    async def _post(
        self, session: Session, url: str, body: bytes, headers: Mapping[str, str]
    ) -> Answer:
        for _ in range(REDIRECTS + 1):
            reason = refused_url(url, self.rules.allowed)
            if reason is not None:
                return Answer(0, reason[:LONGEST_ERROR])
            async with session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                status, told = answer.status, answer.headers
                if not 300 <= status < 400:
                    return Answer(status, None, retry_at_ms(told.get("retry-after"), self.now_ms()))
                if status not in SAME_CALL or "location" not in told:
                    return Answer(status, "only the redirects 307 and 308 are followed")
                target = answer.url.join(URL(told["location"]))
                if answer.url.scheme == "https" and target.scheme == "http":
                    return Answer(status, "a redirect from https to http is not followed")
                url = str(target)
        return Answer(status, f"more than {REDIRECTS} redirects")


def retry_at_ms(retry_after: str | None, now_ms: int) -> int:
    """Read a Retry-After, seconds or a date; ms since 1970 UTC, 0: none, or not to be read.

    >>> retry_at_ms("120", 1_000), retry_at_ms("Thu, 01 Jan 1970 00:01:00 GMT", 1_000)
    (121000, 60000)
    >>> retry_at_ms("soon", 1_000), retry_at_ms("9" * 400, 1_000)
    (0, 0)
    """
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return now_ms + int(text) * 1000 if len(text) < 10 else 0
    try:
        at = parsedate_to_datetime(text)
        return round(at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        return 0
