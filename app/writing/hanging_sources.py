"""Which sources hang: no more of this process's threads are spent on them meanwhile."""

from dataclasses import dataclass, field
from threading import Thread
from typing import Final

from app.domain.errors import SourceUnavailable
from app.writing.reading_thread import SourceHangs

MAX_LEFT_THREADS: Final = 64
"""Threads left behind in all. Four ranges are read at a time and a source that hangs is not asked
again, so this takes many layers on one dead disk; a process that starts anew has lost nothing."""


class TooManyHangingReads(Exception):
    """No failure of the order's own: the process ends and is started again."""


@dataclass(slots=True)
class HangingSources:
    """The threads that were left behind, by source; belongs to the event loop."""

    _threads: dict[str, list[Thread]] = field(default_factory=dict)

    def check(self, source: str) -> None:
        """Refuse a source that has not yet answered a read that was given up.

        Raises:
            SourceUnavailable: It hangs; the planner tries again later.
            TooManyHangingReads: So many reads hang that the process had better start anew.
        """
        self._forget_those_that_ended()
        if source in self._threads:
            raise SourceUnavailable("the source hangs: an earlier read of it is still not answered")
        if sum(map(len, self._threads.values())) >= MAX_LEFT_THREADS:
            raise TooManyHangingReads(f"{MAX_LEFT_THREADS} reads of sources hang")

    def add(self, source: str, error: SourceHangs) -> None:
        """Remember a thread that was left behind."""
        self._threads.setdefault(source, []).append(error.thread)

    def _forget_those_that_ended(self) -> None:
        alive = {
            source: [thread for thread in threads if thread.is_alive()]
            for source, threads in self._threads.items()
        }
        self._threads = {source: threads for source, threads in alive.items() if threads}
