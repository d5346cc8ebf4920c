"""What callers order of finished packages, and until when a package must stay for them."""

from typing import TYPE_CHECKING

from app.completion.deliveries import delivery_id, warning_id
from app.domain.iso_time import ms_of
from app.domain.records import ExportCommanded, ExportFinished, ExportProgress
from app.registrar.commands import DELETE, PIN, REDELIVER, UNPIN
from app.registrar.state import RegistrarState
from tests.simulation.rules import GRACE_MS
from tests.simulation.schedule import PACKAGE_MS
from tests.simulation.violation import Violation

if TYPE_CHECKING:
    from tests.simulation.witness import Witness

SKEW_MS = 1_000
"""Clocks of two processes differ by less."""

PUNCTUAL = ("duplicate", "echo", "webhook", "source", "disk-full", "gone", "lose", "catalogue")
"""Faults that let no timer of the registrar come late."""


class Offers:
    """Sees commands and what is told of packages.

    Attributes:
        orders: The commands, as they were published.
        kept: By export and attempt: until when the package was last told to stay, ms, and
            whether it is pinned.
    """

    def __init__(self, witness: "Witness") -> None:
        """See nothing yet."""
        self.witness = witness
        self.world = witness.world
        self.orders: list[ExportCommanded] = []
        self.kept: dict[tuple[str, str], tuple[int, bool]] = {}

    def hear_progress(self, record: ExportProgress) -> None:
        """The API is told of an export."""
        if record.state == "Completed":
            told = (record.expires_at_ms, record.pinned)
            self.kept[record.export_id, record.attempt] = told

    def ends_ms(self, result: ExportFinished) -> int:
        """Until when a result offers its package: a rightful deletion ends it early."""
        deletions = [order.at_ms for order in self.orders if self._deletes(order, result)]
        return min([expiry_ms(result), *deletions])

    def _deletes(self, order: ExportCommanded, result: ExportFinished) -> bool:
        if order.command != DELETE or not self._is_rightful(order):
            return False
        first_of = self.witness.first_of
        ours = first_of.get(order.request_id, order.request_id)
        if first_of.get(result.request_id, result.request_id) == ours:
            return True
        named = self.witness.results.get(ours)
        return order.by_administrator and named is not None and named.file_uri == result.file_uri

    def _is_rightful(self, order: ExportCommanded) -> bool:
        asked = self.witness.accepted.get(order.request_id)
        return asked is not None and (order.by_administrator or order.client == asked.client)

    def _is_hasty(self, order: ExportCommanded) -> bool:
        """Whether an order may have overtaken its own request."""
        return order.at_ms < self.witness.accepted[order.request_id].at_ms + SKEW_MS

    def asked_again(self, url: str) -> bool:
        """Whether somebody asked that an address be called again."""
        return any(order.command == REDELIVER and order.argument == url for order in self.orders)

    def judge_removal(self, export_id: str, attempt: str) -> None:
        """The files of an attempt go: nobody may be offered them, nor have been a while ago."""
        now_ms = self.world.now_ms
        offered = [
            result for result in self.witness.results.values() if f"/{attempt}/" in result.file_uri
        ]
        for result in offered:
            if self.ends_ms(result) + GRACE_MS - SKEW_MS > now_ms:
                raise Violation(f"{attempt} is swept while {result.request_id} is offered it")
        until_ms, pinned = self.kept.get((export_id, attempt), (0, False))
        is_early = pinned or until_ms + GRACE_MS - SKEW_MS > now_ms
        is_deleted = any(
            self._deletes(order, result) for order in self.orders for result in offered
        )
        is_there = self.world.disk.published(export_id, attempt) is not None
        if is_early and is_there and not is_deleted:
            raise Violation(f"{attempt} is swept; told was: until {until_ms}, pinned: {pinned}")

    def judge_end(self, state: RegistrarState) -> None:
        """Commands of a run without faults were carried out, and callers were warned in time."""
        schedule = self.world.schedule
        if self.witness.is_calm and not schedule.faults:
            for order in self.orders:
                self._judge_order(state, order)
            self._judge_pins(state)
        if schedule.has_only(*PUNCTUAL) and schedule.count_of("lose") <= 1:
            self._judge_warnings()

    def _judge_order(self, state: RegistrarState, order: ExportCommanded) -> None:
        first_id = self.witness.first_of.get(order.request_id, order.request_id)
        result = self.witness.results.get(first_id)
        if result is None or not self._is_rightful(order) or self._is_hasty(order):
            return
        if self.witness.heard_at_ms[first_id] + SKEW_MS > order.at_ms:
            return  # it may have come before the end
        row = state.requests.get(first_id)
        if order.command == DELETE and row is not None and state.is_offered(row):
            raise Violation(f"{first_id} was deleted and is offered still")
        if order.command == REDELIVER and order.argument is not None:
            known_id = delivery_id(first_id, order.argument)
            had_ms = self.witness.delivered_at_ms.get(known_id, order.at_ms)
            wanted = 2 if had_ms < order.at_ms else 1
            if self.witness.answered[known_id] < wanted:
                raise Violation(f"{order.argument} was not called again for {first_id}")

    def _judge_pins(self, state: RegistrarState) -> None:
        """What somebody pins stays, whatever others do."""
        rightful = [order for order in self.orders if self._is_rightful(order)]
        if any(order.by_administrator for order in rightful):
            return
        for request_id, heard_ms in self.witness.heard_at_ms.items():
            result = self.witness.results[request_id]
            ours = [order for order in rightful if self._names(order, request_id)]
            ours = [order for order in ours if order.command in (PIN, UNPIN, DELETE)]
            if not ours or not result.success or ours[-1].command != PIN:
                continue
            if self._is_hasty(ours[-1]):
                continue
            in_time = heard_ms + SKEW_MS < ours[-1].at_ms < expiry_ms(result) - SKEW_MS
            row = state.requests.get(request_id)
            is_deleted = any(order.command == DELETE for order in ours)
            if not in_time or is_deleted or row is None:
                continue
            if not state.is_offered(row) or not state.exports[row.export_id or ""].pinned:
                raise Violation(f"{request_id} was pinned and is not kept")

    def _names(self, order: ExportCommanded, request_id: str) -> bool:
        return self.witness.first_of.get(order.request_id, order.request_id) == request_id

    def _judge_warnings(self) -> None:
        """Every webhook of a package that expired was told of it before."""
        schedule = self.world.schedule
        if schedule.package_ms == PACKAGE_MS or not self.witness.is_calm:
            return
        if any(order.command in ("pin", "unpin") for order in schedule.orders):
            return  # what is not pinned any more may be over at once
        for request_id, result in self.witness.results.items():
            if not result.success or self.ends_ms(result) < expiry_ms(result):
                continue
            export_id, attempt, _ = result.file_uri.split("/")[-3:]
            if (export_id, attempt) not in self.kept:
                raise Violation(f"the API was not told of {attempt} of {export_id}")
            until_ms, _ = self.kept[export_id, attempt]
            if self.witness.heard_at_ms[request_id] > until_ms - schedule.package_ms // 2:
                continue  # it came when the time to warn was over
            for url in self.witness.accepted[request_id].callback_urls:
                was_told = self.witness.answered[delivery_id(request_id, url)]
                warned = self.witness.answered[warning_id(request_id, url, until_ms)]
                if was_told and not warned:
                    raise Violation(f"{url} was not warned that {request_id} expires")


def expiry_ms(result: ExportFinished) -> int:
    """Until when a result offers its package, ms since 1970 UTC."""
    return ms_of(result.expiration_time)
