"""Deals the blows that were planned."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.fault.storm.fleet import Fleet
from tests.fault.storm.plan import FREEZE_S, PROCESSES, Fault, Membership

ASSEMBLY_WAIT_S: Final = 5.0
LOOK_S: Final = 0.002
AFTER_RESTART_S: Final = 3.0
"""Pause of a rolling restart between one process that is back and the next."""

TRACES: Final = ("facts", "whole", "second shard")
"""What is seen of an assembly: the sealed facts, the metadata before its link, a shard to merge."""


@dataclass(frozen=True, slots=True)
class Blow:
    """A fault that happened.

    Attributes:
        kind: As planned, or what it became.
        victim: Name of the process.
        at_s: When, monotonic seconds.
    """

    kind: str
    victim: str
    at_s: float


@dataclass(slots=True)
class Faults:
    """Deals them one after the other.

    Attributes:
        fleet: Whom they hit.
        exports_dir: Where assemblies are seen.
        membership: Decides how long a freeze lasts.
        rng: Decides the moment within an assembly.
        say: Where they are told.
        blows: What happened.
    """

    fleet: Fleet
    exports_dir: Path
    membership: Membership
    rng: random.Random
    say: Callable[[str], None]
    blows: list[Blow] = field(default_factory=list)

    async def deal(self, faults: list[Fault]) -> None:
        """Deal all of them; a frozen process is thawed though this is cancelled."""
        for fault in faults:
            await asyncio.sleep(fault.pause_s)
            match fault.kind:
                case "kill":
                    await self._kill(fault.victim)
                case "kill in assembly":
                    await self._kill_in_assembly()
                case "rolling restart":
                    await self._roll()
                case "freeze":
                    await self._freeze(fault.victim)

    async def _kill(self, name: str, kind: str = "kill") -> None:
        await self.fleet.running(name)
        self.fleet.strike(name, signal.SIGKILL)
        self._note(kind, name)

    async def _kill_in_assembly(self) -> None:
        """Kill the worker that assembles, at a step of it that is to be seen; else any worker."""
        trace = self.rng.choice(TRACES)
        workers = {
            number: name
            for name, number in self.fleet.process_ids().items()
            if name.startswith("worker")
        }
        found = None
        for shown in dict.fromkeys((trace, TRACES[0])):
            trace, until_s = shown, time.monotonic() + ASSEMBLY_WAIT_S
            found = await asyncio.to_thread(
                find_assembler, self.exports_dir, shown, frozenset(workers), until_s
            )
            if found is not None:
                break
        if found is None:
            await self._kill(self.rng.choice([n for n in PROCESSES if n.startswith("worker")]))
        elif self.fleet.strike(workers[found], signal.SIGKILL) is not None:
            self._note(f"kill in assembly ({trace})", workers[found])

    async def _roll(self) -> None:
        for name in PROCESSES:
            self._note("rolling restart", name)
            await self.fleet.restart(name)
            await asyncio.sleep(AFTER_RESTART_S)

    async def _freeze(self, name: str) -> None:
        frozen = await self.fleet.running(name)
        self.fleet.strike(name, signal.SIGSTOP)
        self._note("freeze", name)
        try:
            await asyncio.sleep(FREEZE_S[self.membership])
        finally:
            if self.fleet.children[name].process_id == frozen:
                self.fleet.strike(name, signal.SIGCONT)
                self._note("thaw", name)

    def _note(self, kind: str, victim: str) -> None:
        self.blows.append(Blow(kind, victim, time.monotonic()))
        self.say(f"{kind}: {victim}")


def find_assembler(
    exports_dir: Path, trace: str, workers: frozenset[int], until_s: float
) -> int | None:
    """Look for an assembly and the process at it; blocks, so call it in a thread.

    Args:
        exports_dir: Folder of exports and their attempts.
        trace: Which step to wait for, of TRACES.
        workers: Processes that may be at it.
        until_s: When to give up, monotonic seconds.

    Returns:
        The id of the worker that has a file of the attempt open; None: nobody was seen.
    """
    quiet: set[str] = set()
    while time.monotonic() < until_s:
        for folder in _attempts(exports_dir, quiet):
            names = _names(folder)
            if all(name.endswith((".gpkg", ".json")) for name in names):
                if names:
                    quiet.add(folder)
            elif _shows(names, trace):
                for worker in workers:
                    if _has_open(worker, folder):
                        return worker
        time.sleep(LOOK_S)
    return None


def _attempts(exports_dir: Path, quiet: set[str]) -> list[str]:
    found = []
    for export in _names(str(exports_dir)):
        parent = f"{exports_dir}/{export}"
        attempts = [f"{parent}/{name}" for name in _names(parent)]
        found += [attempt for attempt in attempts if attempt not in quiet]
    return found


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - every 2 ms, names are enough
    except OSError:
        return []


def _shows(names: list[str], trace: str) -> bool:
    if trace == "second shard":
        return sum(name.endswith(".part") for name in names) > 1
    return any(name.endswith(f".{trace}") for name in names)


def _has_open(process_id: int, folder: str) -> bool:
    try:
        numbers = os.listdir(f"/proc/{process_id}/fd")  # noqa: PTH208 - as above
    except OSError:
        return False
    for number in numbers:
        try:
            place = os.readlink(f"/proc/{process_id}/fd/{number}")  # noqa: PTH115 - as above
            if place.startswith(folder):
                return True
        except OSError:
            continue
    return False
