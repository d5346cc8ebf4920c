"""What is measured while a storm rages: memory, log events, and how quickly results came."""

import asyncio
import bisect
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from tests.fault.storm.faults import Blow
from tests.fault.storm.fleet import Fleet
from tests.fault.storm.load import Asked

SAMPLE_S: Final = 1.0
LOUD: Final = ("warning", "error", "critical")
EVENT_CHARS: Final = 70


@dataclass(slots=True)
class Memory:
    """The most memory that a process of each kind took, bytes (RSS)."""

    fleet: Fleet
    most: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    async def watch(self) -> None:
        """Sample until cancelled."""
        while True:
            for name, process_id in self.fleet.process_ids().items():
                try:
                    rss = psutil.Process(process_id).memory_info().rss
                except psutil.Error:
                    continue
                kind = name.split("-")[0]
                self.most[kind] = max(self.most[kind], rss)
            await asyncio.sleep(SAMPLE_S)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a blow cost.

    Attributes:
        blow: The fault.
        next_s: Time until the next result came, seconds.
        all_s: Time until every request that was open at the blow had its result, seconds.
    """

    blow: Blow
    next_s: float
    all_s: float


def recoveries(
    blows: Sequence[Blow], asked: Sequence[Asked], arrived_s: Mapping[str, float]
) -> list[Recovery]:
    """What each blow cost; those that held requests up longest come first."""
    times = sorted(arrived_s.values())
    spans = [
        (one.asked_s, arrived_s[one.request_id])
        for one in asked
        if one.fate == "accepted" and one.request_id in arrived_s
    ]
    found = []
    for blow in blows:
        after = bisect.bisect_right(times, blow.at_s)
        next_s = times[after] - blow.at_s if after < len(times) else 0.0
        ends = [end_s for asked_s, end_s in spans if asked_s < blow.at_s < end_s]
        found.append(Recovery(blow, next_s, max(ends, default=blow.at_s) - blow.at_s))
    return sorted(found, key=lambda recovery: recovery.all_s, reverse=True)


def share(sorted_values: Sequence[float], percent: int) -> float:
    """A percentile; 0 of nothing.

    >>> share([1.0, 2.0, 3.0, 4.0], 50), share([], 95)
    (3.0, 0.0)
    """
    if not sorted_values:
        return 0.0
    return sorted_values[min(len(sorted_values) - 1, len(sorted_values) * percent // 100)]


def loud_events(run_dir: Path) -> Counter[str]:
    """Log lines from warnings on, by process kind and event, and tracebacks without a logger."""
    counts: Counter[str] = Counter()
    for path in run_dir.glob("*.log*"):
        kind = path.name.split(".")[0].split("-")[0]
        for entry in _entries(path):
            if entry is None:
                counts[f"{kind}: a traceback on stderr"] += 1
            elif entry.get("level") in LOUD:
                counts[f"{kind}: {str(entry.get('event'))[:EVENT_CHARS]}"] += 1
    return counts


def _entries(path: Path) -> Iterator[dict[str, Any] | None]:
    with path.open(errors="replace") as file:
        for line in file:
            if line.startswith("{"):
                try:
                    yield json.loads(line)
                except ValueError:
                    continue  # cut short by a kill
            elif line.startswith("Traceback"):
                yield None
