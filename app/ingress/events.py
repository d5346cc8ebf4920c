"""`GET /exports/events` and `GET /exports/{id}/events`: news of exports as server-sent events.

One stream tells of many exports. Its ids say how far the topics have been told, so a caller goes
on where it was after a broken connection, at this ingress or another one, which keep nothing of it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import web
from aiohttp_sse import EventSourceResponse, sse_response

from app.domain.errors import InvalidRequest
from app.ingress.create_export import ExportDesk
from app.ingress.event_feed import EventFeed, Subscription
from app.ingress.event_id import EventId
from app.ingress.export_body import export_body
from app.ingress.exports import ExportReader, spellings
from app.ingress.identity import TOKEN_PARAMETER, Identity, has_token_ended, identity_of

LAST_EVENT_ID: Final = "Last-Event-ID"
BATCH_S: Final = 0.25
"""Changes within this time are told as one: a beat of an export wakes all who joined it."""
OVERFLOW_BATCH_S: Final = 2.0
"""The same after a look through all exports, which costs more."""
HEARTBEAT_S: Final = 15.0
"""A comment that keeps proxies from closing a quiet stream."""
SEND_TIMEOUT_S: Final = 30.0
"""A reader that has taken nothing for so long is cut off; it can resume."""
LOOK_AROUND_S: Final = 1.0
"""How soon a stream ends whose reader has left."""
VIEW_LOOKS: Final = 40
VIEW_LOOK_S: Final = 0.05
"""A caller that comes from another ingress waits up to 2 s until this one knows as much."""
MAX_AGE_S: Final = 3_600.0
"""A stream ends then, and its reader comes again as who it is by then: tokens expire."""
RETRY_MS: Final = 2_000
"""When a browser comes again after a broken connection."""
MAX_IDS: Final = 100


def parse_ids(text: str | None) -> frozenset[str] | None:
    """Read the query parameter `ids`: ids with commas; None: all exports of the caller.

    Returns:
        The ids in each spelling that may be meant.

    Raises:
        InvalidRequest: Something among them can be no id, or there are too many.
    """
    if text is None:
        return None
    ids = frozenset(part.strip() for part in text.split(","))
    if len(ids) > MAX_IDS:
        raise InvalidRequest(f"ids has {len(ids)} ids, more than {MAX_IDS}")
    return frozenset(meant for one in sorted(ids) for meant in spellings("one of ids", one))


@dataclass(slots=True)
class _Teller:
    """Writes events to one caller.

    Attributes:
        request: Whose connection tells when the caller has left.
        sse: Its answer.
        desk: Holds view and clock.
        told: What the caller has been told.
        ends_at_s: When the stream has lasted long enough, by the clock of the event loop.
    """

    request: web.Request
    sse: EventSourceResponse
    desk: ExportDesk
    told: EventId
    ends_at_s: float

    @property
    def goes_on(self) -> bool:
        """Whether somebody is still there who may be told."""
        is_there = self.sse.is_connected() and self.request.transport is not None
        return is_there and asyncio.get_running_loop().time() < self.ends_at_s

    async def announce(self) -> None:
        """Tell the id without an event: who is cut off now must not miss what comes next."""
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await self.sse.write(f"retry: {RETRY_MS}\r\nid: {self.told}\r\n\r\n".encode())

    async def tell(self, request_ids: AsyncIterator[str], until: EventId) -> None:
        """Tell some exports as they are; only the last one says that all have been told."""
        held: str | None = None
        async for request_id in request_ids:
            if held is not None:
                await self._send(held)
            held = request_id
        self.told = until
        if held is not None:
            await self._send(held)

    async def _send(self, request_id: str) -> None:
        now_ms = self.desk.now_ms()
        body = export_body(self.desk.view, request_id, now_ms=now_ms, whole=False)
        if body is not None:  # else it was forgotten meanwhile
            await self.sse.send(orjson.dumps(body).decode(), id=str(self.told), event="export")


@dataclass(frozen=True, slots=True)
class EventStreams:
    """Tells callers what happens to their exports, as it happens.

    Attributes:
        reader: Finds exports; holds view and clock.
        feed: Says what has changed.
    """

    reader: ExportReader
    feed: EventFeed

    def routes(self) -> list[web.RouteDef]:
        """The routes that this answers; `events` is no id, so they come before `/exports/{id}`."""
        return [
            web.get("/exports/events", self.all, allow_head=False),
            web.get("/exports/{id}/events", self.one, allow_head=False),
        ]

    async def all(self, request: web.Request) -> web.StreamResponse:
        """`GET /exports/events`: news of all of the caller's exports, or of some."""
        unknown = sorted(set(request.query) - {"ids", TOKEN_PARAMETER})
        if unknown:
            raise InvalidRequest(f"{unknown[0]:.80} is unknown; known is ids")
        return await self._stream(request, parse_ids(request.query.get("ids")))

    async def one(self, request: web.Request) -> web.StreamResponse:
        """`GET /exports/{id}/events`: news of one export."""
        return await self._stream(request, frozenset([await self.reader.find(request)]))

    async def _stream(
        self, request: web.Request, wanted: frozenset[str] | None
    ) -> web.StreamResponse:
        text = request.headers.get(LAST_EVENT_ID)
        since = EventId.parse(text) if text else None
        identity: Identity = identity_of(request)
        with self.feed.subscribe(identity, wanted) as subscription:
            async with sse_response(
                request, ping_interval=HEARTBEAT_S, send_timeout=SEND_TIMEOUT_S
            ) as sse:
                ends_at_s = asyncio.get_running_loop().time() + MAX_AGE_S
                teller = _Teller(request, sse, self.reader.desk, since or EventId(), ends_at_s)
                # A reader that left, or takes nothing, ends its stream and nothing else.
                with suppress(ConnectionResetError, TimeoutError):
                    await self._wait_for_view(teller)
                    await self._tell_first(teller, subscription, is_new=since is None)
                    await self._tell_changes(teller, subscription)
            return sse

    async def _wait_for_view(self, teller: _Teller) -> None:
        """Wait until the view knows what the caller knows, from before or from elsewhere."""
        while not self.feed.caught_up.is_set() and self._goes_on(teller):
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AROUND_S):
                    await self.feed.caught_up.wait()
        for _ in range(VIEW_LOOKS):
            if teller.told.within(self.feed.view.offsets()) == teller.told:
                break
            await asyncio.sleep(VIEW_LOOK_S)

    async def _tell_first(
        self, teller: _Teller, subscription: Subscription, *, is_new: bool
    ) -> None:
        """Tell what has changed since the caller's last event, or how things are."""
        subscription.take()
        until = EventId(self.feed.view.offsets())
        if is_new:
            teller.told = EventId(until.offsets, is_partial=True)
        else:
            teller.told = teller.told.within(until.offsets)
        await teller.announce()
        since = None if is_new else teller.told
        await teller.tell(self._look_through(subscription, since), until)
        await teller.announce()

    async def _tell_changes(self, teller: _Teller, subscription: Subscription) -> None:
        """Tell what changes, until one side ends."""
        view, clock = self.feed.view, asyncio.get_running_loop().time
        resets, told_at_s, batch_s = view.resets, clock(), BATCH_S
        while self._goes_on(teller):
            if not await subscription.wait(LOOK_AROUND_S):
                continue
            await asyncio.sleep(max(0.0, told_at_s + batch_s - clock()))
            until = EventId(view.offsets())
            changed = subscription.take()
            batch_s = BATCH_S if changed is not None else OVERFLOW_BATCH_S
            if changed is not None:
                news = _each(changed)
            else:
                # Where a broker lost its tail, new records stand before what has been told.
                since = teller.told if view.resets == resets else EventId()
                news = self._look_through(subscription, since)
            resets = view.resets
            await teller.tell(news, until)
            told_at_s = clock()

    def _look_through(
        self, subscription: Subscription, since: EventId | None
    ) -> AsyncIterator[str]:
        return self.feed.look_through(subscription, since, self.reader.desk.now_ms())

    def _goes_on(self, teller: _Teller) -> bool:
        has_ended = has_token_ended(teller.request, now_s=self.reader.desk.now_ms() / 1000)
        return not self.feed.is_closed and teller.goes_on and not has_ended


async def _each(request_ids: Iterable[str]) -> AsyncIterator[str]:
    for request_id in request_ids:
        yield request_id
