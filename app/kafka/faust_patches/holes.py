"""Records that Faust was about to skip: counted, because in a sound system there are none."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Hole:
    """One place where records would have been lost without the safety net.

    Attributes:
        tp: Topic and partition.
        expected: Offset that should have come next.
        got: Offset that came, or that was about to be thrown away.
        reason: `flow` (fetched while a rebalance stopped the flow), `inactive` (fetched for a
            partition that was paused), `early` (fetched before the seek after a rebalance had
            ended), `jump` (offsets missing), `cut` (the log became shorter).
    """

    tp: Any
    expected: int
    got: int
    reason: str


@dataclass(slots=True)
class HoleCounter:
    """How many holes were caught, by reason, and the last hundred of them.

    What to turn when it grows: `flow`, `inactive` and `early` a few per rebalance are harmless;
    `jump` means a topic that is compacted or written in transactions; `cut` a broker that lost
    data.
    """

    by_reason: Counter[str] = field(default_factory=Counter)
    last: deque[Hole] = field(default_factory=lambda: deque(maxlen=100))

    def add(self, hole: Hole) -> None:
        """Count one."""
        self.by_reason[hole.reason] += 1
        self.last.append(hole)


HOLES = HoleCounter()
