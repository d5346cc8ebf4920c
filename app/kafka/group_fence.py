"""The fence against zombies: who has not been heard by its group lately must not write.

A process that is frozen longer than its session loses its partitions and does not know it. When
it goes on, it would store rows and send records beside the new owner. So before each store, and
before each request of the producer, the last successful heartbeat must be younger than half a
session; the clock counts the time a machine was asleep.
"""

import asyncio
import functools
import time
from collections.abc import Callable
from typing import Any

import structlog
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.producer.sender import Sender
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest

from app.domain.errors import ExportServiceError

log = structlog.get_logger(__name__)

_POLL_S = 0.02


class PartitionLost(ExportServiceError):
    """The group has given our partitions to others; only a new start can go on."""


def boot_clock_s() -> float:
    """Seconds since the machine started, sleep included; macOS has only the monotonic clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class GroupFence:
    """Knows how long ago the group last heard of this process.

    The coordinator lives in the consumer's thread; only plain attributes are read from here.
    """

    def __init__(
        self,
        session_s: float,
        coordinator: Callable[[], Any],
        clock_s: Callable[[], float] = boot_clock_s,
    ) -> None:
        """Set up; nothing is asked before the first use.

        Args:
            session_s: Session timeout of the group, seconds.
            coordinator: Returns aiokafka's GroupCoordinator, or None before the consumer started.
            clock_s: A clock in seconds that goes on while the machine sleeps.
        """
        self._limit_s = session_s / 2
        self._coordinator = coordinator
        self._clock_s = clock_s
        self._retired = False
        self.waits_count = 0

    def retire(self) -> None:
        """Open the fence for good: all handlers have ended and the group is being left."""
        self._retired = True

    def age_s(self) -> float | None:
        """Seconds since the group last heard of us; None before the first join."""
        beat_s = getattr(self._coordinator(), "_fence_beat_s", None)
        return None if beat_s is None else self._clock_s() - beat_s

    def is_fresh(self) -> bool:
        """Whether we may write now."""
        if self._retired:
            return True
        coordinator = self._coordinator()
        beat_s = getattr(coordinator, "_fence_beat_s", None)
        return (
            beat_s is not None
            and coordinator.generation == coordinator._fence_generation  # noqa: SLF001 - ours, set by install()
            and self._clock_s() - beat_s < self._limit_s
        )

    def _is_lost(self, generation: int | None) -> bool:
        coordinator = self._coordinator()
        if coordinator is None or getattr(coordinator, "_fence_beat_s", None) is None:
            return False
        if generation is not None:
            return bool(coordinator.generation != generation)
        return bool(coordinator.generation <= 0)

    async def fresh(self, generation: int | None = None) -> None:
        """Wait until we may write.

        Args:
            generation: Group generation in which the record at hand was read; None for sends
                that belong to no partition.

        Raises:
            PartitionLost: The group has gone on without us; waiting cannot help.
        """
        waited = False
        while not self._retired:
            if self._is_lost(generation):
                raise PartitionLost(f"no longer in generation {generation or 'any'} of the group")
            if self.is_fresh():
                return
            if not waited:
                waited = True
                self.waits_count += 1
                log.warning("fence_waits", age_s=self.age_s())
            await asyncio.sleep(_POLL_S)


def guard_producer(producer: Any, fence: GroupFence, on_lost: Callable[[], None]) -> None:
    """Let an aiokafka producer send only while the fence is fresh.

    Args:
        producer: AIOKafkaProducer.
        fence: The fence of the app that owns it.
        on_lost: Called when the partitions are lost; must end the process.
    """
    producer._sender._fence = fence  # noqa: SLF001 - read by the wrapped sender below
    producer._sender._fence_on_lost = on_lost  # noqa: SLF001 - same


def guard_name(consumer: Any, fence: GroupFence, on_taken: Callable[[], None]) -> None:
    """Tell when another process has joined the group under our static name.

    The broker gives it our partitions in the same generation, and forgets our member id. aiokafka
    does not tell the broker its name with a heartbeat, so instead of "fenced" it hears "unknown
    member", and joins again: two processes of one name then throw each other out once a second,
    and both write.

    Args:
        consumer: AIOKafkaConsumer, not started.
        fence: The fence of the app that owns it.
        on_taken: Called in the consumer's thread; must end the process.
    """
    consumer._client._fence = fence  # noqa: SLF001 - read by the wrapped coordinator below
    consumer._client._fence_on_taken = on_taken  # noqa: SLF001 - same


_UNKNOWN_MEMBER_ID = 25
_installed = False


def install() -> None:
    """Wrap aiokafka's coordinator and sender, once per process."""
    global _installed  # noqa: PLW0603 - wrapping twice would only cost time, but once is clearer
    if _installed:
        return
    _installed = True
    _note_heartbeats()
    _note_joins()
    _note_namesakes()
    _hold_back_stale_sends()


def _note_heartbeats() -> None:
    """Note each heartbeat that succeeded, by the time at which it was sent."""
    original = GroupCoordinator._do_heartbeat  # noqa: SLF001 - aiokafka has no hook

    @functools.wraps(original)
    async def _do_heartbeat(self: Any) -> bool:
        # The broker counts the session from when it got the request, which is later than this.
        asked_s = boot_clock_s()
        heard = bool(await original(self))
        if heard and self.generation > 0:
            self._fence_beat_s = asked_s
        return heard

    GroupCoordinator._do_heartbeat = _do_heartbeat  # noqa: SLF001 - aiokafka has no hook


def _note_joins() -> None:
    """Count a join as a heartbeat: the first real one comes only after handlers have begun."""
    original = GroupCoordinator._on_join_complete  # noqa: SLF001 - aiokafka has no hook

    @functools.wraps(original)
    async def _on_join_complete(
        self: Any, generation: int, member_id: str, protocol: str, assignment: bytes
    ) -> None:
        self._fence_generation = generation
        self._fence_beat_s = boot_clock_s()
        await original(self, generation, member_id, protocol, assignment)

    GroupCoordinator._on_join_complete = _on_join_complete  # noqa: SLF001 - aiokafka has no hook


def _note_namesakes() -> None:
    """Hear "unknown member" while the session cannot have expired: the name has been taken."""
    original = GroupCoordinator._send_req  # noqa: SLF001 - aiokafka has no hook

    @functools.wraps(original)
    async def _send_req(self: Any, request: Any) -> Any:
        asked_as = self.member_id
        answer = await original(self, request)
        on_taken = getattr(self._client, "_fence_on_taken", None)
        if (
            on_taken is not None
            and asked_as == self.member_id
            and self._client._fence.is_fresh()  # noqa: SLF001 - ours, set by guard_name()
            and isinstance(request, HeartbeatRequest | OffsetCommitRequest)
            and _UNKNOWN_MEMBER_ID in _error_codes(answer)
        ):
            on_taken()
        return answer

    GroupCoordinator._send_req = _send_req  # noqa: SLF001 - aiokafka has no hook


def _error_codes(answer: Any) -> set[int]:
    """List the error codes in the answer to a heartbeat or to a commit."""
    if hasattr(answer, "error_code"):
        return {answer.error_code}
    return {code for _topic, partitions in answer.topics for _partition, code in partitions}


def _hold_back_stale_sends() -> None:
    """Check again right before the request: batches wait in a buffer while a process is frozen."""
    original = Sender._send_produce_req  # noqa: SLF001 - aiokafka has no hook

    @functools.wraps(original)
    async def _send_produce_req(self: Any, node_id: int, batches: Any) -> None:
        fence: GroupFence | None = getattr(self, "_fence", None)
        if fence is not None:
            try:
                await fence.fresh()
            except PartitionLost:
                self._fence_on_lost()
                return  # only a test gets here; its batches stay unsent
        await original(self, node_id, batches)

    Sender._send_produce_req = _send_produce_req  # noqa: SLF001 - aiokafka has no hook
