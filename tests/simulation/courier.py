"""A model of `app.completion.courier`: due deliveries are called, each call becomes a record."""

from typing import TYPE_CHECKING, Any

from app.completion.courier import REPORT_LOST_MS
from app.completion.owner import Completion
from app.domain.records import DeliveryTried
from app.domain.rows import DeliveryRow
from app.domain.topic_names import EXPORT_SETTLEMENTS

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

TIMEOUT_MS = 10_000
LONGEST_NAP_MS = 60_000


class Courier:
    """The courier of one coordinator; it keeps nothing that matters."""

    def __init__(self, world: "World", process: "Process") -> None:
        """Start with nothing under way."""
        self.world = world
        self.process = process
        self._partitions: list[Any] = []
        self._under_way: dict[str, tuple[int, int]] = {}
        self._wakes_at_ms: int | None = None

    def watch(self, partition: Any) -> None:
        """Look after the deliveries of a partition."""
        self._partitions = [known for known in self._partitions if not known.lost]
        self._partitions.append(partition)
        self.wake()

    def wake(self) -> None:
        """Something may be due."""
        self._wake_at(self.world.now_ms)

    def _wake_at(self, at_ms: int) -> None:
        if self._wakes_at_ms is None or at_ms < self._wakes_at_ms:
            self._wakes_at_ms = at_ms
            wait_ms = max(0, at_ms - self.world.now_ms) + 5
            self.world.after(wait_ms, lambda: self._look(at_ms), self.process)

    def _look(self, for_ms: int) -> None:
        if self._wakes_at_ms != for_ms:
            return
        self._wakes_at_ms = None
        now_ms = self.process.now_ms
        for delivery_id, (_, since_ms) in list(self._under_way.items()):
            if now_ms - since_ms > REPORT_LOST_MS + TIMEOUT_MS:
                del self._under_way[delivery_id]
        next_ms: int | None = None
        for partition in self._partitions:
            if partition.lost:
                continue
            self._call_due(partition.owner, now_ms)
            due_ms = partition.owner.calls.first_ms()
            if due_ms is not None:
                next_ms = due_ms if next_ms is None else min(next_ms, due_ms)
        if next_ms is not None:
            nap_ms = min(max(500, next_ms - now_ms), LONGEST_NAP_MS)
            if next_ms <= now_ms:  # under way already: only a lost report brings it back
                nap_ms = LONGEST_NAP_MS
            self._wake_at(self.world.now_ms + nap_ms)

    def _call_due(self, owner: Completion, now_ms: int) -> None:
        for receiver in owner.calls.receivers(now_ms):
            for delivery_id in owner.calls.due(receiver, now_ms):
                self._call_if_new(owner, delivery_id, owner.pending[delivery_id], now_ms)

    def _call_if_new(
        self, owner: Completion, delivery_id: str, row: DeliveryRow, now_ms: int
    ) -> None:
        trial = row.trials + 1
        known = self._under_way.get(delivery_id)
        result = owner.result_of(row.request_id)
        if result is None or (known is not None and known[0] == trial):
            return
        self._under_way[delivery_id] = (trial, now_ms)
        self.world.after(
            1 + int(self.world.chance() * 50),
            lambda: self._call(delivery_id, row, result),
            self.process,
        )

    def _call(self, delivery_id: str, row: DeliveryRow, result: Any) -> None:
        world = self.world
        hit = world.passes(self.process)
        if hit == "kill":
            return
        told_id = self._told_id(delivery_id, row)
        status = world.witness.receive_webhook(told_id, row, result)
        if hit == "freeze":
            self.process.held.append(lambda: self._report(delivery_id, row, status))
        else:
            self._report(delivery_id, row, status)

    @staticmethod
    def _told_id(delivery_id: str, _row: DeliveryRow) -> str:
        return delivery_id

    def _report(self, delivery_id: str, row: DeliveryRow, status: int) -> None:
        if self.world.passes(self.process) in ("kill", "freeze"):
            return  # a report lost is a call more
        if self.process.fenced and self.world.shell.minds_fence:
            self.process.die()
            return
        error = None if status else "no answer"
        report = DeliveryTried(
            row.request_id, self.process.now_ms, delivery_id, row.trials + 1, status, error
        )
        self.world.broker.append(EXPORT_SETTLEMENTS, row.request_id, report)
