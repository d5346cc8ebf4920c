"""The completion stage: owner of results and deliveries, one for each partition of its inbox."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from app.completion.call_agenda import CallAgenda
from app.completion.deliveries import (
    GIVE_UP_MS,
    PENDING,
    ask_redelivery,
    begun_at_ms,
    tried,
    warn,
)
from app.completion.settle import drop_at_ms, settle
from app.domain.agenda import Agenda
from app.domain.decision import NOTHING, Decision, Store
from app.domain.inbox import InboxPosition
from app.domain.records import (
    DeliveryTried,
    ExportFinished,
    RedeliveryAsked,
    RequestExpiring,
    RequestForgotten,
    RequestSettled,
    Tick,
)
from app.domain.rows import DeliveryRow

TABLES = ("deliveries", "results")

AT_ONCE = 100
"""Results forgotten by one Tick, so that it stays short."""

FindRow = Callable[[str, str], Any]


@dataclass(slots=True)
class Completion:
    """Owner of one partition of `results` and `deliveries`.

    Attributes:
        find_row: Reads a row of this partition as the table has it, (table, key) to row or
            None. Results and settled deliveries are many and stay encoded in the table.
        on_pending: Called when a delivery has become due or its next try is known.
        pending: Deliveries that are not done, by delivery id.
        calls: Those of them whose result stands, in the order of their next try.
        results: Ids of the requests whose result stands, by the time at which it is forgotten
            at the latest.
        delivered: Delivery ids by request, to be forgotten with it.
        waiting: Deliveries whose result does not stand, by the time at which they are forgotten.
    """

    find_row: FindRow
    on_pending: Callable[[], None]
    pending: dict[str, DeliveryRow] = field(default_factory=dict)
    calls: CallAgenda = field(default_factory=CallAgenda)
    results: Agenda = field(default_factory=Agenda)
    delivered: dict[str, set[str]] = field(default_factory=dict)
    waiting: Agenda = field(default_factory=Agenda)

    def load(self, table: str, key: str, row: Any) -> None:
        """Take over a row as the table has it."""
        if table == "results":
            self._note_result(key, row)
        else:
            self._note_delivery(key, row)
        if self.pending:
            self.on_pending()

    def _note_result(self, key: str, row: ExportFinished | None) -> None:
        if row is None:
            self.results.drop(key)
            for known in self.delivered.pop(key, ()):
                if (pending := self.pending.get(known)) is not None:
                    self.calls.drop(known, pending)
            return
        self.results.put(key, drop_at_ms(row))
        for known in self.delivered.get(key, ()):
            self.waiting.drop(known)
            if (pending := self.pending.get(known)) is not None:
                self.calls.put(known, pending)

    def _note_delivery(self, key: str, row: DeliveryRow | None) -> None:
        old = self.pending.pop(key, None)
        self.waiting.drop(key)
        if old is not None:
            self.calls.drop(key, old)
        if row is not None:
            self.delivered.setdefault(row.request_id, set()).add(key)
            if row.state == PENDING:
                self.pending[key] = row
                if row.request_id in self.results:
                    self.calls.put(key, row)
                else:
                    self.waiting.put(key, begun_at_ms(row) + GIVE_UP_MS)
        elif old is not None:
            self.delivered.get(old.request_id, set()).discard(key)

    def decide(self, record: Any, _position: InboxPosition) -> Decision:
        """Decide about one record; changes nothing itself.

        Running twice is harmless: the first result of a request stands, and every later one,
        a replay too, only confirms it; a delivery is made once, by its id, and a try is noted
        once, by its number.
        """
        match record:
            case RequestSettled():
                return settle(self._delivery_of, self.result_of, record)
            case DeliveryTried():
                return tried(self._delivery_of, self.result_of, record)
            case RedeliveryAsked():
                return ask_redelivery(self._delivery_of, self.result_of, record)
            case RequestExpiring():
                return self._warn(record)
            case RequestForgotten() | Tick():
                return self._forget(record)
            case _:
                return NOTHING

    def apply(self, store: Store) -> None:
        """Take over a row that the broker has confirmed."""
        self.load(store.table, store.key, store.row)

    def due_at_ms(self) -> int | None:
        """When a result is forgotten; the courier keeps the time of the deliveries."""
        due = [self.results.first_number(), self.waiting.first_number()]
        return min((int(at_ms) for at_ms in due if at_ms is not None), default=None)

    def _forget(self, record: RequestForgotten | Tick) -> Decision:
        """Forget results whose time is over, each after its deliveries, and what has no result.

        How a request failed is told for longer than the registrar remembers it.
        """
        stores: list[Store] = []
        if isinstance(record, RequestForgotten):
            result = self.result_of(record.request_id)
            is_over = result is not None and result.success
            return Decision(tuple(self._dropped(record.request_id)) if is_over else ())
        now_ms = record.at_ms
        for request_id in islice(self.results.up_to(now_ms), AT_ONCE):
            stores += self._dropped(request_id)
        stores += (
            Store("deliveries", key, None) for key in islice(self.waiting.up_to(now_ms), AT_ONCE)
        )
        return Decision(tuple(stores))

    def _dropped(self, request_id: str) -> Iterator[Store]:
        """A result goes, after its deliveries."""
        for key in sorted(self.delivered.get(request_id, ())):
            yield Store("deliveries", key, None)
        yield Store("results", request_id, None)

    def _warn(self, record: RequestExpiring) -> Decision:
        """Warn of an expiry, unless the result has been forgotten: then there is no body."""
        if record.request_id not in self.results:
            return NOTHING
        keys = sorted(self.delivered.get(record.request_id, ()))
        rows = (self._delivery_of(key) for key in keys)
        return warn((row for row in rows if row is not None), record)

    def result_of(self, request_id: str) -> ExportFinished | None:
        """The result of a request, from its table; None: it has none yet."""
        if request_id not in self.results:
            return None
        result: ExportFinished | None = self.find_row("results", request_id)
        return result

    def _delivery_of(self, delivery_id: str) -> DeliveryRow | None:
        row: DeliveryRow | None = self.find_row("deliveries", delivery_id)
        return row
