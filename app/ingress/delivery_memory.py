"""What is known of the webhooks of each request, within a bound of memory."""

from collections import OrderedDict
from typing import Any, Final

import orjson

from app.domain.iso_time import iso_time
from app.domain.rows import DeliveryRow

BUDGET_BYTES: Final = 64_000_000
"""What all deliveries may take together, about 100,000; those longest untouched go first."""
ENTRY_BYTES: Final = 300
"""What ids and tables take beside each body, roughly."""
PENDING: Final = "pending"


class DeliveryMemory:
    """Deliveries by request, each as the JSON text that the API tells: a tenth of the objects."""

    def __init__(self, budget_bytes: int = BUDGET_BYTES) -> None:
        """Know nothing.

        Args:
            budget_bytes: What all deliveries may take together.
        """
        self._budget_bytes = budget_bytes
        self._bodies: OrderedDict[str, tuple[str, bytes]] = OrderedDict()
        self._by_request: dict[str, dict[str, None]] = {}
        self.used_bytes = 0

    def put(self, delivery_id: str, row: DeliveryRow) -> None:
        """Take over what completion keeps of a delivery."""
        self.drop(delivery_id)
        text = orjson.dumps(delivery_body(delivery_id, row))
        self._bodies[delivery_id] = (row.request_id, text)
        self._by_request.setdefault(row.request_id, {})[delivery_id] = None
        self.used_bytes += len(text) + ENTRY_BYTES
        while self.used_bytes > self._budget_bytes:
            self.drop(next(iter(self._bodies)))

    def drop(self, delivery_id: str) -> None:
        """Forget a delivery; harmless for one that is not there."""
        request_id, text = self._bodies.pop(delivery_id, ("", b""))
        if not text:
            return
        self.used_bytes -= len(text) + ENTRY_BYTES
        of_request = self._by_request[request_id]
        del of_request[delivery_id]
        if not of_request:
            del self._by_request[request_id]

    def of(self, request_id: str) -> list[dict[str, Any]]:
        """All deliveries of a request, oldest first: models `Delivery`."""
        bodies = [self._body(key) for key in self._by_request.get(request_id, ())]
        return sorted(bodies, key=lambda body: (body["createdAt"], body["id"]))

    def find(self, request_id: str, delivery_id: str) -> dict[str, Any] | None:
        """One delivery of a request; None: it has no such one."""
        known = delivery_id in self._by_request.get(request_id, ())
        return self._body(delivery_id) if known else None

    def _body(self, delivery_id: str) -> dict[str, Any]:
        body: dict[str, Any] = orjson.loads(self._bodies[delivery_id][1])
        return body


def delivery_body(delivery_id: str, row: DeliveryRow) -> dict[str, Any]:
    """Write a delivery in the words of the API: the model `Delivery`, ready for JSON."""
    return {
        "id": delivery_id,
        "event": row.event,
        "url": row.url,
        "state": row.state,
        "createdAt": iso_time(row.created_at_ms),
        "nextTryAt": iso_time(row.next_at_ms) if row.state == PENDING else None,
        "tries": row.trials,
        "history": [
            {
                "at": iso_time(trial.at_ms),
                "status": trial.http_status or None,
                "error": trial.error,
            }
            for trial in row.history
        ],
    }
