"""Accepted requests are published until they are heard of."""

import asyncio
from contextlib import asynccontextmanager, suppress

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


async def test_a_request_without_a_word_is_published_again(published, view, eventually):
    accepted = AcceptedRequests(published, view, first_repeat_s=0.02)
    await accepted.accept(asked("a"))
    async with repeating(accepted):
        await eventually(lambda: published.sent == ["a", "a", "a"])
    assert "a" in accepted


async def test_what_waits_in_a_queue_that_moves_is_not_published_again(published, view, eventually):
    accepted = AcceptedRequests(published, view, first_repeat_s=0.2)
    names = [f"r{number}" for number in range(40)]
    for name in [*names, "last"]:
        await accepted.accept(asked(name))
    async with repeating(accepted):
        for name in names:  # for much longer than 0.2 s
            view.request_progressed(spoken_of(name))
            await asyncio.sleep(0.02)
        assert published.sent == [*names, "last"]
        await eventually(lambda: published.sent[-2:] == ["last", "last"])  # nobody speaks any more


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
