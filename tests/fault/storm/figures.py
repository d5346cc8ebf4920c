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


def recoveries(blows: Sequence[Blow], arrived_s: Mapping[str, float]) -> list[tuple[float, Blow]]:
    """For each blow the time until the next result came, seconds; longest first."""
    times = sorted(arrived_s.values())
    found = []
    for blow in blows:
        after = bisect.bisect_right(times, blow.at_s)
        if after < len(times):
            found.append((times[after] - blow.at_s, blow))
    return sorted(found, key=lambda pair: pair[0], reverse=True)


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
