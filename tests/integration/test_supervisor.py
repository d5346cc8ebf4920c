"""The supervisor with a real embedded broker; small scripts stand for the service's processes."""

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from app.settings import Settings
from app.supervisor import log_files
from app.supervisor.broker_keeper import BrokerKeeper, StateNotSaved
from app.supervisor.child import Backoff, Child, ChildPlan, Ties
from app.supervisor.data_folder_lock import AlreadyRunning, hold_data_folder
from app.supervisor.log_files import keep_logs_short, rotate_log, shorten_log
from app.supervisor.stop_signals import StopSignals
from app.supervisor.supervise import Desk, PortTaken, Supervisor, choose_port, plan_children

STAND_IN = """
import http.server, os, pathlib, signal, sys, threading
from app.supervisor.parent_watch import stop_with_supervisor

role = sys.argv[1]
folder = pathlib.Path(os.environ["EXPORT_DATA_DIR"])
name = os.environ["EXPORT_INSTANCE_ID"]
stopped = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopped.set())
stop_with_supervisor()
# At once: who reads it meanwhile never finds it empty.
(folder / f"{name}.draft").write_text(str(os.getpid()))
(folder / f"{name}.draft").rename(folder / f"{name}.pid")
print(name, "began with", os.environ["EXPORT_BROKER"], os.environ["EXPORT_EMBEDDED"])


class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


if role == "ingress":
    address = (os.environ["EXPORT_HOST"], int(os.environ["EXPORT_PORT"]))
    server = http.server.ThreadingHTTPServer(address, Ready)
    threading.Thread(target=server.serve_forever, daemon=True).start()
while not stopped.wait(0.1):
    pass
if (folder / "hang").exists():
    signal.pause()
(folder / f"{name}.stopped").write_text("gracefully")
"""


@dataclass
class Person:
    """Remembers what was shown."""

    lines: list[str] = field(default_factory=list)
    ready_at: list[str] = field(default_factory=list)

    def saw(self, text: str) -> bool:
        return any(text in line for line in self.lines)


@dataclass
class Running:
    supervisor: Supervisor
    person: Person
    stop: StopSignals
    data_dir: Path
    work: asyncio.Task[None]

    def process_id(self, name: str) -> int:
        return int((self.data_dir / f"{name}.pid").read_text())


@pytest.fixture
def stand_in(tmp_path: Path) -> tuple[str, ...]:
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    return (sys.executable, str(script))


@asynccontextmanager
async def supervised(
    data_dir: Path, command: tuple[str, ...], eventually, workers: int = 2
) -> AsyncIterator[Running]:
    person, stop = Person(), StopSignals()
    settings = Settings(data_dir=data_dir, port=choose_port("127.0.0.1", 0), broker=None)
    supervisor = Supervisor(
        settings,
        Desk(person.lines.append, person.ready_at.append),
        worker_count=workers,
        command=command,
    )
    work = asyncio.create_task(supervisor.run(stop))
    try:
        await eventually(lambda: person.ready_at or work.done(), deadline_s=30)
        await eventually(lambda: len(list(data_dir.glob("*.pid"))) == workers + 2)
        yield Running(supervisor, person, stop, data_dir, work)
    finally:
        stop.ask()
        await work


async def test_everything_starts_says_where_and_stops_in_order(tmp_path, stand_in, eventually):
    data_dir = tmp_path / "data"
    async with supervised(data_dir, stand_in, eventually) as running:
        broker = running.supervisor.broker.process_id
        assert running.person.ready_at[0].startswith("http://127.0.0.1:")
    names = ["coordinator-1", "ingress", "worker-1", "worker-2"]
    assert sorted(path.stem for path in data_dir.glob("*.stopped")) == names
    assert not psutil.pid_exists(broker)
    assert "began with 127.0.0.1:" in (data_dir / "run" / "worker-2.log").read_text()


async def test_a_killed_process_is_started_again_under_its_name(tmp_path, stand_in, eventually):
    async with supervised(tmp_path / "data", stand_in, eventually) as running:
        first = running.process_id("worker-1")
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: running.process_id("worker-1") != first)
        assert running.person.saw("worker-1 was ended by SIGKILL")


async def test_a_killed_broker_comes_back_on_the_same_port(tmp_path, stand_in, eventually):
    async with supervised(tmp_path / "data", stand_in, eventually) as running:
        keeper = running.supervisor.broker
        before, address = keeper.process_id, keeper.address
        os.kill(before, signal.SIGKILL)
        await eventually(lambda: keeper.process_id not in (None, before))
        assert keeper.address == address
        assert running.person.saw("broker was ended by SIGKILL")


async def test_a_stop_that_cannot_save_says_so_and_since_when(tmp_path, stand_in, eventually):
    data_dir = tmp_path / "data"
    running = supervised(data_dir, stand_in, eventually)
    started = await running.__aenter__()
    await eventually((data_dir / "broker" / "kafka.json").exists)
    # As on a full disk: what it writes cannot take the place of what was.
    (data_dir / "broker" / "kafka.tmp").mkdir()
    await eventually(lambda: started.person.saw("could not save its last state"))
    with pytest.raises(StateNotSaved, match=r"could not be saved .*: what .* since 20\d\d-"):
        await running.__aexit__(None, None, None)
    assert len(list(data_dir.glob("*.stopped"))) == 4


async def test_a_second_signal_kills_what_does_not_stop(tmp_path, stand_in, eventually):
    async with supervised(tmp_path / "data", stand_in, eventually) as running:
        (running.data_dir / "hang").touch()
        running.stop.ask()
        await eventually(lambda: running.person.saw("Stopping"))
        assert not running.work.done()
        running.stop.ask()
        await asyncio.wait_for(asyncio.shield(running.work), 120)
    assert running.person.saw("worker-1 did not end in time and is killed")
    assert not list(running.data_dir.glob("*.stopped"))


async def test_topics_are_there_at_the_second_start(tmp_path, stand_in, eventually):
    async with supervised(tmp_path / "data", stand_in, eventually) as first:
        pass
    async with supervised(tmp_path / "data", stand_in, eventually) as second:
        pass
    assert first.person.saw("Topics: 16 created")
    assert second.person.saw("Topics: 0 created")


SUPERVISE = """
import asyncio, sys
from pathlib import Path
from app.settings import Settings
from app.supervisor.data_folder_lock import hold_data_folder
from app.supervisor.log_files import keep_logs_short, rotate_log, shorten_log
from app.supervisor.stop_signals import StopSignals
from app.supervisor.supervise import Desk, Supervisor, choose_port

async def main():
    with StopSignals().caught() as stop, hold_data_folder(Path(sys.argv[1]), print) as lock:
        settings = Settings(data_dir=Path(sys.argv[1]), port=choose_port("127.0.0.1", 0))
        desk = Desk(print, lambda url: print("ready", flush=True))
        await Supervisor(
            settings, desk, lock_descriptor=lock, command=(sys.executable, sys.argv[2])
        ).run(stop)

asyncio.run(main())
"""


@pytest.fixture
def started(tmp_path, stand_in):
    command = [sys.executable, "-c", SUPERVISE, str(tmp_path / "data"), stand_in[1]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.fixture
async def supervisor_process(tmp_path, started, eventually):
    data_dir = tmp_path / "data"
    while (line := await asyncio.to_thread(started.stdout.readline)) != "ready\n":
        assert line, "the supervisor ended"
    await eventually(lambda: len(list(data_dir.glob("*.pid"))) == 3)
    return data_dir, started


async def test_children_and_broker_end_when_the_supervisor_is_killed(
    supervisor_process, eventually
):
    data_dir, process = supervisor_process
    everybody = psutil.Process(process.pid).children(recursive=True)
    assert len(everybody) == 4
    process.kill()
    await eventually(lambda: psutil.wait_procs(everybody, timeout=0)[1] == [], deadline_s=15)
    assert len(list(data_dir.glob("*.stopped"))) == 3


def lives(process: psutil.Process) -> bool:
    try:
        # A zombie has ended, only nobody has fetched its status yet.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_the_next_start_waits_for_what_a_killed_one_left(supervisor_process, eventually):
    data_dir, process = supervisor_process
    left = psutil.Process(process.pid).children(recursive=True)
    (data_dir / "hang").touch()  # else they might be gone before the next start looks
    process.kill()
    process.wait()
    said: list[str] = []

    def hold() -> None:
        with hold_data_folder(data_dir, said.append):
            assert not [child for child in left if lives(child)]

    holding = asyncio.create_task(asyncio.to_thread(hold))
    await eventually(lambda: said)
    for child in left:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    await holding
    assert said == ["The last start was killed; waiting for what it left to end ..."]


async def test_sigterm_stops_everything_with_status_0(supervisor_process):
    data_dir, process = supervisor_process
    process.terminate()
    assert await asyncio.to_thread(process.wait, 120) == 0
    assert len(list(data_dir.glob("*.stopped"))) == 3


async def test_without_help_of_the_kernel_a_guard_ends_the_broker(tmp_path, eventually):
    reading, writing = os.pipe()
    keeper = BrokerKeeper(tmp_path / "broker", print, parent_pipe=reading, guarded=True)
    await keeper.start()
    assert keeper.process_id is not None
    os.close(writing)  # what the system does when a supervisor dies
    await eventually(lambda: keeper.process_id is None)
    await keeper.stop()
    os.close(reading)


def test_a_second_supervisor_on_one_data_folder_is_refused(tmp_path):
    with (
        hold_data_folder(tmp_path, print),
        pytest.raises(AlreadyRunning, match=f"process {os.getpid()} already runs"),
        hold_data_folder(tmp_path, print),
    ):
        pass


def test_a_port_in_use_is_named_before_anything_starts(unused_tcp_port_socket):
    port = unused_tcp_port_socket.getsockname()[1]
    with pytest.raises(PortTaken, match=f"port {port} of 127.0.0.1 cannot be used"):
        choose_port("127.0.0.1", port)


@pytest.fixture
def unused_tcp_port_socket():
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening


@dataclass
class Kept:
    """One process that is kept running."""

    child: Child
    said: list[str]


@asynccontextmanager
async def kept(run_dir: Path, script: str) -> AsyncIterator[Kept]:
    said: list[str] = []
    ties = Ties(
        run_dir=run_dir,
        parent_pipe=os.open(os.devnull, os.O_RDONLY),
        kept_open=(),
        say=said.append,
        backoff=Backoff(first_s=0.01, last_s=0.04, healthy_s=10),
    )
    child = Child(ChildPlan("some", (sys.executable, "-c", script), {}), ties)
    keeping = asyncio.create_task(child.keep_running())
    try:
        yield Kept(child, said)
    finally:
        child.stop()
        await keeping
        os.close(ties.parent_pipe)


async def test_a_process_that_never_lives_long_is_started_with_growing_pauses(tmp_path, eventually):
    async with kept(tmp_path, "raise SystemExit(3)") as one:
        await eventually(lambda: len(one.said) >= 4)
    assert "some ended with status 3" in one.said[0]
    pauses = [line.split("again in ")[1].split(" s ")[0] for line in one.said[:4]]
    assert pauses == ["0.01", "0.02", "0.04", "0.04"]


LIVE = "import time; print('lives', flush=True); time.sleep(100)"


async def test_a_process_that_cannot_be_started_is_tried_again(tmp_path, eventually, monkeypatch):
    spawn, left = asyncio.create_subprocess_exec, [OSError(11, "no process left"), OSError(24, "x")]

    async def spawn_or_fail(*command, **options):
        if left:
            raise left.pop(0)
        return await spawn(*command, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", spawn_or_fail)
    async with kept(tmp_path, LIVE) as one:
        await eventually(lambda: one.child.process_id)
    assert "some could not be started ([Errno 11] no process left)" in one.said[0]
    assert len(one.said) == 2


async def test_a_process_is_started_again_though_no_descriptor_is_left(tmp_path, eventually):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with kept(tmp_path, LIVE) as one:
        await eventually(lambda: one.child.process_id)
        first = one.child.process_id
        # The lowest free number is beyond the limit: as if all were in use.
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            os.kill(first, signal.SIGKILL)
            await eventually(lambda: any("could not be started" in line for line in one.said))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await eventually(lambda: one.child.process_id not in (None, first))
    assert not any("runs without a log" in line for line in one.said)


async def test_a_run_folder_that_is_gone_is_made_again(tmp_path, eventually):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    async with kept(run_dir, LIVE) as one:
        log = one.child.log_path
        await eventually(lambda: log.exists() and "lives" in log.read_text())
        shutil.rmtree(run_dir)
        one.child.start_anew()
        await eventually(lambda: log.exists() and "lives" in log.read_text())


async def test_a_process_runs_without_a_log_where_none_can_be_written(tmp_path, eventually):
    (tmp_path / "run").write_text("a file")
    async with kept(tmp_path / "run", LIVE) as one:
        await eventually(lambda: one.child.process_id)
    assert "some runs without a log" in one.said[0]


async def test_the_log_of_a_living_process_is_kept_short(tmp_path, eventually, monkeypatch):
    monkeypatch.setattr(log_files, "LOOK_EVERY_S", 0.02)
    shorten = shorten_log
    monkeypatch.setattr(log_files, "shorten_log", lambda path: shorten(path, 10_000))
    chatter = (
        "import time\n"
        "for n in range(10**9):\n"
        "    print(f'line {n:08}', flush=True)\n"
        "    time.sleep(0 if n % 100 else 0.01)"
    )
    async with kept(tmp_path, chatter) as one:
        log = one.child.log_path
        keeping = asyncio.create_task(keep_logs_short(lambda: [log, tmp_path / "none.log"]))
        await eventually(log.with_name("some.log.5").exists)
        keeping.cancel()
    # Written to from its beginning again, without a hole.
    assert log.read_bytes()[:1] != b"\0"
    assert 5_000 < log.with_name("some.log.1").stat().st_size <= 10_000
    assert not log.with_name("some.log.6").exists()


def test_of_a_log_that_is_far_too_long_the_end_is_kept(tmp_path):
    log = tmp_path / "worker-1.log"
    log.write_bytes(b"begin" + bytes(3_000_000) + b"end")
    shorten_log(log, 2_000_000)
    aside = log.with_name("worker-1.log.1").read_bytes()
    assert log.read_bytes() == b""
    assert len(aside) == 2_000_000
    assert aside.endswith(b"end")
    shorten_log(log, 2_000_000)
    assert not log.with_name("worker-1.log.2").exists()


def test_logs_of_five_starts_are_kept(tmp_path):
    log = tmp_path / "worker-1.log"
    for start in range(8):
        rotate_log(log)
        log.write_text(f"start {start}")
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {
        "worker-1.log": "start 7",
        **{f"worker-1.log.{number}": f"start {7 - number}" for number in range(1, 6)},
    }


def test_names_on_a_shared_broker_begin_with_the_machine():
    settings = Settings(broker="kafka:9092", instance_id="blue")
    plans = plan_children(settings, "kafka:9092", 2)
    assert [plan.environment["EXPORT_INSTANCE_ID"] for plan in plans] == [
        "blue-ingress",
        "blue-coordinator-1",
        "blue-worker-1",
        "blue-worker-2",
    ]
    assert {plan.environment["EXPORT_EMBEDDED"] for plan in plans} == {"false"}
