"""A thread that reads a range's tiles ahead, and is left behind when the source hangs."""

import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from threading import Thread
from typing import Final, Self

from app.domain.errors import SourceUnavailable
from app.package.shard import TileRow

READ_DEADLINE_S: Final = 60.0
"""How long a source may take for one answer, at most 128 tiles, s: half a range's lease, so that
the planner hears why; 0.5 s a tile, where a busy network disk takes some hundredths."""

Batch = list[TileRow] | None


class SourceHangs(SourceUnavailable):
    """The source did not answer in time.

    Attributes:
        thread: Still waits for the answer, and ends after it; nobody can end it before.
    """

    def __init__(self, thread: Thread) -> None:
        """Say for how long it was waited."""
        super().__init__(f"the source has not answered for {READ_DEADLINE_S:g} s")
        self.thread = thread


class ReadingThread:
    """Reads batch after batch, one at a time, and has no hand in anything but reading.

    It ends with the block, before the transaction around it; one that hangs stays behind and
    ends when its source answers: what it has read then goes to nobody. It is a daemon, so a
    process can end without it.
    """

    def __init__(self, read: Callable[[], Batch], asked_at_s: Callable[[], float]) -> None:
        """Not started yet.

        Args:
            read: Reads the next batch; runs in the thread.
            asked_at_s: When the source was last asked for something, monotonic, s. A batch with
                unreadable tiles takes one question a tile, each with its own deadline.
        """
        self._read = read
        self._asked_at_s = asked_at_s
        self._orders: SimpleQueue[Future[Batch] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="read tiles", daemon=True)
        self._hangs = False

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread, unless it hangs."""
        self._orders.put(None)
        if not self._hangs:
            self._thread.join(READ_DEADLINE_S)

    def ahead(self) -> Future[Batch]:
        """Begin to read the next batch."""
        future: Future[Batch] = Future()
        self._orders.put(future)
        return future

    def batch(self, ahead: Future[Batch]) -> Batch:
        """Wait for a batch; raises SourceHangs, or what reading raised."""
        since_s = time.monotonic()
        while not ahead.done():
            until_s = max(since_s, self._asked_at_s()) + READ_DEADLINE_S
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                self._hangs = True
                raise SourceHangs(self._thread)
            wait([ahead], left_s)
        return ahead.result()

    def _run(self) -> None:
        while (future := self._orders.get()) is not None:
            try:
                future.set_result(self._read())
            except BaseException as error:  # noqa: BLE001 - it is raised again where the batch is awaited
                future.set_exception(error)
