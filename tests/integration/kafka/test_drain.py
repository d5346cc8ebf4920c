"""SIGTERM ends and commits what is in hand and begins nothing else; a second one ends at once."""

import asyncio
from typing import Any


async def test_sigterm_ends_after_the_record_in_hand_and_commits_it(
    stage: Any, bench: Any, eventually: Any, workers: Any
) -> None:
    worker = workers.start("one", "tasks")
    await eventually(lambda: ["ready"] in workers.log("one"), deadline_s=30)
    await bench.send(stage.INBOX, stage.Written("a", "slow 2"), partition=1)
    await eventually(lambda: ["begin", 1, 0, "slow 2"] in workers.log("one"), deadline_s=10)
    worker.terminate()
    assert await waited(worker) == 0
    assert workers.log("one")[-2:] == [["end", 1, 0, "slow 2"], ["stopped"]]
    assert await bench.committed("worker", stage.INBOX, 1) == 1
    assert await bench.copied() == [stage.Copied("a", ("slow 2",))]


async def test_sigterm_leaves_what_waits_to_the_next_start(
    stage: Any, bench: Any, eventually: Any, workers: Any
) -> None:
    worker = workers.start("one", "tasks")
    await eventually(lambda: ["ready"] in workers.log("one"), deadline_s=30)
    for number in range(20):
        await bench.send(stage.INBOX, stage.Written(f"k{number}", "slow 1"), partition=1)
    await eventually(lambda: len(begun(workers)) == 4, deadline_s=10)
    worker.terminate()
    assert await waited(worker) == 0
    assert len(begun(workers)) <= 8
    assert begun(workers) == ended(workers)
    assert await bench.committed("worker", stage.INBOX, 1) == len(ended(workers))
    workers.start("one", "tasks")

    async def all_copied() -> bool:
        return len(await bench.copied()) == 20

    await eventually(all_copied, deadline_s=60)
    assert ended(workers) == set(range(20))


async def test_a_second_sigterm_ends_at_once_and_the_record_is_handled_again(
    stage: Any, bench: Any, eventually: Any, workers: Any
) -> None:
    worker = workers.start("one", "tasks")
    await eventually(lambda: ["ready"] in workers.log("one"), deadline_s=30)
    await bench.send(stage.INBOX, stage.Written("a", "slow 20"), partition=1)
    await eventually(lambda: begun(workers) == {0}, deadline_s=10)
    worker.terminate()
    await eventually(lambda: '"stopping"' in workers.output("one"), deadline_s=5)
    worker.terminate()
    # Long before the record is handled.
    assert await asyncio.to_thread(worker.wait, 15) == 130
    assert await bench.committed("worker", stage.INBOX, 1) == 0
    workers.start("one", "tasks")
    await eventually(lambda: ended(workers) == {0}, deadline_s=40)


async def waited(worker: Any) -> int:
    return int(await asyncio.to_thread(worker.wait, 120))


def begun(workers: Any) -> set[int]:
    """Offsets of the records that were begun."""
    return {event[2] for event in workers.log("one") if event[0] == "begin"}


def ended(workers: Any) -> set[int]:
    """Offsets of the records that were handled to their end."""
    return {event[2] for event in workers.log("one") if event[0] == "end"}
