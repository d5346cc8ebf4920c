"""kill -9 of owners and workers, again and again: every record is handled, every row is there."""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.kafka.edge import EXIT_BUG
from app.kafka.embedded_broker import EmbeddedBroker
from app.kafka.topic_admin import create_topics
from app.kafka.topics import Topics

NOTES = 240
INSTANCES = ("one", "two", "three")


async def test_no_record_is_lost_when_owners_of_tables_are_killed_again_and_again(
    stage: Any, bench: Any, eventually: Any, workers: Any
) -> None:
    async def all_copied() -> bool:
        full = {copy.key for copy in await bench.copied() if copy.texts == ("first", "second")}
        return len(full) == NOTES

    async with supervised(workers, "owner") as running:
        await eventually(
            lambda: all(["ready"] in workers.log(name) for name in INSTANCES), deadline_s=60
        )
        killing = asyncio.create_task(kill_in_turn(running, kills=5))
        for number in range(NOTES):
            for text in ("first", "second"):
                await bench.send(stage.INBOX, stage.Written(f"k{number}", text))
            await asyncio.sleep(0.05)  # so that the records are spread over all the kills
        await killing
        await eventually(all_copied, deadline_s=60)
    rows = {}
    for record in await bench.read(stage.CHANGELOG):
        rows[record.key] = bench.codec.decode(record.value).texts
    assert set(rows.values()) == {("first", "second")}
    assert len(rows) == NOTES


@contextlib.asynccontextmanager
async def supervised(workers: Any, kind: str) -> AsyncIterator[dict[str, Any]]:
    """Start all instances, and start those again that were killed or ended by themselves.

    A process that has lost its partitions ends, as a killed member's comeback may cost it.
    """
    running = {name: workers.start(name, kind) for name in INSTANCES}

    async def supervise() -> None:
        while True:
            for name, process in running.items():
                if process.poll() is not None:
                    assert process.returncode in {-signal.SIGKILL, EXIT_BUG}
                    running[name] = workers.start(name, kind)
            await asyncio.sleep(0.3)

    supervisor = asyncio.create_task(supervise())
    try:
        yield running
    finally:
        supervisor.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await supervisor


async def kill_in_turn(running: dict[str, Any], kills: int) -> None:
    chance = random.Random(7)
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(1.0, 3.5))
        running[chance.choice(sorted(running))].kill()


@pytest.mark.long
async def test_no_record_is_lost_when_workers_without_tables_are_killed(
    stage: Any, bench: Any, eventually: Any, workers: Any
) -> None:
    async def all_copied() -> bool:
        return len({copy.key for copy in await bench.copied()}) == NOTES

    async with supervised(workers, "tasks") as running:
        await eventually(
            lambda: all(["ready"] in workers.log(name) for name in INSTANCES), deadline_s=60
        )
        killing = asyncio.create_task(kill_in_turn(running, kills=5))
        for number in range(NOTES):
            await bench.send(stage.INBOX, stage.Written(f"k{number}", "slow 0.02"))
            await asyncio.sleep(0.05)  # so that the records are spread over all the kills
        await killing
        await eventually(all_copied, deadline_s=60)


async def test_the_service_goes_on_after_the_embedded_broker_was_killed(
    stage: Any, tmp_path: Path, eventually: Any, make_workers: Any, make_bench: Any
) -> None:
    """The broker may lose its last moments; what is sent after it came back is handled."""
    names = Topics("killed-")
    with EmbeddedBroker(tmp_path / "broker") as embedded:
        await create_topics(embedded.address, names)
        workers = make_workers(embedded.address, names.prefix, tmp_path)
        bench = make_bench(embedded.address, names, stage)
        try:
            running = workers.start("one", "owner")
            async with bench:
                for number in range(50):
                    await bench.send(stage.INBOX, stage.Written(f"before-{number}", "x"))
            await eventually(lambda: len(workers.log("one")) > 40, deadline_s=30)
            embedded.kill()
            await asyncio.to_thread(embedded.start)
            async with bench:
                for number in range(50):
                    await bench.send(stage.INBOX, stage.Written(f"after-{number}", "x"))

                async def all_copied() -> bool:
                    nonlocal running
                    if running.poll() is not None:  # as the supervisor would
                        assert running.returncode == 70
                        running = workers.start("one", "owner")
                    keys = {copy.key for copy in await bench.copied()}
                    return {f"after-{number}" for number in range(50)} <= keys

                await eventually(all_copied, deadline_s=90)
        finally:
            workers.end()
