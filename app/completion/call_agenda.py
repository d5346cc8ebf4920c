"""When which receiver is to be called; what one cannot take yet costs the others nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from app.domain.agenda import Agenda
from app.domain.rows import DeliveryRow

USUAL_PORTS: Final = {"http": 80, "https": 443}


@dataclass(slots=True)
class CallAgenda:
    """Deliveries by receiver, each with the time of its next try.

    A receiver that has been away for long has thousands of them due; whether it is to be called
    is found without looking at each.
    """

    _deliveries: dict[str, Agenda] = field(default_factory=dict)

    def put(self, delivery_id: str, row: DeliveryRow) -> None:
        """Take a delivery in, or give it the time of its next try."""
        receiver = receiver_of(row.url)
        self._deliveries.setdefault(receiver, Agenda()).put(delivery_id, row.next_at_ms)

    def drop(self, delivery_id: str, row: DeliveryRow) -> None:
        """Forget a delivery, if it is there."""
        receiver = receiver_of(row.url)
        if (deliveries := self._deliveries.get(receiver)) is not None:
            deliveries.drop(delivery_id)
            if not deliveries:
                del self._deliveries[receiver]

    def receivers(self, now_ms: int) -> list[str]:
        """The receivers for which something is due."""
        firsts = ((name, known.first_number()) for name, known in self._deliveries.items())
        return [name for name, first in firsts if first is not None and first <= now_ms]

    def due(self, receiver: str, now_ms: int) -> Iterator[str]:
        """Ids of what is due for a receiver, oldest first; do not change the agenda meanwhile."""
        if (deliveries := self._deliveries.get(receiver)) is not None:
            yield from deliveries.up_to(now_ms)

    def first_ms(self) -> int | None:
        """When the next try of any delivery is due, ms since 1970 UTC; None: there is none."""
        firsts = (known.first_number() for known in self._deliveries.values())
        return min((int(first) for first in firsts if first is not None), default=None)


def receiver_of(url: str) -> str:
    """Whom an address belongs to: host and port; all that cannot be read are one.

    >>> receiver_of("https://A.example/hook"), receiver_of("http://a.example.:8080")
    ('a.example:443', 'a.example:8080')
    >>> receiver_of("http://[")
    ''
    """
    try:
        parts = urlsplit(url)
        port = parts.port or USUAL_PORTS.get(parts.scheme, 0)
        return f"{(parts.hostname or '').rstrip('.')}:{port}"
    except ValueError:
        return ""
