"""The fence in a running app."""

import asyncio
from pathlib import Path
from typing import Any

from app.kafka.group_fence import boot_clock_s


async def test_a_running_app_is_heard_by_its_group(
    broker: str, topic_prefix: str, stage: Any, topics: Any, tmp_path: Path, eventually: Any
) -> None:
    running = stage.owner_app(broker, topic_prefix, "one", tmp_path)
    async with running:
        await eventually(running.app.is_ready, deadline_s=20)
        joined_s = running.app.coordinator()._fence_beat_s
        assert running.app.group_fence.is_fresh()
        await eventually(
            lambda: running.app.coordinator()._fence_beat_s > joined_s + 0.5, deadline_s=10
        )


async def test_nothing_is_stored_or_sent_while_the_group_has_not_heard_of_us(
    broker: str, topic_prefix: str, stage: Any, bench: Any, tmp_path: Path, eventually: Any
) -> None:
    running = stage.owner_app(broker, topic_prefix, "one", tmp_path)
    async with running:
        fence = running.app.group_fence
        await eventually(running.app.is_ready, deadline_s=20)
        fence._clock_s = lambda: boot_clock_s() + 16  # as after a sleep of half a session
        await bench.send(stage.INBOX, stage.Written("a", "x"), partition=0)
        background = asyncio.create_task(
            running.edge.outbox.send(stage.OUTBOX, "b", stage.Copied("b", ()))
        )
        await eventually(lambda: fence.waits_count >= 2, deadline_s=10)
        assert await bench.read(stage.CHANGELOG) == []
        assert await bench.copied() == []
        assert not background.done()
        fence._clock_s = boot_clock_s
        await asyncio.wait_for(background, timeout=60)

        async def copied() -> bool:
            return len(await bench.copied()) == 2

        await eventually(copied, deadline_s=10)
    assert running.exits == []


async def test_a_process_whose_partitions_went_to_others_ends_without_writing(
    broker: str, topic_prefix: str, stage: Any, bench: Any, tmp_path: Path, eventually: Any
) -> None:
    running = stage.owner_app(broker, topic_prefix, "one", tmp_path)
    async with running:
        await eventually(running.app.is_ready, deadline_s=20)
        coordinator = running.app.coordinator()
        generation, coordinator.generation = (
            coordinator.generation,
            generation_of_others(coordinator),
        )
        await bench.send(stage.INBOX, stage.Written("a", "x"), partition=0)
        await eventually(lambda: running.exits, deadline_s=10)
        coordinator.generation = generation
    assert set(running.exits) == {70}
    assert await bench.read(stage.CHANGELOG) == []


def generation_of_others(coordinator: Any) -> int:
    return int(coordinator.generation) + 1
