"""Readers that are slow, leave, or are too many: over real sockets, with a view fed by hand."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from app.domain.records import ExportRequested
from app.ingress import event_feed, events
from app.ingress.event_feed import MAX_PENDING, EventFeed
from app.ingress.events import EventStreams
from app.ingress.exports import ExportReader
from app.ingress.problems import problems_as_json
from app.ingress.view import IngressView, Place
from tests.integration.ingress.event_reader import listening


@dataclass
class Served:
    """Streams on a real port, and the view that feeds them."""

    view: IngressView
    feed: EventFeed
    port: int
    client: aiohttp.ClientSession
    transports: list[asyncio.Transport]
    taken: int = 0

    def request(self, request_id: str, say, **changes: Any) -> None:
        self.taken += 1
        self.view.move_to(Place("export-progress", 0, self.taken))
        record = say.progress(ExportRequested(request_id, "l"), export_id=None, **changes).record
        self.view.request_progressed(record)

    def unsent_bytes(self) -> int:
        return max(transport.get_write_buffer_size() for transport in self.transports)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    view = IngressView()
    caught_up = asyncio.Event()
    caught_up.set()
    feed = EventFeed(view, caught_up)
    desk: Any = SimpleNamespace(view=view, now_ms=lambda: 0)
    transports: list[asyncio.Transport] = []

    @web.middleware
    async def note_transport(request, handler):
        transports.append(request.transport)
        return await handler(request)

    web_app = web.Application(middlewares=[note_transport, problems_as_json])
    web_app.add_routes(EventStreams(ExportReader(desk), feed).routes())
    web_app.on_shutdown.append(feed.end)
    runner = web.AppRunner(web_app, shutdown_timeout=1)
    await runner.setup()
    with socket.socket() as listener:
        # Connections inherit it: what a kernel buffers must not hide what we do.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        await web.SockSite(runner, listener).start()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            yield Served(view, feed, port, client, transports)
        await runner.cleanup()


@asynccontextmanager
async def reading_nothing(port: int) -> AsyncIterator[socket.socket]:
    with socket.socket() as sleeper:
        sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sleeper.connect(("127.0.0.1", port))
        sleeper.sendall(b"GET /exports/events HTTP/1.1\r\nHost: x\r\n\r\n")
        yield sleeper


async def test_a_reader_that_takes_nothing_costs_bounded_memory_holds_up_none_and_is_cut_off(
    served, say, eventually, monkeypatch
):
    monkeypatch.setattr(events, "SEND_TIMEOUT_S", 8.0)
    monkeypatch.setattr(events, "BATCH_S", 0.01)
    monkeypatch.setattr(events, "OVERFLOW_BATCH_S", 0.01)
    names = {f"{number}" for number in range(2 * MAX_PENDING)}

    async def read_to_the_end(awake) -> None:
        ended: set[str] = set()
        while ended != names:
            told = await awake.read_block()
            if told is not None and told["errorReason"] == "the end":
                ended.add(told["requestId"])

    async with reading_nothing(served.port), listening(served.client) as awake:
        await eventually(lambda: served.feed._count == 2)
        reading = asyncio.create_task(read_to_the_end(awake))
        subscriptions = list(served.feed._by_client["anonymous"])
        for _ in range(20):
            for name in names:
                served.request(name, say, description="d" * 1_000)
                await asyncio.sleep(0)
            assert all(len(one._changed) <= MAX_PENDING for one in subscriptions)
            assert served.unsent_bytes() < 200_000
        for name in names:
            served.request(name, say, verdict="Refused", reason="the end")
        async with asyncio.timeout(300):
            await reading
        await eventually(lambda: served.feed._count == 1)


async def test_a_reader_that_leaves_gives_its_place_up(served, eventually):
    async with listening(served.client) as stream:
        await stream.until_id()
        assert served.feed._count == 1
    await eventually(lambda: served.feed._count == 0)


async def test_too_many_streams_are_refused_and_told_when_to_come_again(
    served, monkeypatch, eventually
):
    monkeypatch.setattr(event_feed, "MAX_STREAMS_A_CLIENT", 1)
    async with listening(served.client):
        async with served.client.get("/exports/events") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "5")
            assert "at most 1" in (await answer.json())["message"]
        monkeypatch.setattr(event_feed, "MAX_STREAMS", 1)
        async with served.client.get("/exports/events") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")


async def test_many_changes_of_one_export_are_told_as_few(served, say):
    async with listening(served.client) as stream:
        await stream.until_id()
        for number in range(500):
            served.request("r", say, description=f"{number}")
        await stream.until(lambda told: told["description"] == "499")
        assert len(stream.exports) <= 2


async def test_all_events_of_a_batch_but_the_last_resume_before_it(served, say):
    async with listening(served.client) as stream:
        before = (await stream.until_id()).last_id
        for name in "abc":
            served.request(name, say)
        ids = []
        while len(stream.exports) < 3:
            await stream.read_block()
            ids.append(stream.last_id)
        assert ids == [before, before, "4-"]


async def test_a_stream_ends_after_a_while_so_that_its_reader_comes_again_as_who_it_is(
    served, say, monkeypatch
):
    monkeypatch.setattr(events, "MAX_AGE_S", 0.5)
    async with listening(served.client) as stream:
        last_id = (await stream.until_id()).last_id
        with pytest.raises(EOFError):
            await stream.until(lambda _told: False)
    served.request("r", say)
    async with listening(served.client, last_id=last_id) as stream:
        await stream.until_told("r")
