"""Who waits for a turn to join, and who does not."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from app.kafka import join_turns


def coordinator(lock: Path | None, member_id: str = "") -> Any:
    """A member of a group as a turn sees it."""
    client = SimpleNamespace()
    consumer = SimpleNamespace(_client=client)
    if lock is not None:
        join_turns.take_turns(consumer, lock)
    return SimpleNamespace(_client=client, member_id=member_id, group_id="coordinator")


async def is_let_in(member: Any, within_s: float) -> bool:
    """Whether a member's turn comes in time."""

    async def join() -> None:
        async with join_turns.turn(member):
            pass

    try:
        async with asyncio.timeout(within_s):
            await join()
    except TimeoutError:
        return False
    return True


async def test_a_new_member_waits_while_another_one_joins_but_not_for_ever(tmp_path: Path) -> None:
    lock = tmp_path / "joining"
    async with join_turns.turn(coordinator(lock)):
        assert not await is_let_in(coordinator(lock), join_turns.LONGEST_WAIT_S / 2)
        assert await is_let_in(coordinator(lock), 10 * join_turns.LONGEST_WAIT_S)


async def test_whoever_has_an_id_or_no_lock_joins_at_once(tmp_path: Path) -> None:
    lock = tmp_path / "joining"
    async with join_turns.turn(coordinator(lock)):
        assert await is_let_in(coordinator(lock, "known"), join_turns.LONGEST_WAIT_S / 2)
        assert await is_let_in(coordinator(None), join_turns.LONGEST_WAIT_S / 2)


async def test_a_folder_that_cannot_be_written_keeps_nobody_out(tmp_path: Path) -> None:
    assert await is_let_in(coordinator(tmp_path / "missing" / "joining"), 5)
