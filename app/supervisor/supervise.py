"""Everything on one machine: embedded broker, topics, then the processes, until asked to stop.

Order of the start: broker, topics, ingress, coordinator, workers. Order of the stop: SIGTERM to
all processes at once, SIGKILL to what is left after the grace, the broker last, because the
others still commit to it.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from app.domain.errors import ExportServiceError
from app.kafka.free_port import free_port
from app.kafka.topic_admin import TopicsUnavailable, create_topics
from app.kafka.topics import DEAD_LETTERS, Topics
from app.settings import Settings
from app.supervisor.broker_keeper import BrokerKeeper
from app.supervisor.child import Child, ChildPlan, Ties
from app.supervisor.log_files import keep_logs_short
from app.supervisor.parent_watch import SUPERVISED
from app.supervisor.stop_signals import StopSignals

# -P: a folder `app` where the person happens to stand must not be taken for ours.
SERVICE_COMMAND: Final = (sys.executable, "-P", "-m", "app")

GRACE_S: Final = 45.0
"""Assemblies drain for 15 s, the longest handler lasts 20 s; 10 s are for broker and disk."""

BROKER: Final = "broker"
"""Name of the tasks that the broker needs until everything else has ended."""

READY_LOOK_EVERY_S: Final = 0.2
READY_LOOK_TIMEOUT_S: Final = 5.0
READY_HINT_EVERY_S: Final = 20.0

ANY_ADDRESS: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 -- read


class PortTaken(ExportServiceError):
    """Another program listens on the ingress's port."""


@dataclass(frozen=True, slots=True)
class Desk:
    """The person's side of a start.

    Attributes:
        say: Shows one line.
        on_ready: Called once with the address when the service answers.
    """

    say: Callable[[str], None]
    on_ready: Callable[[str], None]


class Supervisor:
    """The processes of one machine."""

    def __init__(
        self,
        settings: Settings,
        desk: Desk,
        *,
        worker_count: int = 1,
        lock_descriptor: int | None = None,
        command: tuple[str, ...] = SERVICE_COMMAND,
    ) -> None:
        """Plan everything; `run` starts it.

        Args:
            settings: `broker` None means the embedded one; `port` must not be 0.
            desk: Whom to tell.
            worker_count: Worker processes.
            lock_descriptor: The lock of the data folder, which the processes inherit.
            command: What runs the service; the process's name is appended.
        """
        self._settings = settings
        self._desk = desk
        self._worker_count = worker_count
        self._command = command
        self._parent_pipe, self._pipe_end = os.pipe()
        self._ties = Ties(
            run_dir=settings.data_dir / "run",
            parent_pipe=self._parent_pipe,
            kept_open=() if lock_descriptor is None else (lock_descriptor,),
            say=desk.say,
        )
        self.broker: BrokerKeeper | None = None
        self.children: list[Child] = []
        self._kept: list[asyncio.Task[None]] = []

    async def run(self, stop: StopSignals) -> None:
        """Start everything and keep it running until asked to stop.

        Raises:
            BrokerUnavailable: The embedded broker cannot run here.
            TopicsUnavailable: The broker does not answer or refuses a topic.
            StateNotSaved: The embedded broker could not save its last state when it was stopped.
        """
        serving = asyncio.create_task(self._serve())
        asked = asyncio.create_task(stop.asked.wait())
        try:
            await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        finally:
            for task in (serving, asked):
                task.cancel()
            await asyncio.gather(serving, asked, return_exceptions=True)
            await self._stop_everything(stop)

    async def _serve(self) -> None:
        self._ties.run_dir.mkdir(parents=True, exist_ok=True)
        broker = await self._start_broker()
        await self._prepare_topics(broker)
        if self.broker is not None:
            letters = Topics(self._settings.topic_prefix).name(DEAD_LETTERS)
            watching = self.broker.watch_saving(letters)
            self._kept.append(asyncio.create_task(watching, name=BROKER))
        for plan in plan_children(self._settings, broker, self._worker_count, self._command):
            child = Child(plan, self._ties)
            self.children.append(child)
            self._kept.append(asyncio.create_task(child.keep_running(), name=plan.name))
        aside = {
            asyncio.create_task(self._announce(), name="announcement"),
            asyncio.create_task(keep_logs_short(self._logs), name="logs"),
        }
        try:
            # asyncio.wait and not gather: to cancel this must not cancel those who keep processes.
            ended, _ = await asyncio.wait(
                {*aside, *self._kept}, return_when=asyncio.FIRST_EXCEPTION
            )
        finally:
            for task in aside:
                task.cancel()
        for task in ended:
            task.result()

    def _logs(self) -> list[Path]:
        own = [child.log_path for child in self.children]
        return own if self.broker is None else [*own, self.broker.log_path]

    async def _start_broker(self) -> str:
        if self._settings.broker is not None:
            return self._settings.broker
        keeper = BrokerKeeper(
            self._settings.data_dir / "broker",
            self._desk.say,
            parent_pipe=self._parent_pipe,
            on_restarted=self._after_broker_restart,
        )
        self.broker = keeper
        await keeper.start()
        self._kept.append(asyncio.create_task(keeper.keep_running(), name=BROKER))
        self._desk.say(f"Embedded broker at {keeper.address}")
        return keeper.address

    async def _after_broker_restart(self) -> None:
        """Bring everything in step with a broker that may have lost its last records.

        Topics that were made just before are made again. A coordinator's rows may be ahead of
        their changelogs, so that it would confirm results that no topic holds: it starts anew.
        """
        try:
            await self._prepare_topics(self._broker_address())
        except TopicsUnavailable as error:
            self._desk.say(f"Topics: {error}")
        for child in self.children:
            if child.plan.command[-1] == "coordinator":
                child.start_anew()

    def _broker_address(self) -> str:
        assert self.broker is not None, "only an embedded broker is restarted here"
        return self.broker.address

    async def _prepare_topics(self, broker: str) -> None:
        topics = Topics(self._settings.topic_prefix)
        report = await create_topics(
            broker, topics, replication_factor=self._settings.replication_factor
        )
        self._desk.say(f"Topics: {len(report.created)} created, {len(list(topics))} in all")
        for difference in report.differences:
            self._desk.say(f"  differs: {difference}")

    async def _announce(self) -> None:
        """Wait until the ingress is ready and say so; remind of the logs while it is not."""
        url = local_url(self._settings)
        loop = asyncio.get_running_loop()
        hint_at = loop.time() + READY_HINT_EVERY_S
        while (answer := await _readiness(url)) != "ready":
            if loop.time() > hint_at:
                hint_at = loop.time() + READY_HINT_EVERY_S
                self._desk.say(f"Not ready yet: {answer} (logs in {self._ties.run_dir})")
            await asyncio.sleep(READY_LOOK_EVERY_S)
        self._desk.on_ready(self._settings.base_url)

    async def _stop_everything(self, stop: StopSignals) -> None:
        keeping_broker = [task for task in self._kept if task.get_name() == BROKER]
        running = {task for task in self._kept if task.get_name() != BROKER and not task.done()}
        for child in self.children:
            child.stop()
        if running:
            self._desk.say("Stopping; a second Ctrl-C stops at once ...")
            await _wait_at_most(running, GRACE_S, stop.at_once)
        for child in self.children:
            if child.process_id is not None:
                self._desk.say(f"{child.plan.name} did not end in time and is killed")
                child.stop(signal.SIGKILL)
        for task in keeping_broker:
            task.cancel()
        await asyncio.gather(*self._kept, return_exceptions=True)
        try:
            if self.broker is not None:
                await self.broker.stop()
        finally:
            for end in (self._parent_pipe, self._pipe_end):
                os.close(end)


def plan_children(
    settings: Settings, broker: str, worker_count: int, command: tuple[str, ...] = SERVICE_COMMAND
) -> tuple[ChildPlan, ...]:
    """Say which processes a machine runs, each with its stable name.

    On the embedded broker names are unique by themselves; on a shared one they begin with the
    machine's name, or with EXPORT_INSTANCE_ID where that is set.
    """
    prefix = settings.instance_id or ("" if settings.broker is None else socket.gethostname())
    roles = [("ingress", "ingress"), ("coordinator", "coordinator-1")]
    roles += [("worker", f"worker-{number}") for number in range(1, worker_count + 1)]
    return tuple(
        ChildPlan(
            name=name,
            command=(*command, role),
            environment=_environment(settings, broker, f"{prefix}-{name}" if prefix else name),
        )
        for role, name in roles
    )


def _environment(settings: Settings, broker: str, instance_id: str) -> Mapping[str, str]:
    embedded = settings.embedded or settings.broker is None
    return {
        "EXPORT_BROKER": broker,
        "EXPORT_EMBEDDED": str(embedded).lower(),
        "EXPORT_DATA_DIR": str(settings.data_dir.absolute()),
        "EXPORT_HOST": settings.host,
        "EXPORT_PORT": str(settings.port),
        "EXPORT_INSTANCE_ID": instance_id,
        SUPERVISED: "1",
        "PYTHONUNBUFFERED": "1",
    }


def choose_port(host: str, port: int) -> int:
    """Check that the ingress will be able to listen; 0 chooses a free port.

    Raises:
        PortTaken: Another program listens there, or it is not ours to use.
    """
    if port == 0:
        with suppress(OSError):  # an address that is not ours: the bind below says so
            port = free_port(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTaken(
                f"port {port} of {host} cannot be used ({error.strerror}); "
                f"stop what uses it, or choose another one, e.g. --port {port % 65535 + 1}"
            ) from error
        return int(probe.getsockname()[1])


def local_url(settings: Settings) -> str:
    """The address at which this machine reaches its own ingress.

    >>> local_url(Settings(host="0.0.0.0", port=8081))
    'http://127.0.0.1:8081'
    """
    host = ANY_ADDRESS.get(settings.host, settings.host)
    return f"http://{host}:{settings.port}"


async def _readiness(url: str) -> str:
    """Ask the ingress once; `ready`, or what it says instead."""
    timeout = aiohttp.ClientTimeout(total=READY_LOOK_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{url}/readyz") as answer,
        ):
            if answer.ok:
                return "ready"
            return f"/readyz answers {answer.status} {(await answer.text())[:200]}"
    except (aiohttp.ClientError, TimeoutError) as error:
        return f"no answer at {url} ({type(error).__name__})"


async def _wait_at_most(
    tasks: set[asyncio.Task[None]], limit_s: float, hurry: asyncio.Event
) -> None:
    """Wait until all tasks have ended, the limit is over, or somebody is in a hurry."""
    hurried = asyncio.create_task(hurry.wait())
    ended = asyncio.create_task(asyncio.wait(tasks))
    await asyncio.wait({hurried, ended}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
    for task in (hurried, ended):
        task.cancel()
    await asyncio.gather(hurried, ended, return_exceptions=True)
