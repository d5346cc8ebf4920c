"""Agent loops and workers that do things wrongly, for `mutations`."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from app.domain.decision import Decision
from tests.simulation.asked import cut_covers
from tests.simulation.coordinator import ACK, APPLY, CONFIRM, FENCE, SEND, STORE, Shell, Step
from tests.simulation.violation import Violation
from tests.simulation.work_model import WorkModel


class _Ordered(Shell):
    """A loop that does things in another order."""

    order: tuple[str, ...] = ()

    def steps(self, decision: Decision) -> Iterator[Step]:
        steps = list(super().steps(decision))
        return iter(sorted(steps, key=lambda step: self.order.index(step[0])))


class AcksFirst(_Ordered):
    """Acknowledges before anything is stored."""

    order = (ACK, FENCE, STORE, CONFIRM, APPLY, SEND, "bury")


class AcksBeforeSends(_Ordered):
    """Acknowledges when the rows are stored, before the records are sent."""

    order = (FENCE, STORE, CONFIRM, APPLY, ACK, SEND, "bury")


class SendsFirst(_Ordered):
    """Sends before the rows are stored."""

    order = (FENCE, SEND, APPLY, STORE, CONFIRM, "bury", ACK)


class StoresBackwards(Shell):
    """Stores the row that marks a replay first."""

    def steps(self, decision: Decision) -> Iterator[Step]:
        return super().steps(replace(decision, stores=tuple(reversed(decision.stores))))


class ForgetsSends(Shell):
    """Stores, and leaves every sending to later repetitions."""

    def steps(self, decision: Decision) -> Iterator[Step]:
        return super().steps(replace(decision, sends=decision.sends[:1]))


class NoFence(Shell):
    """A process that lost its partitions goes on."""

    minds_fence = False


class TicksOnce(Shell):
    """A Tick that got lost is never sent again."""

    tick_timeout_ms = None


class WorkerAcksFirst(Shell):
    """The loop without tables acknowledges before it sends."""

    worker_acks_first = True


class RenamesFirst(WorkModel):
    """A shard gets its name before it is whole."""

    def naming(self, memory: Any, key: Any, shard: Any) -> Any:
        self.name(memory, key, shard)
        yield 30
        shard.owner, shard.whole = memory.owner, True


class TrustsThePlanner(WorkModel):
    """The assembler does not compare the ledgers with the plan."""

    def missing(self, _shards: Any, _order: Any) -> Any:
        return ()


class PackageBeforeMetadata(WorkModel):
    """The package gets its name before its metadata."""

    def links(self, disk: Any, folder: Any, sealed: Any, facts: Any) -> Any:
        disk.link_package(folder, sealed)
        yield 1
        disk.link_metadata(folder, facts)


class ReportsBeforeCommit(WorkModel):
    """The range is reported before its transaction ends."""

    def write_range(self, memory: Any, shard: Any, order: Any) -> Any:
        try:
            return (yield from super().write_range(memory, shard, order))
        except Violation:
            raise
        except Exception:  # noqa: BLE001 - that is the mistake
            return cut_covers()[order.export_id].counts_of(order.runs)
