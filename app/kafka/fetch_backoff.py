"""Space the fetches of an idle consumer, for brokers that ignore `fetch.max.wait`.

The embedded broker answers an empty fetch at once. A consumer then asks thousands of times a
second and burns most of a core, and the broker another.
"""

import asyncio
import contextlib
import functools
import time
from typing import Any

from aiokafka.consumer.fetcher import Fetcher

from app.kafka import doorbell

# One idle consumer: 91 % of a core without, 10 % at 5 ms, 3 % at 25 ms.
LONGEST_PAUSE_S = 0.025
_SHORTEST_PAUSE_S = 0.001
# The pause is this share of the silence so far: whoever sends after a silence of T waits at most
# T/10 for it, and a busy pipeline no more than the shortest pause.
_SHARE_OF_SILENCE = 0.1

# With a doorbell only records from outside have to wait for the end of a pause, and those of this
# machine's processes are told of: fetching in vain takes the CPU from whoever writes tiles.
LONGEST_PAUSE_WITH_BELL_S = 0.04
_SHORTEST_PAUSE_WITH_BELL_S = 0.02


class Pacing:
    """How long to pause after an empty answer; one per consumer.

    >>> pacing = Pacing(longest_pause_s=0.025)
    >>> pacing.after_empty(now_s=10.0)
    0.001
    >>> round(pacing.after_empty(now_s=10.1), 3)
    0.01
    >>> pacing.after_empty(now_s=20.0)
    0.025
    >>> pacing.after_records(now_s=20.1)
    >>> pacing.after_empty(now_s=20.1)
    0.001
    """

    __slots__ = ("_last_record_s", "longest_pause_s", "shortest_pause_s")

    def __init__(self, longest_pause_s: float, shortest_pause_s: float = _SHORTEST_PAUSE_S) -> None:
        """Start as if a record had just come."""
        self.longest_pause_s = longest_pause_s
        self.shortest_pause_s = shortest_pause_s
        self._last_record_s: float | None = None

    def after_records(self, now_s: float) -> None:
        """A record came: ask again at once."""
        self._last_record_s = now_s

    def after_empty(self, now_s: float) -> float:
        """Nothing came; tell how long to pause, seconds."""
        if self._last_record_s is None:
            self._last_record_s = now_s
        silence_s = now_s - self._last_record_s
        return min(self.longest_pause_s, max(self.shortest_pause_s, silence_s * _SHARE_OF_SILENCE))


class Rest:
    """The pauses of one consumer, and the bell that ends them."""

    def __init__(self, longest_pause_s: float) -> None:
        """Begin in the consumer's loop."""
        self._assignment: Any = None
        self._bell = doorbell.listener(self._is_read_here)
        self.pacing = (
            Pacing(longest_pause_s)
            if self._bell is None
            else Pacing(LONGEST_PAUSE_WITH_BELL_S, _SHORTEST_PAUSE_WITH_BELL_S)
        )

    def before_fetch(self, assignment: Any) -> None:
        """From here on a ring means something that this fetch may not bring."""
        self._assignment = assignment
        if self._bell is not None:
            self._bell.rung.clear()

    async def pause(self, pause_s: float) -> None:
        """Wait for the end of the pause or the bell, whichever comes first."""
        if self._bell is None:
            await asyncio.sleep(pause_s)
            return
        # Not `wait_for`: in Python 3.11 it loses a cancellation that comes with the bell.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._bell.rung.wait()

    def close(self) -> None:
        """Listen no more."""
        if self._bell is not None:
            self._bell.close()

    def _is_read_here(self, topic: str) -> bool:
        assignment = self._assignment
        return assignment is not None and any(
            tp.topic == topic and not assignment.state_value(tp).paused for tp in assignment.tps
        )


_installed = False
_longest_pause_s = LONGEST_PAUSE_S


def install(longest_pause_s: float = LONGEST_PAUSE_S) -> None:
    """Wrap aiokafka's fetcher in this process, for Faust apps and plain consumers alike.

    Args:
        longest_pause_s: Upper end of the pause where no doorbell is installed, seconds: what the
            first record after a silence may wait. A second call changes it for consumers made
            later.
    """
    global _installed, _longest_pause_s  # noqa: PLW0603 - wrapping twice would pause twice
    _longest_pause_s = longest_pause_s
    if _installed:
        return
    _installed = True
    original = Fetcher._proc_fetch_request  # noqa: SLF001 - aiokafka has no hook
    original_close = Fetcher.close

    @functools.wraps(original)
    async def _proc_fetch_request(self: Any, assignment: Any, node_id: int, request: Any) -> bool:
        rest = self.__dict__.get("_rest")
        if rest is None:
            rest = self.__dict__["_rest"] = Rest(_longest_pause_s)
        rest.before_fetch(assignment)
        started_s = time.monotonic()
        has_records = bool(await original(self, assignment, node_id, request))
        now_s = time.monotonic()
        if has_records:
            rest.pacing.after_records(now_s)
            return True
        pause_s = rest.pacing.after_empty(now_s) - (now_s - started_s)
        if pause_s <= 0 or not assignment.active:
            return False  # the broker has waited by itself, or the answer is for nobody
        try:
            await rest.pause(pause_s)
        except asyncio.CancelledError:
            return False  # aiokafka cancels these when the assignment changes, and reads result()
        return False

    @functools.wraps(original_close)
    async def close(self: Any) -> None:
        rest = self.__dict__.pop("_rest", None)
        if rest is not None:
            rest.close()
        await original_close(self)

    Fetcher._proc_fetch_request = _proc_fetch_request  # noqa: SLF001 - aiokafka has no hook
    Fetcher.close = close
