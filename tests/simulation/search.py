"""Run seeds, and make a failing one small."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from tests.simulation.coordinator import Shell
from tests.simulation.schedule import NO_LIMITS, Schedule
from tests.simulation.violation import Violation
from tests.simulation.work_model import WorkModel
from tests.simulation.world import World

RUNS_TO_SHRINK = 300
"""Shrinking stops after so many runs: a smaller schedule is a courtesy."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A schedule that broke a promise.

    Attributes:
        schedule: What to play again.
        message: Which promise.
    """

    schedule: Schedule
    message: str


@dataclass(frozen=True, slots=True)
class Stage:
    """What plays a schedule: the real order of things, or a broken one.

    Attributes:
        shell: The agent loop.
        work: The workers.
    """

    shell: Callable[[], Shell] = Shell
    work: Callable[[], WorkModel] = WorkModel

    def play(self, schedule: Schedule, trace: list[str] | None = None) -> Failure | None:
        """Play one schedule; returns what it broke, None: nothing."""
        try:
            World(schedule, trace=trace, shell=self.shell(), work=self.work()).run()
        except Violation as violation:
            return Failure(schedule, str(violation))
        return None

    def first_failure(self, seeds: Iterable[int], *, tail_loss: bool = False) -> Failure | None:
        """Play seeds until one fails."""
        for seed in seeds:
            failure = self.play(Schedule.of_seed(seed, tail_loss=tail_loss))
            if failure is not None:
                return failure
        return None

    def shrunk(self, failure: Failure) -> Failure:
        """Drop faults and requests one by one as long as some promise is still broken."""
        runs = 0
        smaller = True
        while smaller and runs < RUNS_TO_SHRINK:
            smaller = False
            for candidate in _smaller(failure.schedule):
                runs += 1
                found = self.play(candidate)
                if found is not None:
                    failure, smaller = found, True
                    break
        return failure


def _smaller(schedule: Schedule) -> Iterable[Schedule]:
    for index in range(len(schedule.faults)):
        yield replace(schedule, faults=_without(schedule.faults, index))
    for index in range(len(schedule.orders)):
        yield replace(schedule, orders=_without(schedule.orders, index))
    if schedule.limits != NO_LIMITS:
        yield replace(schedule, limits=NO_LIMITS)
    if len(schedule.askings) > 1:
        for index in range(len(schedule.askings)):
            yield replace(schedule, askings=_without(schedule.askings, index))


def _without(values: tuple[Any, ...], index: int) -> tuple[Any, ...]:
    return values[:index] + values[index + 1 :]


def told(schedule: Schedule) -> str:
    """A schedule, a line each."""
    lines = [
        f"seed {schedule.seed}, lease {schedule.lease_ms} ms, assembly {schedule.assembly_ms} ms",
        f"  {schedule.max_running} exports at once, disk of {schedule.capacity_bytes} bytes",
    ]
    if schedule.limits != NO_LIMITS:
        lines.append(f"  {schedule.limits}")
    lines += (f"  {asking}" for asking in schedule.askings)
    lines += (f"  {ordering}" for ordering in schedule.orders)
    lines += (f"  {fault}" for fault in schedule.faults)
    return "\n".join(lines)
