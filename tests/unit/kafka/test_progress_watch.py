"""When a process counts as stalled."""

import asyncio
from typing import Any

import pytest

from app.kafka.progress_watch import Look, QuietTime, _answer, is_too_long, waiting_records

STILL = Look(is_heard=True, is_busy=False, is_rebalancing=False, moved=(1,))


def quiet_after(looks: list[Look]) -> float:
    """Quiet seconds at the last of these looks, ten seconds apart."""
    quiet = QuietTime()
    return [quiet.seen(look, 10.0 * number) for number, look in enumerate(looks)][-1]


def test_a_flow_that_does_not_move_is_quiet_since_it_last_moved() -> None:
    assert quiet_after([STILL] * 4) == 30


@pytest.mark.parametrize(
    "sign",
    [
        Look(is_heard=False, is_busy=False, is_rebalancing=False, moved=()),
        Look(is_heard=True, is_busy=True, is_rebalancing=False, moved=(1,)),
        Look(is_heard=True, is_busy=False, is_rebalancing=False, moved=(2,)),
        Look(is_heard=True, is_busy=False, is_rebalancing=True, moved=(2,)),
    ],
    ids=["broker away", "busy handler", "commit", "recovery that moves"],
)
def test_a_sign_of_life_or_of_an_absent_broker_ends_the_quiet(sign: Look) -> None:
    assert quiet_after([STILL, STILL, sign]) == 0


def test_a_rebalance_may_take_longer_than_an_answer_of_the_broker() -> None:
    rebalancing = Look(is_heard=True, is_busy=False, is_rebalancing=True, moved=(1,))
    assert is_too_long(STILL, 60)
    assert not is_too_long(STILL, 59)
    assert not is_too_long(rebalancing, 180)
    assert is_too_long(rebalancing, 200)


@pytest.mark.parametrize(
    ("start", "end", "committed", "waiting"),
    [(0, 0, None, 0), (0, 3, None, 3), (0, 9, 7, 2), (0, 9, 9, 0), (8, 9, 2, 1), (9, 9, 2, 0)],
)
def test_records_wait_from_the_commit_or_the_start_of_the_log_to_its_end(
    start: int, end: int, committed: Any, waiting: int
) -> None:
    assert waiting_records({"p": start}, {"p": end}, {"p": committed}) == waiting


@pytest.mark.parametrize("moments", range(8))
async def test_a_watch_that_is_stopped_in_the_moment_of_an_answer_stops(moments: int) -> None:
    answered = asyncio.Event()
    task = asyncio.create_task(_answer(asyncio.get_running_loop(), answered.wait))
    for _ in range(10):
        await asyncio.sleep(0)  # until all of it waits
    answered.set()
    for _ in range(moments):
        await asyncio.sleep(0)
    was_running = task.cancel()
    await asyncio.wait([task], timeout=60)
    assert task.cancelled() == was_running
