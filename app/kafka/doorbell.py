"""Wake the idle consumers of this machine when one of its processes has sent them something.

The embedded broker answers an empty fetch at once, so idle consumers must pause between fetches
(fetch_backoff). A pause that costs no CPU would cost latency at every hop. So whoever has sent a
record says its topic through a datagram socket in a folder that the processes share, and whoever
pauses and reads that topic fetches at once. It is a hint and nothing more: without it, or when one
is lost, the pause ends by itself.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

LISTENERS_KNOWN_FOR_S: Final = 1.0
"""How long the folder's listing is trusted, s: a new process hears everything after so long."""

LONGEST_TOPIC_BYTES: Final = 255
LONGEST_NAME_BYTES: Final = 32
LONGEST_PATH_BYTES: Final = 100
"""A socket's path has 104 to 108 bytes, by platform."""


class Listener:
    """The ear of one consumer, in the event loop of its thread.

    Attributes:
        rung: Set when a topic was rung that `is_mine` accepts.
    """

    def __init__(self, folder: Path, is_mine: Callable[[str], bool]) -> None:
        """Listen from now on; call it in the consumer's loop.

        Args:
            folder: The folder that all processes share.
            is_mine: Whether a topic of this name, as the broker knows it, is read here.

        Raises:
            OSError: The platform has no such sockets, or the path is too long for one.
        """
        self.rung = asyncio.Event()
        self._is_mine = is_mine
        self._path = folder / f"{os.getpid()}-{id(self):x}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.bind(str(self._path))
        except OSError:
            self._socket.close()
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._hear)

    def close(self) -> None:
        """Listen no more."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                topic = self._socket.recv(LONGEST_TOPIC_BYTES).decode(errors="replace")
                if self._is_mine(topic):
                    self.rung.set()


class Doorbell:
    """Rings at every listener of a folder; one per process."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; it must exist."""
        self.folder = folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._listeners: list[str] = []
        self._listed_at_s = -LISTENERS_KNOWN_FOR_S

    def ring(self, topics: Iterable[str]) -> None:
        """Say that records of these topics, as the broker knows them, can be fetched now.

        Never blocks and never fails: a listener whose buffer is full has enough to wake it, and
        one whose process has died is forgotten.
        """
        for path in self._known():
            for topic in topics:
                try:
                    self._socket.sendto(topic.encode(), path)
                except BlockingIOError:
                    continue
                except OSError:
                    self._forget(path)
                    break

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def _known(self) -> list[str]:
        now_s = time.monotonic()
        if now_s - self._listed_at_s >= LISTENERS_KNOWN_FOR_S:
            self._listed_at_s = now_s
            with contextlib.suppress(OSError):
                self._listeners = [entry.path for entry in os.scandir(self.folder)]
        return list(self._listeners)

    def _forget(self, path: str) -> None:
        self._listeners.remove(path)
        with contextlib.suppress(OSError):
            Path(path).unlink()


_doorbell: Doorbell | None = None


def install(folder: Path) -> None:
    """Give this process a doorbell, where the platform and the path allow one."""
    global _doorbell  # noqa: PLW0603 - producers of all kinds ring it, wherever they are
    if _doorbell is not None:
        _doorbell.close()
        _doorbell = None
    folder.mkdir(parents=True, exist_ok=True)
    short = _short(folder)
    if short is None:
        log.warning("no_doorbell", folder=str(folder), reason="the path is too long for a socket")
    else:
        _doorbell = Doorbell(short)


def _short(folder: Path) -> Path | None:
    """A path of the folder that leaves room for a socket's name; None: there is none here."""
    if len(os.fsencode(folder)) + LONGEST_NAME_BYTES <= LONGEST_PATH_BYTES:
        return folder
    if not Path("/proc/self/fd").is_dir():
        return None
    # Linux: the folder by its descriptor, which stays open for as long as the process runs.
    return Path(f"/proc/self/fd/{os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)}")


def ring(topics: Iterable[str]) -> None:
    """Ring for these topics; does nothing where no doorbell is installed."""
    if _doorbell is not None and (rung := set(topics)):
        _doorbell.ring(rung)


def listener(is_mine: Callable[[str], bool]) -> Listener | None:
    """Begin to listen in the running loop; None where no doorbell is installed."""
    if _doorbell is None:
        return None
    try:
        return Listener(_doorbell.folder, is_mine)
    except OSError as error:
        log.warning("deaf_to_the_doorbell", error=str(error))
        return None
