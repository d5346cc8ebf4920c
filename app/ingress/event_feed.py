"""Who listens to which exports, and what has changed for each since it was last told.

What a listener has not been told yet is a bounded set of ids, never a queue of events: each event
is made when it is sent, from the view as it is then, so a slow reader skips what is outdated.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Final

from aiohttp import web

from app.domain.errors import TemporaryFailure
from app.ingress.event_id import EventId
from app.ingress.identity import Identity
from app.ingress.refusals import TooManyStreams
from app.ingress.request_index import EVERYBODY, Spot
from app.ingress.view import LIVE, IngressView

MAX_STREAMS: Final = 1_000
"""Streams of this process; each holds a connection and, at worst, `MAX_PENDING` ids."""
MAX_STREAMS_A_CLIENT: Final = 100
"""So that one client's pages do not shut out all others; without sign-in all are one client."""
MAX_PENDING: Final = 1_000
"""Changed exports that one stream remembers; beyond it, it looks for them in the view."""
CHUNK: Final = 500
"""Requests looked at without letting others do anything, about 2 ms."""
END_OF_TIME_MS: Final = 1 << 62


class Subscription:
    """One listener, and the requests that have changed since it was last told."""

    def __init__(self, client: str, wanted: frozenset[str] | None) -> None:
        """Listen from now on.

        Args:
            client: Whose requests; empty: everybody's.
            wanted: Only these; None: all of them.
        """
        self.client = client
        self.wanted = None if wanted is None else set(wanted)
        self._changed: dict[str, None] = {}
        self._overflowed = False
        self._news = asyncio.Event()

    def note(self, request_id: str, subject: str) -> None:
        """Remember a change, of a request or of the one that answers for it."""
        if self.wanted is not None:
            if request_id not in self.wanted:
                return
            self.wanted.add(subject)
        elif request_id != subject:
            return  # the request that answers for it is noted by itself
        if len(self._changed) < MAX_PENDING:
            self._changed[subject] = None
        elif subject not in self._changed:
            self._overflowed = True
        self._news.set()

    def take(self) -> list[str] | None:
        """Hand out what has changed and begin anew; None: too much to be remembered."""
        changed, overflowed = list(self._changed), self._overflowed
        self._changed.clear()
        self._overflowed = False
        self._news.clear()
        return None if overflowed else changed

    async def wait(self, timeout_s: float) -> bool:
        """Wait for news; False: there were none in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        return self._news.is_set()

    def wake(self) -> None:
        """Let who waits look around."""
        self._news.set()


class EventFeed:
    """Passes news of the view on to those whom it concerns."""

    def __init__(self, view: IngressView, caught_up: asyncio.Event) -> None:
        """Listen to a view.

        Args:
            view: Tells which request has changed.
            caught_up: Set while the view shows what the topics hold.
        """
        self.view = view
        self.caught_up = caught_up
        self.is_closed = False
        self._by_client: dict[str, set[Subscription]] = {}
        self._count = 0
        view.listen(self._note)

    @contextmanager
    def subscribe(
        self, identity: Identity, wanted: frozenset[str] | None
    ) -> Iterator[Subscription]:
        """Listen within the block.

        Args:
            identity: Who listens; who sees all, to the requests of all.
            wanted: Only these; None: all that the caller may see.

        Raises:
            TooManyStreams: The client has too many already.
            TemporaryFailure: The process has too many, or is about to end.
        """
        if self.is_closed or self._count >= MAX_STREAMS:
            raise TemporaryFailure(f"{self._count} streams are open, of at most {MAX_STREAMS}")
        name = EVERYBODY if identity.sees_all else identity.client
        others = self._by_client.setdefault(name, set())
        if len(others) >= MAX_STREAMS_A_CLIENT:
            raise TooManyStreams(
                f"client {identity.client:.80} has {len(others)} streams open, "
                f"of at most {MAX_STREAMS_A_CLIENT}"
            )
        subscription = Subscription(name, wanted)
        others.add(subscription)
        self._count += 1
        try:
            yield subscription
        finally:
            self._count -= 1
            others.discard(subscription)
            if not others:
                self._by_client.pop(name, None)

    async def end(self, _web_app: web.Application) -> None:
        """Let all streams end, before the server waits for them; aiohttp's `on_shutdown`."""
        self.is_closed = True
        for subscriptions in self._by_client.values():
            for subscription in subscriptions:
                subscription.wake()

    async def look_through(
        self, subscription: Subscription, since: EventId | None, now_ms: int
    ) -> AsyncIterator[str]:
        """Find the requests that a listener has not been told of as they are.

        Args:
            subscription: Who listens, and to what.
            since: What it has been told; None: nothing. Then it is told what it asked for by
                name, or else which exports are open.
            now_ms: The time now, ms since 1970 UTC.
        """
        async for request_id in self._candidates(subscription):
            if since is None or since.is_partial:
                by_name = subscription.wanted is not None
                if by_name or self._is_live(request_id, now_ms):
                    yield request_id
                    continue
            if since is not None and any(map(since.is_before, self.view.places(request_id))):
                yield request_id

    async def _candidates(self, subscription: Subscription) -> AsyncIterator[str]:
        if subscription.wanted is not None:
            subjects = {self.view.answering(request_id) for request_id in subscription.wanted}
            subscription.wanted |= subjects
            for subject in sorted(subjects):
                seen = self.view.verdict(subject)
                if seen is not None and subscription.client in (EVERYBODY, seen.said.client):
                    yield subject
            return
        client = None if subscription.client == EVERYBODY else subscription.client
        before: Spot | None = None
        while True:
            # The index moves while others run, so each chunk begins by where the last one ended.
            spots = self.view.index.newest_first(
                client, before=before, from_ms=0, to_ms=END_OF_TIME_MS
            )
            chunk = list(islice(spots, CHUNK))
            if not chunk:
                return
            for _, request_id in chunk:
                yield request_id
            before = chunk[-1]
            await asyncio.sleep(0)  # others' turn: a caller may have thousands of exports

    def _is_live(self, request_id: str, now_ms: int) -> bool:
        status = self.view.task_status(request_id, now_ms=now_ms)
        return status is not None and status.status in LIVE

    def _note(self, request_id: str) -> None:
        if not self._count:
            return
        seen = self.view.verdict(request_id)
        if seen is None:
            return  # only its result is known: nobody can tell whose it is
        subject = self.view.answering(request_id)
        for name in (seen.said.client, EVERYBODY):
            for subscription in self._by_client.get(name, ()):
                subscription.note(request_id, subject)
