"""The planner: boss of the workers, one owner for each partition of its inbox."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.domain.decision import NOTHING, Decision, Store
from app.domain.export_cover import ExportCover
from app.domain.inbox import InboxPosition
from app.domain.records import (
    AssemblyBeat,
    AssemblyFailed,
    ExportStarted,
    ExportStopped,
    FilesRemoved,
    PackageAssembled,
    RangesMissing,
    RangeUnreadable,
    RangeWritten,
    RemoveAttempt,
    ShardsAdopted,
    Tick,
)
from app.domain.rows import ProgressRow
from app.planning import plan
from app.planning.orders import Order
from app.planning.state import PlannerState

TABLES = ("plans", "progress")

NEWS: dict[type, Callable[[ProgressRow, Any, Order], Decision]] = {
    ShardsAdopted: plan.shards_adopted,
    RangeWritten: plan.range_written,
    RangeUnreadable: plan.range_unreadable,
    RangesMissing: plan.ranges_missing,
    AssemblyBeat: plan.assembly_beat,
    AssemblyFailed: plan.assembly_failed,
    PackageAssembled: plan.package_assembled,
}

COVERS_KEPT = 64
"""Covers kept ready; more would only serve more running exports than there may be."""


@dataclass(slots=True)
class Covers:
    """The tile covers of running exports: derived from their plans, so any may be dropped."""

    ready: OrderedDict[tuple[str, str], ExportCover] = field(default_factory=OrderedDict)

    def has(self, started: ExportStarted) -> bool:
        """Whether the cover of a plan is ready."""
        return (started.export_id, started.attempt) in self.ready

    def of(self, started: ExportStarted) -> ExportCover:
        """The cover of a plan, from memory or computed; costs CPU time for large polygons."""
        key = (started.export_id, started.attempt)
        cover = self.ready.get(key)
        if cover is None:
            # Admission has refused what has too many tiles; the plan is not judged again.
            cover = ExportCover.of_plan(started.package, max_tiles=started.tile_count)
        self.ready[key] = cover
        self.ready.move_to_end(key)
        while len(self.ready) > COVERS_KEPT:
            self.ready.popitem(last=False)
        return cover


@dataclass(slots=True)
class Planner:
    """Owner of one partition of the planner's tables."""

    covers: Covers
    state: PlannerState = field(default_factory=PlannerState)
    now_ms: int = 0

    def load(self, table: str, key: str, row: Any) -> None:
        """Take over a row as the table has it."""
        self.state.put(table, key, row)
        self.now_ms = max(self.now_ms, getattr(row, "beat_at_ms", 0))

    def decide(self, record: Any, position: InboxPosition) -> Decision:
        """Decide about one record; changes nothing itself.

        Running twice is harmless: a replay finds its row and sends the outstanding window
        again; ranges are marked in a bitmap, never counted; news of other attempts are ignored.
        """
        now_ms = max(self.now_ms, record.at_ms)
        match record:
            case ExportStarted():
                cover = self.covers.of(record)
                return plan.begin(self.state, Order(record, cover, now_ms, position.offset))
            case ExportStopped():
                return plan.stop(self.state, record)
            case RemoveAttempt():
                return plan.remove(self.state, record, now_ms)
            case Tick():
                return self._tick(now_ms, position.offset)
            case _:
                return self._hear(record, now_ms, position.offset)

    def plans_wanted(self, record: Any) -> list[ExportStarted]:
        """The plans whose covers `decide` will look at for a record; there may be too many."""
        if isinstance(record, ExportStarted):
            return [record]
        if isinstance(record, Tick):
            return [self.state.plans[export_id] for export_id in self.state.running()]
        if type(record) in NEWS:
            current = self.state.current(record.export_id, record.attempt)
            return [current[0]] if current is not None else []
        return []

    def _hear(self, record: Any, now_ms: int, offset: int) -> Decision:
        """Decide about news of a running attempt; of any other attempt they are ignored."""
        if isinstance(record, FilesRemoved):
            return plan.removed(record)
        if type(record) not in NEWS:
            return NOTHING
        current = self.state.current(record.export_id, record.attempt)
        if current is None:
            late = isinstance(record, PackageAssembled)
            return plan.assembled_late(record, now_ms) if late else NOTHING
        started, row = current
        order = Order(started, self.covers.of(started), now_ms, offset)
        return NEWS[type(record)](row, record, order)

    def _tick(self, now_ms: int, offset: int) -> Decision:
        def order_of(export_id: str) -> Order:
            started = self.state.plans[export_id]
            return Order(started, self.covers.of(started), now_ms, offset)

        decisions = plan.tick(self.state, order_of, now_ms)
        forgotten = [plan.forget(export_id) for export_id in self.state.torn()]
        return Decision(
            stores=tuple(store for found in (*forgotten, *decisions) for store in found.stores),
            sends=tuple(send for decision in decisions for send in decision.sends),
        )

    def apply(self, store: Store) -> None:
        """Take over a row that the broker has confirmed."""
        self.load(store.table, store.key, store.row)

    def due_at_ms(self) -> int | None:
        """When a Tick is wanted, ms since 1970 UTC; None: nothing runs."""
        if self.state.torn():
            return 0
        rows = self.state.progress.values()
        return min((plan.row_due_at_ms(row) for row in rows), default=None)
