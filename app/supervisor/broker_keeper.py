"""The embedded broker under the supervisor: started, watched, started again, stopped."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from app.domain.errors import ExportServiceError, TemporaryFailure
from app.kafka.broker_folder import LOOK_EVERY_S as SAVING_LOOK_EVERY_S
from app.kafka.broker_folder import BrokerFolder, ask_to_save
from app.kafka.embedded_broker import BrokerUnavailable, EmbeddedBroker
from app.supervisor.child import Backoff, describe_status
from app.supervisor.log_files import rotate_log

LOOK_EVERY_S: Final = 0.1

# Where the kernel cannot end the broker with its parent (macOS), a shell does: its standard input
# is the supervisor's pipe, which ends when the supervisor does.
_GUARD: Final = 'read -r _; kill -TERM "$1" 2>/dev/null'


class StateNotSaved(ExportServiceError):
    """The broker has ended without saving its last state."""


class BrokerKeeper:
    """Keeps one embedded broker running; its address never changes while it does."""

    def __init__(
        self,
        data_dir: Path,
        say: Callable[[str], None],
        *,
        parent_pipe: int,
        backoff: Backoff | None = None,
        guarded: bool = sys.platform != "linux",
        on_restarted: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Plan it; `start` starts it.

        Args:
            data_dir: Folder of the broker's data.
            say: Where to tell the person what happens.
            parent_pipe: Reading end of the supervisor's pipe, for the guard.
            backoff: Pauses between restarts.
            guarded: Start a guard process that ends the broker when the supervisor dies.
            on_restarted: Awaited when a broker that died answers again: it may have forgotten
                what it acknowledged in its last 0.6 s.
        """
        self._on_restarted = on_restarted
        self._broker = EmbeddedBroker(data_dir)
        self._folder = BrokerFolder(data_dir)
        self._say = say
        self._parent_pipe = parent_pipe
        self._backoff = backoff or Backoff()
        self._guarded = guarded
        self._guard: subprocess.Popen[bytes] | None = None
        self._has_answered = False

    @property
    def address(self) -> str:
        """Bootstrap address for clients."""
        return self._broker.address

    @property
    def log_path(self) -> Path:
        """The file that the broker's output goes to."""
        return self._broker.log_file

    @property
    def process_id(self) -> int | None:
        """Of the broker; None while it does not run."""
        return self._broker.pid

    async def start(self) -> None:
        """Start the broker and wait until it answers.

        Raises:
            BrokerUnavailable: No wheel for this platform, or it does not start.
        """
        rotate_log(self._broker.log_file)
        await self._start()

    async def keep_running(self) -> None:
        """Start the broker again whenever it ends; for ever, until cancelled."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        pause_s = None
        while True:
            await self._until_ended()
            pause_s = self._backoff.next_pause_s(pause_s, loop.time() - began)
            status = self._broker.exit_code()
            ended = "does not run" if status is None else describe_status(status)
            self._say(
                f"broker {ended}; starting it again in {pause_s:g} s (see {self._broker.log_file})"
            )
            await asyncio.sleep(pause_s)
            began = loop.time()
            if await self._start_again() and self._on_restarted is not None:
                await self._on_restarted()

    async def watch_saving(self, topic: str) -> None:
        """Look whether the broker can save its state, and say when that changes; for ever.

        A folder that was deleted is made again. What failed is saved only after another change, and
        an ingress that accepts nothing makes none: so the broker is asked to.

        Args:
            topic: Any topic that is there.
        """
        looks_with_problem = 0
        while True:
            await asyncio.sleep(SAVING_LOOK_EVERY_S)
            if not await asyncio.to_thread(self._folder.folder.exists):
                await self._make_folder_again()
            problem = await asyncio.to_thread(self._folder.problem)
            if problem is None:
                if looks_with_problem > 1:
                    self._say("The broker's state is saved again")
                looks_with_problem = 0
                continue
            looks_with_problem += 1
            # At the first look it may be that it was just going to.
            if looks_with_problem == 2:
                self._say(
                    f"{problem} (saved last: {self._folder.saved_at()}). "
                    "Nothing is accepted until it can; do not stop the service before"
                )
            if await asyncio.to_thread(self._folder.hindrance) is None:
                with suppress(TemporaryFailure):
                    await ask_to_save(self.address, topic)

    async def stop(self) -> None:
        """Stop the broker; SIGTERM saves everything.

        Raises:
            StateNotSaved: It could not.
        """
        # One that is stopped before it has answered has nothing new to save, and may not.
        must_save, before = self._has_answered and self._broker.is_running(), self._folder.mark()
        saved_at = self._folder.saved_at()
        await asyncio.to_thread(self._broker.stop)
        self._drop_guard()
        if must_save and not self._folder.is_saved_since(before):
            reason = self._folder.hindrance() or "it did not say why"
            raise StateNotSaved(
                f"the broker's last state could not be saved ({reason}): what was accepted or "
                f"finished since {saved_at} may be lost"
            )

    async def _make_folder_again(self) -> None:
        with suppress(OSError):
            await asyncio.to_thread(self._broker.make_folder_again)
            self._say(f"{self._folder.folder} was deleted while the broker ran; it is made again")

    async def _start(self) -> None:
        # In this thread, the main one: on Linux the broker ends with the thread that started it.
        self._has_answered = False
        self._broker.spawn()
        self._renew_guard()
        await asyncio.to_thread(self._broker.wait_until_ready)
        self._has_answered = True

    async def _start_again(self) -> bool:
        """Start on the port that the children know; a failure is told and tried again later."""
        self._broker.stop()
        self._broker = EmbeddedBroker(self._broker.data_dir, self._broker.port)
        try:
            await self._start()
        except (BrokerUnavailable, OSError) as error:
            self._say(f"broker: {error}")
            # Whatever was begun: what depends on the broker is brought in step at a whole start.
            await asyncio.to_thread(self._broker.stop)
            return False
        return True

    async def _until_ended(self) -> None:
        # A thread that waits would hold the process's lock, which `stop` needs.
        while self._broker.is_running():  # noqa: ASYNC110 -- the broker has no event to wait for
            await asyncio.sleep(LOOK_EVERY_S)

    def _renew_guard(self) -> None:
        self._drop_guard()
        if self._guarded and self._broker.pid is not None:
            self._guard = subprocess.Popen(  # noqa: S603 -- a fixed script and a number
                ["/bin/sh", "-c", _GUARD, "broker-guard", str(self._broker.pid)],
                stdin=self._parent_pipe,
                start_new_session=True,
            )

    def _drop_guard(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()
            self._guard = None
