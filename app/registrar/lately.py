"""What a takeover finds that was changed last, and has to be told again: see decision 0016."""

from dataclasses import dataclass
from math import inf

from app.domain.agenda import Agenda

LATELY_MS = 5_000
"""What changed so shortly before the newest of its kind is told again, ms: longer than what a
killed broker may forget, and than the clocks of two processes differ."""


@dataclass(slots=True)
class Lately(Agenda):
    """Keys that changed in the last few seconds before the newest of them.

    It is not compared with the newest time of all: only records make the registrar's time, and it
    may go on without changes of one kind.

    >>> lately = Lately()
    >>> for key, at_ms in [("a", 1_000), ("b", 7_000), ("c", 9_000), ("d", 2_000)]:
    ...     lately.put(key, at_ms)
    >>> sorted(lately)
    ['b', 'c']
    """

    _newest_ms: float = 0

    def put(self, key: str, number: float) -> None:
        """Note a change at a time, ms since 1970 UTC; infinite: it counts whatever its age."""
        if number != inf:
            self._newest_ms = max(self._newest_ms, number)
        Agenda.put(self, key, number)
        for old in list(self.up_to(self._newest_ms - LATELY_MS)):
            self.drop(old)
