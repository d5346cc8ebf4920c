"""One child process: started, logged to a file, started again with backoff, and stopped."""

import asyncio
import os
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from app.supervisor.log_files import rotate_log


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a process that ended is started again.

    Attributes:
        first_s: The first pause; each next one is twice as long.
        last_s: No pause is longer.
        healthy_s: A process that lived this long starts again at the first pause.
    """

    first_s: float = 1.0
    last_s: float = 30.0
    healthy_s: float = 10.0

    def next_pause_s(self, pause_s: float | None, lived_s: float) -> float:
        """The pause after a life, given the pause before it (None: there was none).

        >>> Backoff().next_pause_s(None, 0.2), Backoff().next_pause_s(20.0, 0.2)
        (1.0, 30.0)
        >>> Backoff().next_pause_s(20.0, 11.0)
        1.0
        """
        if pause_s is None or lived_s >= self.healthy_s:
            return self.first_s
        return min(2 * pause_s, self.last_s)


@dataclass(frozen=True, slots=True)
class ChildPlan:
    """What to start.

    Attributes:
        name: Stable name: instance id, log file and messages use it.
        command: Program and arguments.
        environment: Variables besides those of the supervisor.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ties:
    """What all children of one supervisor have in common.

    Attributes:
        run_dir: Folder of the logs.
        parent_pipe: Reading end of the supervisor's pipe, the children's standard input.
        kept_open: Descriptors that the children inherit: the lock of the data folder.
        say: Where to tell the person what happens.
        backoff: Pauses between restarts.
    """

    run_dir: Path
    parent_pipe: int
    kept_open: tuple[int, ...]
    say: Callable[[str], None]
    backoff: Backoff = Backoff()


class Child:
    """A process that is kept running until it is asked to stop."""

    def __init__(self, plan: ChildPlan, ties: Ties) -> None:
        """Plan it; `keep_running` starts it."""
        self.plan = plan
        self.restarts = 0
        self._ties = ties
        self._stopping = asyncio.Event()
        self._process: Process | None = None

    @property
    def log_path(self) -> Path:
        """The file that the process's output goes to."""
        return self._ties.run_dir / f"{self.plan.name}.log"

    @property
    def process_id(self) -> int | None:
        """Of the running process; None between two lives."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def keep_running(self) -> None:
        """Start the process whenever it ends, with growing pauses; return once it is stopped.

        A machine that has no process, memory or descriptor left for it has some later.
        """
        with suppress(OSError):
            rotate_log(self.log_path)
        pause_s = None
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                ended = describe_status(await self._live_once())
            except (OSError, RuntimeError) as error:  # RuntimeError: asyncio got no thread
                ended = f"could not be started ({error})"
            if self._stopping.is_set():
                return
            lived_s = time.monotonic() - began
            pause_s = self._ties.backoff.next_pause_s(pause_s, lived_s)
            self._ties.say(
                f"{self.plan.name} {ended} after {lived_s:.0f} s; "
                f"starting it again in {pause_s:g} s (see {self.log_path})"
            )
            self.restarts += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send the process a signal and do not start it again."""
        self._stopping.set()
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def start_anew(self) -> None:
        """End the process at once; it is started again like one that died."""
        if self.process_id is not None and self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _live_once(self) -> int:
        # A session of its own: Ctrl-C reaches the supervisor only, which then stops all in order.
        with self._open_log() as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.plan.command,
                stdin=self._ties.parent_pipe,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.plan.environment},
                pass_fds=self._ties.kept_open,
                start_new_session=True,
            )
        if self._stopping.is_set():
            self.stop()
        return await self._process.wait()

    def _open_log(self) -> BinaryIO:
        """Open the log to append, in a folder that is made again; without one it runs all the same.

        Raises:
            OSError: There is not even a descriptor for the null device.
        """
        try:
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            return self.log_path.open("ab")
        except OSError as error:
            nowhere = Path(os.devnull).open("ab")  # noqa: SIM115 -- the caller closes it
            self._ties.say(f"{self.plan.name} runs without a log: {error}")
            return nowhere


def describe_status(status: int) -> str:
    """Say how a process ended.

    >>> describe_status(-9), describe_status(3)
    ('was ended by SIGKILL', 'ended with status 3')
    """
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
