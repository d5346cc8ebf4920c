"""Where the keys of tokens come from: a file or a URL, read again when they change."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

import aiohttp
import jwt
import structlog

from app.domain.errors import TemporaryFailure
from app.ingress.auth.key_set import Keys, KeySetUnreadable, parse_key_set
from app.settings import WrongSetting

log = structlog.get_logger(__name__)

FILE_MAX_AGE_S: Final = 120.0
FILE_ASK_AGAIN_S: Final = 1.0
FETCH_TIMEOUT_S: Final = 5.0
MAX_KEY_SET_BYTES: Final = 1_000_000


class KeysUnavailable(TemporaryFailure):
    """No keys were ever read: who asks cannot be told, neither yes nor no."""


class Keychain(Protocol):
    """The public keys that sign our tokens."""

    async def find(self, kid: str) -> jwt.PyJWK | None:
        """Find a key; None: there is no such key, not even in what is published now.

        Raises:
            KeysUnavailable: There are no keys at all yet.
        """
        ...


class CachedKeychain:
    """Keys of a file or a URL: kept when reading fails, read again for an unknown kid."""

    def __init__(
        self,
        read: Callable[[], Awaitable[bytes]],
        place: str,
        *,
        max_age_s: float,
        ask_again_s: float,
    ) -> None:
        """Know no keys yet.

        Args:
            read: Reads the text of the key set; raises OSError, TimeoutError or KeySetUnreadable.
            place: Where the set lies, for messages.
            max_age_s: `refresh_forever` reads again before the keys are this old, seconds.
            ask_again_s: Shortest time between two readings for the sake of unknown kids, seconds.
        """
        self._read = read
        self._place = place
        self._max_age_s = max_age_s
        self._ask_again_s = ask_again_s
        self._keys: Keys = {}
        self._asked_at_s = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def find(self, kid: str) -> jwt.PyJWK | None:
        """Find a key, looking again where it is published when it is unknown.

        However many ask at once, the set is read once.

        Raises:
            KeysUnavailable: There are no keys at all yet.
        """
        if kid not in self._keys and self._may_ask():
            await self.refresh()
        if not self._keys:
            raise KeysUnavailable(f"the keys of tokens at {self._place} could not be read yet")
        return self._keys.get(kid)

    async def refresh(self) -> None:
        """Read the set again; when that fails the keys stay what they were."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._refresh(), name="key set")
        # One caller that goes away must not end the reading for those that wait with it.
        await asyncio.shield(self._reading)

    async def refresh_forever(self) -> None:
        """Read again before the keys are too old, and soon where there are none; run as a task."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._max_age_s / 2 if self._keys else FETCH_TIMEOUT_S)

    def _may_ask(self) -> bool:
        if self._reading is not None and not self._reading.done():
            return True
        return _now_s() - self._asked_at_s >= self._ask_again_s

    async def _refresh(self) -> None:
        self._asked_at_s = _now_s()
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                text = await self._read()
            keys = parse_key_set(text, self._place)
        except (OSError, TimeoutError, aiohttp.ClientError, KeySetUnreadable) as error:
            log.warning(
                "keys_not_read", place=self._place, kept=sorted(self._keys), reason=repr(error)
            )
            return
        if keys.keys() != self._keys.keys():
            log.info("keys_read", place=self._place, kids=sorted(keys))
        self._keys = keys


def check_key_file(path: Path | None) -> None:
    """Refuse to start with a file that is not there or holds no key, a mistake of whoever named it.

    Raises:
        WrongSetting: The message says what is wrong with it.
    """
    if path is None:
        return
    try:
        parse_key_set(path.read_bytes(), "it")
    except OSError as error:
        raise WrongSetting(f"EXPORT_JWKS_FILE is {path}: {error.strerror}") from error
    except KeySetUnreadable as error:
        raise WrongSetting(f"EXPORT_JWKS_FILE is {path}: {error}") from error


def keys_of_file(path: Path) -> CachedKeychain:
    """Take the keys from a file; a change is noticed within a minute, a new kid within a second."""

    async def read() -> bytes:
        return await asyncio.to_thread(path.read_bytes)

    return CachedKeychain(read, str(path), max_age_s=FILE_MAX_AGE_S, ask_again_s=FILE_ASK_AGAIN_S)


def keys_of_url(url: str, *, max_age_s: float, ask_again_s: float) -> CachedKeychain:
    """Take the keys from a URL.

    Args:
        url: http or https; it may redirect.
        max_age_s: As `CachedKeychain` takes it.
        ask_again_s: As `CachedKeychain` takes it.
    """

    async def read() -> bytes:
        # A session a fetch: one every few minutes is not worth a connection that is kept.
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            answer.raise_for_status()
            text = bytearray()
            async for chunk in answer.content.iter_any():
                text += chunk
                if len(text) > MAX_KEY_SET_BYTES:
                    raise KeySetUnreadable(f"{url} is larger than {MAX_KEY_SET_BYTES} bytes")
            return bytes(text)

    return CachedKeychain(read, url, max_age_s=max_age_s, ask_again_s=ask_again_s)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
