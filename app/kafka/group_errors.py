"""Errors of the group protocol that nobody would hear of.

aiokafka hands such an error to the next call of its `getmany` or `position` and joins no more
until somebody has taken it. Faust reads past both, so nobody does: heartbeats go on, the member
stays in its group and holds its partitions, and never handles another record. The same when the
coordination task dies of a bug. Only a new start helps.
"""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from aiokafka.consumer.group_coordinator import GroupCoordinator

from app.kafka.faust_patches.pinned import original

_push_error_to_user = original(
    "aiokafka.consumer.group_coordinator:GroupCoordinator._push_error_to_user"
)
_coordination_routine = original(
    "aiokafka.consumer.group_coordinator:GroupCoordinator._coordination_routine"
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


def _report(coordinator: Any, error: BaseException) -> None:
    on_error = getattr(coordinator._client, "_on_coordination_error", None)  # noqa: SLF001 - set above
    if on_error is not None:
        on_error(error)
