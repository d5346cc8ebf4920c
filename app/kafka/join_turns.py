"""Members of one machine join their group one after the other, for the embedded broker.

Who joins waits until all have joined, and the embedded broker wakes those that wait up to 50 ms
late. When another member joins in that moment, it forgets that the first ones have been let in:
they wait for the whole rebalance timeout, a minute, and some are left out of the assignment. Two
members that start 0.30 to 0.35 s apart do that. So a process that joins without a member id holds
a lock file meanwhile. Nothing depends on it: without the lock, joins are as the broker makes them.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import structlog

log = structlog.get_logger(__name__)

LONGEST_WAIT_S: Final = 1.0
"""How long a member waits for its turn: whoever has the turn may be waiting for that very member,
or for one with a long handler. The first join of a group, where it matters, takes 0.3 s."""

_LOOK_EVERY_S: Final = 0.02
_WOKEN_AFTER_S: Final = 0.1
"""How long after a join the turn goes on, s: then all that waited with it have been woken."""


def take_turns(consumer: Any, lock: Path) -> None:
    """Let this consumer join when no other holds the lock.

    Args:
        consumer: AIOKafkaConsumer, not started.
        lock: File that all members of the group know; made if missing, never removed.
    """
    consumer._client._join_lock = lock  # noqa: SLF001 - read below


@contextlib.asynccontextmanager
async def turn(coordinator: Any) -> AsyncIterator[None]:
    """Hold the lock while a member without an id joins; everybody else passes.

    Args:
        coordinator: aiokafka's GroupCoordinator.
    """
    lock: Path | None = getattr(coordinator._client, "_join_lock", None)  # noqa: SLF001 - ours
    file = None if lock is None or coordinator.member_id else _opened(lock)
    if file is None:
        yield
        return
    try:
        if not await _locked(file):
            log.info("joined_out_of_turn", group=coordinator.group_id)
        yield
    finally:
        asyncio.get_running_loop().call_later(_WOKEN_AFTER_S, os.close, file)


def _opened(lock: Path) -> int | None:
    """Open the file; None where the disk does not let us, as on a full or read-only one."""
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    except OSError as error:
        log.warning("no_turns_to_join", lock=str(lock), error=str(error))
        return None


async def _locked(file: int) -> bool:
    """Lock a file that is open; False after the longest wait."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LONGEST_WAIT_S):
            while True:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return True
                await asyncio.sleep(_LOOK_EVERY_S)
    return False
