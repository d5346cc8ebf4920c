"""Which waiting export starts next; shared by the registrar and by what the API tells of it.

- The larger priority goes first: it is worth a head start of sqrt(10 * priority) seconds, 100 s
  for the default of 1,000.
- Nothing starves: all wait equally fast, so whoever waits goes before all that come later than its
  head start is behind theirs, after 28 hours at the most.
- Clients take turns: a client's wait counts from its last start. One that asks for a hundred
  exports at once gets each second place when another comes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf, sqrt
from typing import Final

from app.domain.agenda import Agenda

TURN_MS: Final = 1_000
"""How far apart two starts are taken to be when the order of all is foretold, ms."""

A_LITTLE_MS: Final = 0.5
"""Who has had a turn goes behind who came in the same millisecond."""

FORGET_TURNS_BEYOND: Final = 10_000
"""Clients whose last start is remembered although none of their exports waits."""


def head_start_ms(priority: int) -> float:
    """What a priority is worth in waiting time, ms.

    >>> head_start_ms(1_000), head_start_ms(0), head_start_ms(100_000)
    (100000.0, 0.0, 1000000.0)
    """
    return 1000 * sqrt(10 * max(0, priority))


@dataclass(slots=True)
class _ClientQueue:
    """The waiting exports of one client."""

    ranks: Agenda = field(default_factory=Agenda)
    """By what they are worth: the time of their queueing less their head start."""
    urgency: Agenda = field(default_factory=Agenda)
    """By their head start, the largest first."""


@dataclass(slots=True)
class QueueOrder:
    """The waiting exports in the order in which they start.

    >>> queue = QueueOrder()
    >>> for export_id, client in (("a1", "ann"), ("a2", "ann"), ("b1", "bob")):
    ...     queue.put(export_id, client, priority=1_000, queued_at_ms=0)
    >>> list(queue.in_order())
    ['a1', 'b1', 'a2']
    """

    _waiting: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Export to its client and the time of its queueing, ms."""
    _queues: dict[str, _ClientQueue] = field(default_factory=dict)
    _turns: dict[str, int] = field(default_factory=dict)
    """Client to its last start, ms."""
    _clients: Agenda = field(default_factory=Agenda)
    """Clients whose exports wait, the next one first."""
    _newest_ms: int = 0

    def put(self, export_id: str, client: str, *, priority: int, queued_at_ms: int) -> None:
        """Take a waiting export in, or give it another priority."""
        if self._waiting.get(export_id, (client, queued_at_ms)) != (client, queued_at_ms):
            self.drop(export_id)
        self._waiting[export_id] = client, queued_at_ms
        self._newest_ms = max(self._newest_ms, queued_at_ms)
        queue = self._queues.setdefault(client, _ClientQueue())
        queue.ranks.put(export_id, queued_at_ms - head_start_ms(priority))
        queue.urgency.put(export_id, -head_start_ms(priority))
        self._clients.put(client, self._place(client))

    def drop(self, export_id: str) -> None:
        """Forget an export that waits no more; harmless for one that did not."""
        client, _ = self._waiting.pop(export_id, (None, 0))
        if client is None:
            return
        queue = self._queues[client]
        queue.ranks.drop(export_id)
        queue.urgency.drop(export_id)
        if queue.ranks:
            self._clients.put(client, self._place(client))
        else:
            del self._queues[client]
            self._clients.drop(client)

    def started(self, client: str, at_ms: int) -> None:
        """Note that an export of a client was started; its turn is over."""
        self._newest_ms = max(self._newest_ms, at_ms)
        if at_ms > self._turns.get(client, 0):
            self._turns[client] = at_ms
            if client in self._queues:
                self._clients.put(client, self._place(client))
        if len(self._turns) > FORGET_TURNS_BEYOND + 2 * len(self._queues):
            self._turns = {key: at for key, at in self._turns.items() if key in self._queues}

    def in_order(self) -> Iterator[str]:
        """The waiting exports, the next one first; do not change any meanwhile.

        What follows the first is foretold as if no other export came.
        """
        lined_up = self._clients.up_to(inf)
        client = next(lined_up, None)
        exports: dict[str, Iterator[str]] = {}
        again: list[tuple[float, str, str]] = []
        foretold_ms = self._newest_ms
        while client is not None or again:
            if client is None or (again and again[0][0] < self._place(client)):
                _, whose, export_id = heappop(again)
            else:
                whose, exports[client] = client, self._queues[client].ranks.up_to(inf)
                export_id = next(exports[whose])
                client = next(lined_up, None)
            yield export_id
            foretold_ms += TURN_MS
            following = next(exports[whose], None)
            if following is not None:
                place = self._place_of(whose, following, foretold_ms)
                heappush(again, (place, whose, following))

    def _place(self, client: str) -> float:
        """Where a client whose exports wait is lined up, ms."""
        first = next(self._queues[client].ranks.up_to(inf))
        return self._place_of(client, first, self._turns.get(client, 0))

    def _place_of(self, client: str, export_id: str, turn_ms: int) -> float:
        """By the wait of a client for its turn, and by its most urgent export, ms."""
        _, queued_ms = self._waiting[export_id]
        since_ms = queued_ms if queued_ms > turn_ms else turn_ms + A_LITTLE_MS
        return since_ms + (self._queues[client].urgency.first_number() or 0.0)

    def __contains__(self, export_id: object) -> bool:
        """Whether an export waits."""
        return export_id in self._waiting

    def __iter__(self) -> Iterator[str]:
        """All waiting exports, in no order."""
        return iter(self._waiting)

    def __len__(self) -> int:
        """How many exports wait."""
        return len(self._waiting)
