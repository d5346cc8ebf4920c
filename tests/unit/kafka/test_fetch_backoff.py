"""How idle consumers are slowed down."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import Fetcher

from app.kafka import fetch_backoff
from app.kafka.fetch_backoff import Pacing


def test_the_pause_is_a_tenth_of_the_silence_within_its_limits() -> None:
    pacing = Pacing(longest_pause_s=0.025)
    pacing.after_records(now_s=10.0)
    assert pacing.after_empty(now_s=10.001) == pytest.approx(0.001)
    assert pacing.after_empty(now_s=10.1) == pytest.approx(0.01)
    assert pacing.after_empty(now_s=60.0) == pytest.approx(0.025)


def test_the_first_record_ends_the_pause() -> None:
    pacing = Pacing(longest_pause_s=0.025)
    pacing.after_empty(now_s=0.0)
    assert pacing.after_empty(now_s=9.0) == pytest.approx(0.025)
    pacing.after_records(now_s=9.0)
    assert pacing.after_empty(now_s=9.0) == pytest.approx(0.001)


@pytest.fixture
def wrapped(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The wrapped function around one that answers at once, and what it answers."""
    answer = SimpleNamespace(has_records=False)

    async def answers_at_once(*_: Any) -> bool:
        return bool(answer.has_records)

    monkeypatch.setattr(Fetcher, "_proc_fetch_request", answers_at_once)
    monkeypatch.setattr(fetch_backoff, "_installed", False)
    fetch_backoff.install(longest_pause_s=5.0)
    answer.call = Fetcher._proc_fetch_request
    yield answer
    monkeypatch.setattr(fetch_backoff, "_longest_pause_s", fetch_backoff.LONGEST_PAUSE_S)


async def test_a_cancelled_pause_answers_false(wrapped: Any) -> None:
    fetcher = SimpleNamespace(_pacing=Pacing(longest_pause_s=5.0))
    fetcher._pacing._last_record_s = -1000.0
    task = asyncio.create_task(wrapped.call(fetcher, SimpleNamespace(active=True), 1, None))
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    assert await task is False


async def test_an_answer_for_a_lost_assignment_is_not_delayed(wrapped: Any) -> None:
    fetcher = SimpleNamespace(_pacing=Pacing(longest_pause_s=600.0))
    fetcher._pacing._last_record_s = -10_000.0
    answer = wrapped.call(fetcher, SimpleNamespace(active=False), 1, None)
    assert await asyncio.wait_for(answer, timeout=60) is False


async def test_records_are_handed_on_at_once(wrapped: Any) -> None:
    wrapped.has_records = True
    answer = wrapped.call(SimpleNamespace(), SimpleNamespace(active=True), 1, None)
    assert await asyncio.wait_for(answer, timeout=60) is True


async def test_a_pause_that_is_cancelled_as_the_bell_rings_ends_its_task(monkeypatch):
    """Otherwise a consumer that is told to stop would fetch once more, and wait."""
    bell = SimpleNamespace(rung=asyncio.Event())
    monkeypatch.setattr(fetch_backoff.doorbell, "listener", lambda _is_mine: bell)
    pausing = asyncio.create_task(fetch_backoff.Rest(1.0).pause(60))
    await asyncio.sleep(0)
    bell.rung.set()
    pausing.cancel()
    await asyncio.wait([pausing])
    assert pausing.cancelled()
