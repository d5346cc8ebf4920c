"""The broker of one machine: noida-db from its PyPI wheel, as a child process on loopback.

It speaks Kafka, keeps its data in a folder and saves it about every half second: SIGTERM loses
nothing, kill -9 of the broker may lose the last 0.6 s. Where it cannot save it goes on and says
nothing: see broker_folder.py. Production names a real Kafka in EXPORT_BROKER instead.
"""

import contextlib
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from importlib import util
from pathlib import Path
from types import TracebackType
from typing import Self

from app.kafka.broker_folder import STATE_FILE, UNFINISHED_FILE
from app.kafka.free_port import free_port, is_free

LOOPBACK = "127.0.0.1"

# Between two looks at a broker that is starting; it is up in about 20 ms.
_POLL_S = 0.02

SAVED_BYTES_PER_S = 20_000_000
"""What a busy machine saves at least: the broker puts its whole state together, then writes it."""
# What the broker prints about a kafka.json that it cannot read, before the reason.
_UNREADABLE_STATE = "failed to parse kafka snapshot:"
_LAST_WORDS_BYTES = 4096
# Metadata request, version 1, of no topic at all (an empty list), client id null; Kafka
# protocol guide: api key 3, version, correlation id, client id, count of topics.
_METADATA_REQUEST = struct.pack(">hhihi", 3, 1, 7, -1, 0)

# Started in between: asks the kernel to end the broker when the thread that started it ends,
# looks whether that has happened already, and becomes the broker. A `preexec_fn` would do the
# same inside a fork of a process with threads, which may deadlock.
_LAUNCHER = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class BrokerUnavailable(RuntimeError):
    """The embedded broker cannot be started here, and what to do about it."""


def broker_binary() -> Path:
    """Find the broker's binary in the installed wheel.

    Raises:
        BrokerUnavailable: There is no wheel for this platform, or it has no binary.
    """
    found = util.find_spec("noida_db")
    folders = [Path(folder) for folder in (found.submodule_search_locations or ())] if found else []
    for folder in folders:
        if (binary := folder / "noida-db").is_file():
            return binary
    raise BrokerUnavailable(
        f"no embedded broker for {sys.platform} on {os.uname().machine} (package noida-db): "
        "start a Kafka yourself and name it in EXPORT_BROKER, e.g. EXPORT_BROKER=localhost:9092"
    )


def answers_kafka(port: int, *, host: str = LOOPBACK, timeout_s: float = 1.0) -> bool:
    """Ask for metadata, as every Kafka client does first; an open port alone says nothing."""
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(struct.pack(">i", len(_METADATA_REQUEST)) + _METADATA_REQUEST)
            answer = connection.recv(8, socket.MSG_WAITALL)
    except OSError:
        return False
    # Length of the answer, then the correlation id that was sent.
    return len(answer) == 8 and struct.unpack(">ii", answer)[1] == 7


def running_broker(folder: Path) -> str:
    """Find the embedded broker that runs on a folder; gives its address.

    Raises:
        BrokerUnavailable: None runs there, and how to name one.
    """
    with contextlib.suppress(OSError, ValueError):
        port = int((folder / "port").read_text(encoding="ascii"))
        if 0 < port < 65536 and answers_kafka(port):
            return f"{LOOPBACK}:{port}"
    raise BrokerUnavailable(
        f"no embedded broker runs in {folder}: name the data folder of a running "
        "`export-service up` (--data-dir), or a broker (--broker HOST:PORT, or EXPORT_BROKER)"
    )


class EmbeddedBroker:
    """One broker process and its folder; use it as a context manager or start and stop it.

    The calls block: from a coroutine call `spawn` directly (it takes milliseconds) and
    `wait_until_ready` in a thread. On Linux the broker ends when the *thread* that called
    `spawn` ends, so call that from one that lives as long as the broker shall.

    The folder holds the broker's data, `port`, `broker.log` and `lock`.

    >>> with EmbeddedBroker(Path("/var/lib/export/broker")) as broker:  # doctest: +SKIP
    ...     broker.address
    '127.0.0.1:41873'
    """

    def __init__(self, data_dir: Path, port: int = 0) -> None:
        """Name folder and port; nothing is started.

        Args:
            data_dir: Folder of the broker, made when missing.
            port: Port on loopback; 0 takes the one used before if it is free, else any.
        """
        self.data_dir = data_dir
        self.port = port
        self._asked_port = port
        self._lock: int | None = None
        self._log_begins_at = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Bootstrap address for clients."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def log_file(self) -> Path:
        """What the broker prints."""
        return self.data_dir / "broker.log"

    @property
    def pid(self) -> int | None:
        """Process id of the broker; None while it does not run."""
        return self._process.pid if self.is_running() and self._process else None

    def is_running(self) -> bool:
        """Tell whether the process lives; it may not answer yet."""
        return self._process is not None and self._process.poll() is None

    def exit_code(self) -> int | None:
        """Tell how the process ended; None while it runs or before its start."""
        return None if self._process is None else self._process.poll()

    def start(self, deadline_s: float = 20.0) -> Self:
        """Start the broker and wait until it answers.

        Raises:
            BrokerUnavailable: See `spawn` and `wait_until_ready`.
        """
        self.spawn()
        self.wait_until_ready(deadline_s)
        return self

    def spawn(self, lock_deadline_s: float = 5.0) -> None:
        """Start the process; it may not answer yet.

        Args:
            lock_deadline_s: How long a dying predecessor may still hold the folder, s.

        Raises:
            BrokerUnavailable: No binary, the folder is in use, or the port is taken.
        """
        if self.is_running():
            return
        binary = broker_binary()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._take_lock(lock_deadline_s)
        try:
            # What a kill in the middle of a save left: nobody reads it.
            (self.data_dir / UNFINISHED_FILE).unlink(missing_ok=True)
            self.port = self._choose_port()
            self._process = self._popen(binary)
        except BaseException:
            self._drop_lock()
            raise

    def wait_until_ready(self, deadline_s: float = 20.0) -> None:
        """Wait until the broker answers a Kafka metadata request; end it when it does not.

        Raises:
            BrokerUnavailable: It ended, or did not answer in time; the message has its log.
        """
        end = time.monotonic() + deadline_s
        while not answers_kafka(self.port):
            if not self.is_running():
                self._drop_lock()
                raise BrokerUnavailable(self._why_it_ended())
            if time.monotonic() > end:
                self.stop()
                raise BrokerUnavailable(
                    f"no answer at {self.address} within {deadline_s:g} s: {self._last_words()}"
                )
            time.sleep(_POLL_S)
        self._write_port()

    def make_folder_again(self) -> None:
        """Make the folder of a running broker again that somebody has deleted.

        The broker saves into it at its next change; another supervisor is kept off by its own lock.

        Raises:
            OSError: It cannot be made.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._write_port()

    def stop(self, deadline_s: float = 10.0) -> None:
        """End the broker by SIGTERM, which saves everything, and after the deadline by SIGKILL.

        Args:
            deadline_s: How long it may take to begin to save, and then to write some more of it;
                a large state gets `SAVED_BYTES_PER_S` besides, as it is put together first.
        """
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            self._wait_while_saving(deadline_s)
        self._drop_lock()

    def _wait_while_saving(self, deadline_s: float) -> None:
        assert self._process is not None
        written = None
        wait_s = deadline_s + _size(self.data_dir / STATE_FILE) / SAVED_BYTES_PER_S
        while True:
            try:
                self._process.wait(wait_s)
            except subprocess.TimeoutExpired:
                before, written = written, _size(self.data_dir / UNFINISHED_FILE)
                # Nothing unfinished is left of what was written: it has saved, and is about to end.
                if written == (before or 0):
                    self.kill()
                    return
                wait_s = deadline_s
            else:
                return

    def kill(self) -> None:
        """End the broker by SIGKILL, as a power cut would; up to 0.6 s of records are lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._drop_lock()

    def __enter__(self) -> Self:
        """Start the broker and wait until it answers."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the broker."""
        self.stop()

    def _popen(self, binary: Path) -> subprocess.Popen[bytes]:
        command = [
            str(binary),
            "start",
            *("--only", "kafka"),
            *("--host", LOOPBACK),
            *("--kafka-port", str(self.port)),
            *("--data-dir", str(self.data_dir)),
        ]
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command]
        assert self._lock is not None
        with self.log_file.open("ab") as log:
            self._log_begins_at = log.tell()
            return subprocess.Popen(  # noqa: S603 - our own wheel's binary, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal is for the supervisor, which stops the broker last.
                start_new_session=True,
                # The lock is held until the broker itself is gone, even if we die first.
                pass_fds=(self._lock,),
            )

    def _take_lock(self, deadline_s: float) -> None:
        lock = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        end = time.monotonic() + deadline_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    os.close(lock)
                    raise BrokerUnavailable(
                        f"another broker uses {self.data_dir}: is the service running already?"
                    ) from None
                time.sleep(_POLL_S)
            else:
                self._lock = lock
                return

    def _drop_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _choose_port(self) -> int:
        if self._asked_port:
            if not is_free(LOOPBACK, self._asked_port):
                raise BrokerUnavailable(f"port {self._asked_port} on {LOOPBACK} is taken")
            return self._asked_port
        with contextlib.suppress(OSError, ValueError):
            before = int((self.data_dir / "port").read_text(encoding="ascii"))
            if 0 < before < 65536 and is_free(LOOPBACK, before):
                return before
        return free_port(LOOPBACK)

    def _write_port(self) -> None:
        """Tell others the port; what is there already needs no space on a disk that is full."""
        path, text = self.data_dir / "port", f"{self.port}\n"
        with contextlib.suppress(OSError):
            if path.read_text(encoding="ascii") == text:
                return
        _write_whole(path, text)

    def _why_it_ended(self) -> str:
        words = self._last_words()
        if _UNREADABLE_STATE not in words:
            return f"the broker ended with {self.exit_code()}: {words}"
        # Why, as it says it: the rest of the line.
        reason = words.split(_UNREADABLE_STATE, 1)[1].split(" | ")[0].strip()
        return (
            f"the broker cannot read the last state in {self.data_dir / STATE_FILE} ({reason}): "
            "put a copy of that file back if there is one, or move the folder "
            f"{self.data_dir} away and start again. What is lost then: requests that have no "
            "result yet, and the list of exports with their webhooks. Finished packages stay in "
            "the exports folder, but nothing removes them and they are made again when asked for"
        )

    def _last_words(self) -> str:
        """The end of what this process has printed."""
        try:
            with self.log_file.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_begins_at, end - _LAST_WORDS_BYTES))
                lines = log.read(_LAST_WORDS_BYTES).decode(errors="replace").splitlines()
        except OSError:
            return "no log"
        return " | ".join(lines[-5:]) or "it printed nothing"


def _write_whole(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="ascii")
    fresh.replace(path)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
