"""The last net under a stopped flow: records wait, nobody has one in hand, and nothing moves.

A process can be alive, a member of its group, and handle nothing: a rebalance that was never
answered, a flow that was never opened again. Nothing else would notice. So progress itself is
watched, and a process without any ends, to be started again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import TopicPartition

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 5.0
# Everything between a record and its handler takes milliseconds; a commit comes every 0.5 s.
_FLOW_QUIET_S = 60.0
# A recovery may wait for one answer of the broker for 90 s (`broker_request_timeout`) and then
# fails by itself; a revocation may wait for one answer more.
_REBALANCE_QUIET_S = 200.0
_ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a process shows.

    Attributes:
        is_heard: The group has heard of us lately: the broker is there and no join is under way.
        is_busy: A record is in a handler's hands.
        is_rebalancing: Partitions are being given or tables recovered.
        moved: Anything that changes with progress; only compared.
    """

    is_heard: bool
    is_busy: bool
    is_rebalancing: bool
    moved: tuple[Any, ...]


class QuietTime:
    """Counts for how long nothing has moved although it should."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._last: Look | None = None
        self._since_s = 0.0

    def seen(self, look: Look, now_s: float) -> float:
        """Take one look.

        Args:
            look: The process now.
            now_s: Monotonic clock, seconds.

        Returns:
            Seconds without progress; 0 while nothing can be said.
        """
        last, self._last = self._last, look
        if last is None or not look.is_heard or look.is_busy or look.moved != last.moved:
            self._since_s = now_s
        return now_s - self._since_s


def is_too_long(look: Look, quiet_s: float) -> bool:
    """Whether this silence is worth asking the broker about."""
    return quiet_s >= (_REBALANCE_QUIET_S if look.is_rebalancing else _FLOW_QUIET_S)


def waiting_records(
    starts: Mapping[Any, int], ends: Mapping[Any, int], committed: Mapping[Any, int | None]
) -> int:
    """Count the records that nobody has handled; those that retention removed do not count.

    >>> waiting_records({"a": 5}, {"a": 9}, {"a": 7})
    2
    >>> waiting_records({"a": 9}, {"a": 9}, {"a": None})
    0
    """
    return sum(max(0, end - max(starts[tp], committed.get(tp) or 0)) for tp, end in ends.items())


async def watch(faust_app: Any, on_stalled: Callable[[], None]) -> None:
    """Look on and on; returns after `on_stalled`, or when the app stops.

    Args:
        faust_app: A ServiceApp that is starting.
        on_stalled: Ends the process.
    """
    quiet = QuietTime()
    clock_s = asyncio.get_running_loop().time
    while not faust_app.should_stop:
        await asyncio.sleep(_LOOK_EVERY_S)
        look = _look_at(faust_app)
        quiet_s = quiet.seen(look, clock_s())
        if not is_too_long(look, quiet_s):
            continue
        waiting = await _ask(faust_app)
        # While it was asked, things may have moved.
        if waiting and not faust_app.should_stop and quiet.seen(_look_at(faust_app), clock_s()):
            log.critical(
                "no_progress",
                app=faust_app.conf.id,
                quiet_s=round(quiet_s),
                waiting_records=waiting,
                is_rebalancing=look.is_rebalancing,
                generation=faust_app.consumer_generation_id,
            )
            on_stalled()
            return


def _look_at(faust_app: Any) -> Look:
    consumer = faust_app._consumer  # noqa: SLF001 - no public way that does not make one
    if consumer is None or not faust_app.group_fence.is_fresh():
        return Look(is_heard=False, is_busy=False, is_rebalancing=False, moved=())
    recovery = faust_app.tables.recovery
    return Look(
        is_heard=True,
        is_busy=any(not message.acked for message in list(consumer.unacked)),
        is_rebalancing=not faust_app.is_ready(),
        moved=(
            faust_app.rebalancing_count,
            faust_app.consumer_generation_id,
            tuple(sorted(consumer._committed_offset.items())),  # noqa: SLF001 - no public way
            tuple(sorted(recovery.active_offsets.items())),
        ),
    )


async def _ask(faust_app: Any) -> int:
    """Ask the broker how many records wait for us; 0 when it does not answer."""
    consumer = faust_app._consumer  # noqa: SLF001 - as above
    thread = consumer._thread  # noqa: SLF001 - no public way to aiokafka's consumer
    client = thread._ensure_consumer()  # noqa: SLF001 - as above
    changelogs = faust_app.tables.changelog_topics
    tps = [TopicPartition(*tp) for tp in consumer.assignment() if tp.topic not in changelogs]
    # Not by the thread's own queue: it may be what hangs.
    starts = await _answer(thread.thread_loop, lambda: client.beginning_offsets(tps))
    ends = await _answer(thread.thread_loop, lambda: client.end_offsets(tps))
    if starts is None or ends is None:
        return 0
    return waiting_records(starts, ends, consumer._committed_offset)  # noqa: SLF001 - as above


async def _answer(loop: Any, question: Callable[[], Awaitable[Any]]) -> Any:
    asked = asyncio.run_coroutine_threadsafe(_awaited(question), loop)
    try:
        async with asyncio.timeout(_ANSWER_S):
            return await asyncio.wrap_future(asked)
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing can be said
        log.warning("progress_unknown", error=repr(error))
        return None


async def _awaited(question: Callable[[], Awaitable[Any]]) -> Any:
    return await question()
