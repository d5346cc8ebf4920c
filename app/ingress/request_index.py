"""Which requests there are, newest first, by client: what lists are cut from."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Final

Spot = tuple[int, str]
"""When a request was accepted, ms since 1970 UTC, and its id; the order of lists."""

EVERYBODY: Final = ""
"""No client is called so; its list holds the requests of all."""


class RequestIndex:
    """Sorted lists of requests, one for each client and one of all.

    A new request usually is the last one, so that putting it in costs nothing; another place
    costs moving what stands behind it, which is quick for 100,000.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._spots: dict[str, tuple[str, Spot]] = {}
        self._by_client: dict[str, list[Spot]] = {}

    def put(self, request_id: str, client: str, accepted_at_ms: int) -> None:
        """Take a request in; one that is there already moves."""
        entry = (client, (accepted_at_ms, request_id))
        if self._spots.get(request_id) == entry:
            return
        self.drop(request_id)
        self._spots[request_id] = entry
        for name in {client, EVERYBODY}:
            insort(self._by_client.setdefault(name, []), entry[1])

    def drop(self, request_id: str) -> None:
        """Forget a request; harmless for one that is not there."""
        entry = self._spots.pop(request_id, None)
        if entry is None:
            return
        client, spot = entry
        for name in {client, EVERYBODY}:
            spots = self._by_client[name]
            del spots[bisect_left(spots, spot)]
            if not spots:
                del self._by_client[name]

    def newest_first(
        self, client: str | None, *, before: Spot | None, from_ms: int, to_ms: int
    ) -> Iterator[Spot]:
        """Go through requests, the newest first.

        Args:
            client: Whose; None: everybody's.
            before: Only older ones than this; None: from the newest on.
            from_ms: Not those accepted earlier, ms since 1970 UTC.
            to_ms: Not those accepted at this time or later, ms since 1970 UTC.
        """
        spots = self._by_client.get(EVERYBODY if client is None else client, [])
        end = min((to_ms, ""), before) if before is not None else (to_ms, "")
        for index in range(bisect_left(spots, end) - 1, -1, -1):
            if spots[index][0] < from_ms:
                return
            yield spots[index]
