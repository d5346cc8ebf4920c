"""A process that handles nothing any more ends, and one that has a reason to wait does not."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from app.kafka import progress_watch

QUIET_S = 3.0
"""How long a flow may be quiet once the app is ready."""


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_watch, "_LOOK_EVERY_S", 0.1)


@pytest.fixture
async def working(
    looks_often: None,
    monkeypatch: pytest.MonkeyPatch,
    broker: str,
    topic_prefix: str,
    stage: Any,
    topics: Any,
    tmp_path: Path,
    eventually: Any,
) -> Any:
    """An app without tables that has handled a record; a handler waits while `go` is not set."""
    go = asyncio.Event()
    go.set()
    handled: list[str] = []

    async def handle(record: Any, _: Any) -> Any:
        await go.wait()
        handled.append(record.key)
        return stage.Decision()

    running = stage.tasks_app(broker, topic_prefix, "one", tmp_path, {stage.Written: handle})
    async with running:
        await eventually(running.app.is_ready, deadline_s=20)
        # Only now: on a busy machine the first join may take longer than this patience.
        monkeypatch.setattr(progress_watch, "_FLOW_QUIET_S", QUIET_S)
        monkeypatch.setattr(progress_watch, "_REBALANCE_QUIET_S", QUIET_S)
        yield running, go, handled
        # A question that is under way when the app stops is never answered: ask no more, and wait
        # for the end of one that was asked.
        monkeypatch.setattr(progress_watch, "_FLOW_QUIET_S", 600.0)
        monkeypatch.setattr(progress_watch, "_REBALANCE_QUIET_S", 600.0)
        looks: list[Any] = []
        look_at = progress_watch._look_at

        def note_and_look(faust_app: Any) -> Any:
            looks.append(faust_app)
            return look_at(faust_app)

        monkeypatch.setattr(progress_watch, "_look_at", note_and_look)
        await eventually(lambda: running.exits or len(looks) > 1)


async def test_a_process_whose_flow_has_stopped_ends(
    working: Any, stage: Any, bench: Any, eventually: Any
) -> None:
    running, _, handled = working
    await bench.send(stage.INBOX, stage.Written("a", "x"), partition=0)
    await eventually(lambda: handled == ["a"], deadline_s=10)
    running.app.consumer.stop_flow()
    await bench.send(stage.INBOX, stage.Written("b", "x"), partition=0)
    await eventually(lambda: running.exits, deadline_s=15)
    assert running.exits == [70]
    running.app.consumer.resume_flow()  # so that the app can stop


async def test_a_process_that_never_comes_out_of_a_rebalance_ends(
    working: Any, stage: Any, bench: Any, eventually: Any
) -> None:
    running, _, _ = working
    running.app.consumer.stop_flow()
    running.app.rebalancing = True
    await bench.send(stage.INBOX, stage.Written("b", "x"), partition=0)
    await eventually(lambda: running.exits, deadline_s=15)
    assert running.exits == [70]
    running.app.rebalancing = False
    running.app.consumer.resume_flow()


async def test_a_busy_handler_or_an_idle_topic_ends_nothing(
    working: Any, stage: Any, bench: Any, eventually: Any
) -> None:
    running, go, handled = working
    go.clear()
    for key in ("a", "b"):
        await bench.send(stage.INBOX, stage.Written(key, "x"), partition=0)
    await asyncio.sleep(2 * QUIET_S)
    go.set()
    await eventually(lambda: handled == ["a", "b"], deadline_s=10)
    await asyncio.sleep(2 * QUIET_S)  # nothing to do
    assert running.exits == []


async def test_a_process_whose_coordination_failed_ends(working: Any, eventually: Any) -> None:
    """aiokafka would wait for somebody to take the error, and Faust never does."""
    running, _, _ = working
    coordinator = running.app.coordinator()

    async def refuse(*_: Any) -> None:
        raise KafkaError("an answer that nobody expected")

    coordinator.ensure_active_group = refuse
    loop = running.app.consumer._thread.thread_loop
    loop.call_soon_threadsafe(coordinator.request_rejoin)
    await eventually(lambda: running.exits, deadline_s=15)
    assert 70 in running.exits
