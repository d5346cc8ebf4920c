"""kill -9 of owners and workers, again and again: every record is handled, every row is there."""

import asyncio
import random
from typing import Any

NOTES = 240
INSTANCES = ("one", "two", "three")


async def test_no_record_is_lost_when_owners_of_tables_are_killed_again_and_again(
    stage: Any, bench: Any, eventually: Any, workers: Any
) -> None:
    running = {name: workers.start(name, "owner") for name in INSTANCES}
    await eventually(
        lambda: all(["ready"] in workers.log(name) for name in INSTANCES), deadline_s=60
    )
    killing = asyncio.create_task(kill_in_turn(workers, running, "owner", kills=5))
    for number in range(NOTES):
        for text in ("first", "second"):
            await bench.send(stage.INBOX, stage.Written(f"k{number}", text))
        await asyncio.sleep(0.05)  # so that the records are spread over all the kills
    await killing

    async def all_copied() -> bool:
        full = {copy.key for copy in await bench.copied() if copy.texts == ("first", "second")}
        return len(full) == NOTES

    await eventually(all_copied, deadline_s=30)
    rows = {}
    for record in await bench.read(stage.CHANGELOG):
        rows[record.key] = bench.codec.decode(record.value).texts
    assert set(rows.values()) == {("first", "second")}
    assert len(rows) == NOTES


async def kill_in_turn(workers: Any, running: dict[str, Any], kind: str, kills: int) -> None:
    chance = random.Random(7)
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(1.0, 3.5))
        name = chance.choice(sorted(running))
        running[name].kill()
        running[name].wait()
        await asyncio.sleep(0.3)
        running[name] = workers.start(name, kind)


async def test_no_record_is_lost_when_workers_without_tables_are_killed(
    stage: Any, bench: Any, eventually: Any, workers: Any
) -> None:
    running = {name: workers.start(name, "tasks") for name in INSTANCES}
    await eventually(
        lambda: all(["ready"] in workers.log(name) for name in INSTANCES), deadline_s=60
    )
    killing = asyncio.create_task(kill_in_turn(workers, running, "tasks", kills=5))
    for number in range(NOTES):
        await bench.send(stage.INBOX, stage.Written(f"k{number}", "slow 0.02"))
        await asyncio.sleep(0.05)  # so that the records are spread over all the kills
    await killing

    async def all_copied() -> bool:
        return len({copy.key for copy in await bench.copied()}) == NOTES

    await eventually(all_copied, deadline_s=30)
