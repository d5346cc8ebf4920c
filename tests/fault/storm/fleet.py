"""The processes of the service, each on its own, so that each can be killed on its own."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import psutil

from app.settings import Settings
from app.supervisor.child import Child, ChildPlan, Ties
from app.supervisor.supervise import SERVICE_COMMAND, local_url, plan_children
from tests.fault.storm.plan import PROCESSES, Membership

READY_S: Final = 300.0
STOP_S: Final = 150.0
LOOK_S: Final = 0.05
READY_EVENTS: Final = (b'"event": "started"', b'"event": "ingress_listening"')


@dataclass(frozen=True, slots=True)
class Ending:
    """How one life of a process ended.

    Attributes:
        name: Of the process.
        status: Exit status; minus the signal's number when a signal ended it.
        at_s: When, monotonic seconds.
        by_us: A signal of ours was the reason.
    """

    name: str
    status: int
    at_s: float
    by_us: bool


class _Life(Child):
    """A child that tells how each of its lives ended."""

    def __init__(self, plan: ChildPlan, ties: Ties, on_end: Callable[[str, int], None]) -> None:
        super().__init__(plan, ties)
        self._on_end = on_end

    async def _live_once(self) -> int:
        status = await super()._live_once()
        self._on_end(self.plan.name, status)
        return status


class Fleet:
    """One ingress, two coordinators, two workers; started again when they end, as in production."""

    def __init__(
        self, settings: Settings, broker: str, membership: Membership, say: Callable[[str], None]
    ) -> None:
        """Plan them; `start` starts them.

        Args:
            settings: Port and data folder are chosen.
            broker: Bootstrap address.
            membership: static gives each process an instance id, dynamic gives none any.
            say: Where restarts are told.
        """
        self.url = local_url(settings)
        self.endings: list[Ending] = []
        self._parent_pipe, self._pipe_end = os.pipe()
        ties = Ties(settings.data_dir / "run", self._parent_pipe, (), say)
        ties.run_dir.mkdir(parents=True, exist_ok=True)
        shared = plan_children(settings, broker, worker_count=1)[0].environment
        self.children = {
            name: _Life(_planned(name, shared, membership), ties, self._ended) for name in PROCESSES
        }
        self._keeping: list[asyncio.Task[None]] = []
        self._struck: set[str] = set()
        self._is_stopped = False

    @property
    def run_dir(self) -> Path:
        """Where the logs are."""
        return next(iter(self.children.values())).log_path.parent

    def process_ids(self) -> dict[str, int]:
        """The processes that run now."""
        return {
            name: child.process_id
            for name, child in self.children.items()
            if child.process_id is not None
        }

    async def start(self) -> None:
        """Start all, and wait until the service answers.

        Raises:
            TimeoutError: It is not ready in time.
        """
        self._keeping = [
            asyncio.create_task(child.keep_running(), name=name)
            for name, child in self.children.items()
        ]
        async with asyncio.timeout(READY_S), aiohttp.ClientSession() as session:
            while not await _is_ready(session, self.url):  # noqa: ASYNC110 - another process
                await asyncio.sleep(LOOK_S)

    def strike(self, name: str, number: signal.Signals) -> int | None:
        """Send a process a signal; returns its id, None when it does not run."""
        process_id = self.children[name].process_id
        if process_id is None:
            return None
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._struck.add(name)
        os.kill(process_id, number)
        return process_id

    async def running(self, name: str, *, other_than: int | None = None) -> int:
        """Wait until a process runs; returns its id.

        Raises:
            TimeoutError: It does not start in time.
        """
        async with asyncio.timeout(STOP_S):
            while (found := self.children[name].process_id) in (None, other_than):  # noqa: ASYNC110 - a Child has none
                await asyncio.sleep(LOOK_S)
        assert found is not None
        return found

    async def restart(self, name: str) -> None:
        """End a process by SIGTERM, and wait until the next one says that it takes part.

        Raises:
            TimeoutError: It does not end, or does not come back, in time.
        """
        log = self.children[name].log_path
        known_bytes = log.stat().st_size
        async with asyncio.timeout(READY_S):
            old = await self.running(name)
            self.strike(name, signal.SIGTERM)
            await self.running(name, other_than=old)
            while not _says_ready(log, known_bytes):  # noqa: ASYNC110 - another process
                await asyncio.sleep(LOOK_S)

    async def stop(self) -> list[str]:
        """Stop all, once; returns the names of those that had to be killed."""
        if self._is_stopped:
            return []
        self._is_stopped = True
        for child in self.children.values():
            if child.process_id is not None:
                self._struck.add(child.plan.name)
            child.stop()
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=STOP_S)
        stubborn = list(self.process_ids())
        for name in stubborn:
            self.children[name].stop(signal.SIGKILL)
        await asyncio.gather(*self._keeping, return_exceptions=True)
        os.close(self._pipe_end)
        os.close(self._parent_pipe)
        return stubborn

    def _ended(self, name: str, status: int) -> None:
        by_us = name in self._struck
        self._struck.discard(name)
        self.endings.append(Ending(name, status, time.monotonic(), by_us))


def _says_ready(log: Path, known_bytes: int) -> bool:
    with log.open("rb") as file:
        file.seek(min(known_bytes, log.stat().st_size))
        told = file.read()
    return any(event in told for event in READY_EVENTS)


def still_running(data_dir: Path) -> list[str]:
    """The processes of the service that belong to a data folder and live."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("EXPORT_DATA_DIR") == str(data_dir):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def _planned(name: str, shared: Mapping[str, str], membership: Membership) -> ChildPlan:
    environment = dict(shared)
    del environment["EXPORT_INSTANCE_ID"]
    if membership == "static":
        environment["EXPORT_INSTANCE_ID"] = name
    else:
        environment["EXPORT_RUN_NAME"] = name
    return ChildPlan(name, (*SERVICE_COMMAND, name.split("-", maxsplit=1)[0]), environment)


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/readyz") as answer:
            return answer.ok
    except aiohttp.ClientError:
        return False
