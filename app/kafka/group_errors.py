"""Errors of the group protocol that nobody would hear of.

aiokafka hands such an error to the next call of its `getmany` or `position` and joins no more
until somebody has taken it. Faust reads past both, so nobody does: heartbeats go on, the member
stays in its group and holds its partitions, and never handles another record. The same when the
coordination task dies of a bug. Only a new start helps. What can be healed before that is here,
too.
"""

import asyncio
import functools
from collections.abc import Callable
from typing import Any, Final

import structlog
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance, GroupCoordinator

from app.kafka import join_turns
from app.kafka.faust_patches.pinned import original

log = structlog.get_logger(__name__)

MOST_JOINS_IN_VAIN: Final = 5
"""Joins without an assignment until the process ends and comes back as a new member: Apache Kafka
would repeat the empty assignment for ever."""

_push_error_to_user = original(
    "aiokafka.consumer.group_coordinator:GroupCoordinator._push_error_to_user"
)
_coordination_routine = original(
    "aiokafka.consumer.group_coordinator:GroupCoordinator._coordination_routine"
)
_perform_group_join = original(
    "aiokafka.consumer.group_coordinator:CoordinatorGroupRebalance.perform_group_join"
)


def guard_coordination(consumer: Any, on_error: Callable[[BaseException], None]) -> None:
    """Tell when the coordination of this consumer can go on no more.

    Args:
        consumer: AIOKafkaConsumer, not started.
        on_error: Called in the consumer's thread; must end the process.
    """
    consumer._client._on_coordination_error = on_error  # noqa: SLF001 - read below


def install() -> None:
    """Wrap aiokafka's coordinator; again changes nothing."""
    GroupCoordinator._push_error_to_user = push_error_to_user  # noqa: SLF001 - aiokafka has no hook
    GroupCoordinator._coordination_routine = coordination_routine  # noqa: SLF001 - same
    CoordinatorGroupRebalance.perform_group_join = perform_group_join


@functools.wraps(_push_error_to_user)
def push_error_to_user(self: Any, exc: BaseException) -> Any:
    """Report an error before the coordination waits for somebody to take it."""
    _report(self, exc)
    return _push_error_to_user(self, exc)


@functools.wraps(_coordination_routine)
async def coordination_routine(self: Any) -> None:
    """Report what ends the coordination."""
    try:
        await _coordination_routine(self)
    except asyncio.CancelledError:
        raise
    except Exception as error:
        _report(self, error)
        raise


@functools.wraps(_perform_group_join)
async def perform_group_join(self: Any) -> tuple[str, bytes] | None:
    """Join again where the group's leader has left this member out, some times.

    A broker answers with an empty assignment then, of which the coordination dies. The embedded
    broker does so where a member joins while the leader is at work, and asks all members anew
    when that one comes back under the id that it has now.
    """
    async with join_turns.turn(self._coordinator):
        joined: tuple[str, bytes] | None = await _perform_group_join(self)
    if joined is None:
        return None
    left_out = 0 if joined[1] else getattr(self._coordinator, "_left_out_count", 0) + 1
    self._coordinator._left_out_count = left_out  # noqa: SLF001 - ours
    if not 0 < left_out <= MOST_JOINS_IN_VAIN:
        return joined
    log.warning("left_out_of_assignment", group=self.group_id)
    self._coordinator.request_rejoin()
    return None


def _report(coordinator: Any, error: BaseException) -> None:
    on_error = getattr(coordinator._client, "_on_coordination_error", None)  # noqa: SLF001 - set above
    if on_error is not None:
        on_error(error)
