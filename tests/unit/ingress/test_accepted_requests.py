"""Accepted requests are published until they are heard of."""

import asyncio
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace

import pytest

from app.domain.errors import TemporaryFailure
from app.domain.records import ExportRequested, RequestProgress
from app.ingress.accepted_requests import RECORD_BYTES, AcceptedRequests
from app.ingress.view import IngressView


class ListedRequests:
    """A publisher that keeps what it is given; the broker's own is tested with a broker."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.is_down = False
        self.refused_count = 0

    async def publish(self, asked: ExportRequested) -> None:
        if self.is_down:
            self.refused_count += 1
            raise TemporaryFailure("no broker")
        self.sent.append(asked.request_id)


def asked(request_id: str, bbox_json: str | None = None) -> ExportRequested:
    return ExportRequested(request_id, "layer", bbox_json=bbox_json)


def spoken_of(request_id: str) -> RequestProgress:
    return RequestProgress(
        request_id, 1, "anonymous", "layer", None, None, 1, "Accepted", 200, None, "e", None
    )


@asynccontextmanager
async def repeating(accepted: AcceptedRequests):
    task = asyncio.create_task(accepted.repeat_forever())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def published() -> ListedRequests:
    return ListedRequests()


@pytest.fixture
def view() -> IngressView:
    return IngressView()


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """Time that passes only as a test says."""
    told = SimpleNamespace(now_s=1_000.0)
    monkeypatch.setattr(AcceptedRequests, "_now_s", staticmethod(lambda: told.now_s))
    return told


async def test_a_request_without_a_word_is_published_again(published, view, eventually):
    accepted = AcceptedRequests(published, view, first_repeat_s=0.02)
    await accepted.accept(asked("a"))
    async with repeating(accepted):
        await eventually(lambda: published.sent == ["a", "a", "a"])
    assert "a" in accepted


async def test_what_waits_in_a_queue_that_moves_is_not_published_again(published, view, clock):
    accepted = AcceptedRequests(published, view, first_repeat_s=10)
    names = [f"r{number}" for number in range(40)]
    for name in [*names, "last"]:
        await accepted.accept(asked(name))
    for name in names:  # for much longer than 10 s
        view.request_progressed(spoken_of(name))
        clock.now_s += 1
        await accepted._sweep()
    assert published.sent == [*names, "last"]
    clock.now_s += 10  # nobody speaks any more
    await accepted._sweep()
    assert published.sent[-2:] == ["last", "last"]


async def test_a_request_that_younger_ones_overtook_by_far_is_published_again(
    published, view, eventually
):
    accepted = AcceptedRequests(published, view, first_repeat_s=0.1)
    await accepted.accept(asked("lost"))
    async with repeating(accepted):
        number = 0
        while published.sent.count("lost") < 2 and number < 100:
            number += 1
            await accepted.accept(asked(f"r{number}"))
            view.request_progressed(spoken_of(f"r{number}"))
            await asyncio.sleep(0.02)
    assert published.sent.count("lost") >= 2
    assert len(set(published.sent)) == number + 1


async def test_a_request_that_was_spoken_of_is_forgotten(published, view, eventually):
    accepted = AcceptedRequests(published, view, first_repeat_s=0.02)
    await accepted.accept(asked("a"))
    view.request_progressed(spoken_of("a"))
    async with repeating(accepted):
        await eventually(lambda: "a" not in accepted)
    assert published.sent == ["a"]


async def test_a_broker_that_was_away_gets_the_young_ones_again(published, view, eventually):
    accepted = AcceptedRequests(published, view, first_repeat_s=0.3)
    await accepted.accept(asked("a"))
    view.request_progressed(spoken_of("a"))
    async with repeating(accepted):
        accepted.broker_came_back()
        await eventually(lambda: published.sent == ["a", "a"])
        await eventually(lambda: "a" not in accepted)
    assert published.sent == ["a", "a"]


async def test_a_request_that_was_spoken_of_late_is_kept_for_a_while(published, view, monkeypatch):
    """The word on it may be lost with the broker's tail."""
    accepted = AcceptedRequests(published, view)
    await accepted.accept(asked("a"))
    begun_s = accepted._now_s()
    view.request_progressed(spoken_of("a"))
    for later_s, is_kept in ((100, True), (109, True), (111, False)):
        monkeypatch.setattr(
            AcceptedRequests, "_now_s", staticmethod(lambda at_s=begun_s + later_s: at_s)
        )
        await accepted._sweep()
        assert ("a" in accepted) is is_kept


async def test_nothing_is_forgotten_while_the_broker_is_away(published, view, monkeypatch):
    accepted = AcceptedRequests(published, view)
    await accepted.accept(asked("a"))
    begun_s = accepted._now_s()
    view.request_progressed(spoken_of("a"))
    await accepted._sweep()
    accepted.broker_went_away()
    monkeypatch.setattr(AcceptedRequests, "_now_s", staticmethod(lambda: begun_s + 100))
    await accepted._sweep()
    accepted.broker_came_back()
    await accepted._sweep()
    assert published.sent == ["a", "a"]


async def test_a_repeat_that_fails_is_tried_again(published, view, eventually):
    accepted = AcceptedRequests(published, view, first_repeat_s=0.02)
    await accepted.accept(asked("a"))
    published.is_down = True
    async with repeating(accepted):
        accepted.broker_came_back()
        await eventually(lambda: published.refused_count > 0)
        published.is_down = False
        await eventually(lambda: len(published.sent) >= 2)


async def test_what_the_broker_did_not_keep_is_not_accepted(published, view):
    accepted = AcceptedRequests(published, view)
    published.is_down = True
    with pytest.raises(TemporaryFailure):
        await accepted.accept(asked("a"))
    assert "a" not in accepted
    assert accepted._open_bytes == 0


async def test_open_requests_have_a_bound_and_known_ones_make_room(published, view):
    accepted = AcceptedRequests(published, view, max_bytes=2 * RECORD_BYTES + 10)
    await accepted.accept(asked("a"))
    await accepted.accept(asked("b", bbox_json="[1,2,3,4]"))
    with pytest.raises(TemporaryFailure, match="2 requests wait"):
        await accepted.accept(asked("c"))
    view.request_progressed(spoken_of("a"))
    await accepted.accept(asked("d"))
    assert published.sent == ["a", "b", "d"]


async def test_what_the_bound_drops_while_a_sweep_waits_for_the_broker_is_dropped_once(
    published, view, eventually
):
    accepted = AcceptedRequests(
        published, view, max_bytes=4 * RECORD_BYTES + 500, first_repeat_s=0.05
    )
    others = ("known", "known too", "known as well")
    waits = asyncio.Event()
    publish = published.publish

    async def slow(request):
        await publish(request)
        if request.request_id == "first":
            await waits.wait()

    await accepted.accept(asked("first"))
    await eventually(lambda: asyncio.get_running_loop().time() > accepted._open["first"].due_at_s)
    for name in others:
        await accepted.accept(asked(name))
        view.request_progressed(spoken_of(name))
    accepted._hear()
    published.publish = slow
    sweep = asyncio.create_task(accepted._sweep())
    await eventually(lambda: published.sent.count("first") == 2)  # overtaken, and it waits
    due_s = accepted._open["known"].due_at_s
    await eventually(lambda: asyncio.get_running_loop().time() > due_s)
    await accepted.accept(asked("one more"))  # there is no room but theirs
    waits.set()
    await sweep
    assert [name in accepted for name in ("first", *others, "one more")] == [1, 0, 0, 0, 1]
    assert accepted._open_bytes == 2 * RECORD_BYTES
