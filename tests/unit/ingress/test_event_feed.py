"""Who is told of which change, and that no listener takes more memory than its bound."""

import asyncio

import pytest

from app.domain.errors import TemporaryFailure
from app.ingress import event_feed
from app.ingress.event_feed import MAX_PENDING, EventFeed
from app.ingress.event_id import EventId
from app.ingress.identity import Identity
from app.ingress.refusals import TooManyStreams
from app.ingress.view import IngressView, Place

ME = Identity("me", is_administrator=False)
BOSS = Identity("boss", is_administrator=True)


@pytest.fixture
def view() -> IngressView:
    return IngressView()


@pytest.fixture
def feed(view) -> EventFeed:
    return EventFeed(view, asyncio.Event())


async def found(feed, subscription, since=None):
    return [one async for one in feed.look_through(subscription, since, 0)]


def test_a_listener_hears_of_its_own_exports_only_and_an_administrator_of_all(
    feed, view, say, told
):
    with feed.subscribe(ME, None) as mine, feed.subscribe(BOSS, None) as every:
        told(view, say.request("a", client="me"), say.request("b", client="you"))
        assert mine.take() == ["a"]
        assert sorted(every.take()) == ["a", "b"]
        told(view, say.export(done=3))
        assert mine.take() == ["a"]
        assert mine.take() == []


def test_who_asks_for_some_by_name_hears_of_them_only(feed, view, say, told):
    with feed.subscribe(ME, frozenset("ax")) as some:
        told(view, *(say.request(name, client="me") for name in "abc"))
        told(view, say.request("x", client="you"))
        assert some.take() == ["a"]


def test_a_request_that_repeats_another_is_told_as_that_one(feed, view, say, told):
    told(view, say.request("first", client="me"))
    with feed.subscribe(ME, frozenset(["again"])) as by_name, feed.subscribe(ME, None) as mine:
        told(view, say.request("again", client="me", repeats="first", verdict="Repeated"))
        assert by_name.take() == ["first"]
        assert mine.take() == []
        told(view, say.result("first"))
        assert (by_name.take(), mine.take()) == (["first"], ["first"])


def test_many_changes_are_not_remembered_one_by_one(feed, view, say, told):
    with feed.subscribe(ME, None) as mine:
        for number in range(MAX_PENDING + 1):
            told(view, say.request(f"{number}", client="me", export_id=f"{number}"))
        assert len(mine._changed) == MAX_PENDING
        assert mine.take() is None
        assert mine.take() == []


async def test_a_look_through_finds_what_stands_behind_the_id(feed, view, say, told):
    for offset, name in enumerate("abc"):
        view.move_to(Place("export-progress", 0, offset))
        told(view, say.request(name, client="me", export_id=f"of {name}"))
    with feed.subscribe(ME, None) as mine:
        assert await found(feed, mine, EventId.parse("1-")) == ["c", "b"]
        view.move_to(Place("export-progress", 1, 0))
        told(view, say.export(export_id="of a", done=5))
        assert await found(feed, mine, EventId.parse("3-")) == ["a"]
        view.move_to(Place("export-finished", 0, 0))
        told(view, say.result("b"))
        assert await found(feed, mine, EventId.parse("3.1-")) == ["b"]
        assert await found(feed, mine, EventId.parse("3.1-1")) == []


async def test_who_comes_first_is_told_what_is_open_and_what_it_asked_for(feed, view, say, told):
    told(view, *(say.request(name, client="me", export_id=None) for name in "abc"))
    told(view, say.request("d", client="you"), say.result("b", "Failed"))
    with feed.subscribe(ME, None) as mine, feed.subscribe(ME, frozenset("bdx")) as some:
        assert await found(feed, mine) == ["c", "a"]
        assert await found(feed, some) == ["b"]
        # Cut off before all was told: that, and what has changed.
        view.move_to(Place("export-finished", 0, 7))
        told(view, say.result("c", "Failed"))
        assert await found(feed, mine, EventId.parse("9-7~")) == ["c", "a"]


async def test_a_long_look_through_misses_none_though_new_ones_come_meanwhile(
    feed, view, say, told, monkeypatch
):
    monkeypatch.setattr(event_feed, "CHUNK", 10)
    for number in range(95):
        told(view, say.request(f"{number:02}", number, client="me", export_id=None))
    with feed.subscribe(ME, None) as mine:
        seen = []
        async for request_id in feed.look_through(mine, None, 0):
            seen.append(request_id)
            told(view, say.request(f"new {request_id}", 1_000, client="me", export_id=None))
        assert seen == [f"{number:02}" for number in reversed(range(95))]
        assert len(mine.take()) == 95


async def test_streams_are_bounded_for_each_client_and_in_all(feed, view, monkeypatch):
    monkeypatch.setattr(event_feed, "MAX_STREAMS_A_CLIENT", 2)
    monkeypatch.setattr(event_feed, "MAX_STREAMS", 3)
    with feed.subscribe(ME, None), feed.subscribe(ME, None):
        with pytest.raises(TooManyStreams, match="client me has 2"), feed.subscribe(ME, None):
            pass
        with feed.subscribe(BOSS, None):
            you = Identity("you", is_administrator=False)
            with pytest.raises(TemporaryFailure, match="3 streams"), feed.subscribe(you, None):
                pass
    with feed.subscribe(ME, None), feed.subscribe(ME, None):
        pass
    assert feed._by_client == {}
