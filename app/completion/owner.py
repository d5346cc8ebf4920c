"""The completion stage: owner of results and deliveries, one for each partition of its inbox."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from app.completion.settle import PENDING, ask_redelivery, settle, tried
from app.domain.decision import NOTHING, Decision, Store
from app.domain.inbox import InboxPosition
from app.domain.records import (
    DeliveryTried,
    ExportFinished,
    RedeliveryAsked,
    RequestSettled,
)
from app.domain.rows import DeliveryRow

TABLES = ("deliveries", "results")

FindRow = Callable[[str, str], Any]


@dataclass(slots=True)
class Completion:
    """Owner of one partition of `results` and `deliveries`.

    Attributes:
        find_row: Reads a row of this partition as the table has it, (table, key) to row or
            None. Results and settled deliveries are many and stay encoded in the table.
        on_pending: Called when a delivery has become due or its next try is known.
        pending: Deliveries that are not done, by delivery id.
        results: Ids of the requests whose result stands.
    """

    find_row: FindRow
    on_pending: Callable[[], None]
    pending: dict[str, DeliveryRow] = field(default_factory=dict)
    results: set[str] = field(default_factory=set)

    def load(self, table: str, key: str, row: Any) -> None:
        """Take over a row as the table has it."""
        if table == "results":
            self.results.discard(key)
            if row is not None:
                self.results.add(key)
        else:
            self.pending.pop(key, None)
            if row is not None and row.state == PENDING:
                self.pending[key] = row
        if self.pending:
            self.on_pending()

    def decide(self, record: Any, _position: InboxPosition) -> Decision:
        """Decide about one record; changes nothing itself.

        Running twice is harmless: the first result of a request stands, and every later one,
        a replay too, only confirms it; a try is noted once, by its number.
        """
        match record:
            case RequestSettled():
                return settle(self.result_of, record)
            case DeliveryTried():
                return tried(self._delivery_of, record)
            case RedeliveryAsked():
                return ask_redelivery(self._delivery_of, record)
            case _:
                return NOTHING

    def apply(self, store: Store) -> None:
        """Take over a row that the broker has confirmed."""
        self.load(store.table, store.key, store.row)

    def due_at_ms(self) -> int | None:
        """Nothing here waits for a Tick: the courier keeps the time of the deliveries."""
        return None

    def due(self, now_ms: int) -> Iterator[tuple[str, DeliveryRow]]:
        """Yield the deliveries whose next try is due and whose result stands."""
        for delivery_id, row in list(self.pending.items()):
            if row.next_at_ms <= now_ms and row.request_id in self.results:
                yield delivery_id, row

    def next_due_ms(self) -> int | None:
        """When the next try of any delivery is due, ms since 1970 UTC."""
        return min(
            (row.next_at_ms for row in self.pending.values() if row.request_id in self.results),
            default=None,
        )

    def result_of(self, request_id: str) -> ExportFinished | None:
        """The result of a request, from its table; None: it has none yet."""
        if request_id not in self.results:
            return None
        result: ExportFinished | None = self.find_row("results", request_id)
        return result

    def _delivery_of(self, delivery_id: str) -> DeliveryRow | None:
        row: DeliveryRow | None = self.find_row("deliveries", delivery_id)
        return row
