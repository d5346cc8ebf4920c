"""Keys in the order of a number each: times at which something is due, or ranks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

SLACK = 64
"""Entries of the past that may lie about beside as many as there are keys."""


@dataclass(slots=True)
class Agenda:
    """A set of keys, each with one number; the lowest is found at once, however many there are.

    >>> agenda = Agenda()
    >>> agenda.put("b", 20), agenda.put("a", 10), agenda.put("b", 5)
    (None, None, None)
    >>> agenda.first_number(), list(agenda.up_to(7)), len(agenda)
    (5, ['b'], 2)
    """

    _numbers: dict[str, float] = field(default_factory=dict)
    _heap: list[tuple[float, str]] = field(default_factory=list)

    def put(self, key: str, number: float) -> None:
        """Take a key in, or give it another number."""
        if self._numbers.get(key) != number:
            self._numbers[key] = number
            heappush(self._heap, (number, key))
            if len(self._heap) > 2 * len(self._numbers) + SLACK:
                self._heap = [(at, known) for known, at in self._numbers.items()]
                heapify(self._heap)

    def drop(self, key: str) -> None:
        """Forget a key, if it is there."""
        self._numbers.pop(key, None)

    def first_number(self) -> float | None:
        """The lowest number; None: there is no key."""
        heap = self._heap
        while heap and self._numbers.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None

    def up_to(self, number: float) -> Iterator[str]:
        """The keys whose number is not higher, the lowest first; do not change it meanwhile."""
        kept: list[tuple[float, str]] = []
        try:
            while (first := self.first_number()) is not None and first <= number:
                entry = heappop(self._heap)
                if not kept or kept[-1] != entry:  # a key that came back to an old number
                    kept.append(entry)
                    yield entry[1]
        finally:
            for entry in kept:
                heappush(self._heap, entry)

    def __iter__(self) -> Iterator[str]:
        """All keys, in no order."""
        return iter(self._numbers)

    def __contains__(self, key: str) -> bool:
        """Whether a key is there."""
        return key in self._numbers

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self._numbers)
