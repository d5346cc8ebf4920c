"""The records that the planner sends, made from its rows alone, so they can be sent again."""

from dataclasses import dataclass

from app.domain.decision import Send
from app.domain.export_cover import ExportCover
from app.domain.records import (
    AdoptShards,
    AssemblePackage,
    ExportAssembled,
    ExportBeat,
    ExportFailed,
    ExportStarted,
    RemoveAttempt,
    TileRunOrdered,
    WriteRange,
)
from app.domain.rows import ProgressRow, RangeLease
from app.domain.tile_range import TileRange
from app.domain.tile_tables import TileTable, TileTables
from app.domain.topic_names import EXPORT_REGISTRY, TILE_RANGE_WORK
from app.planning.state import ASSEMBLED, FAILED


@dataclass(frozen=True, slots=True)
class Order:
    """What it takes to order work of one export: its plan, its cover, the time, the offset."""

    plan: ExportStarted
    cover: ExportCover
    now_ms: int
    offset: int

    @property
    def range_count(self) -> int:
        """Ranges of the export."""
        return self.cover.range_count(self.plan.package.tiles_per_range)

    @property
    def tables(self) -> TileTables:
        """The tile tables of the package."""
        package = self.plan.package
        return self.cover.tile_tables(package.table, package.tiles_per_range)


def report(row: ProgressRow, order: Order) -> Send:
    """What the registrar hears of an export: that it ended, and how, or how far it is."""
    plan = order.plan
    if row.phase == ASSEMBLED and row.facts is not None:
        ended = ExportAssembled(plan.export_id, plan.attempt, order.now_ms, row.facts)
        return Send(EXPORT_REGISTRY, plan.export_id, ended)
    if row.phase == FAILED:
        failed = ExportFailed(
            export_id=plan.export_id,
            attempt=plan.attempt,
            at_ms=order.now_ms,
            reason=row.reason or "unknown",
            may_continue=row.may_continue,
        )
        return Send(EXPORT_REGISTRY, plan.export_id, failed)
    beat = ExportBeat(
        export_id=plan.export_id,
        attempt=plan.attempt,
        at_ms=order.now_ms,
        phase=row.phase,
        # A range that was lost and written again counts twice; never tell more than there are.
        tiles_done=min(row.tiles_done, plan.tile_count),
        tiles_missing=min(row.tiles_missing, plan.tile_count),
        bytes_written=row.bytes_written,
    )
    return Send(EXPORT_REGISTRY, plan.export_id, beat)


def range_order(lease: RangeLease, order: Order) -> Send:
    """Write one range; an export of one range is assembled right away."""
    plan = order.plan
    tile_range: TileRange = order.cover.range_at(lease.range_number, plan.package.tiles_per_range)
    # One lane: for a byte copy from a disk one writer is fastest (design.md, lanes and shards).
    lane = 0
    only = order.range_count == 1
    record = WriteRange(
        export_id=plan.export_id,
        attempt=plan.attempt,
        at_ms=order.now_ms,
        lane=lane,
        range_number=lease.range_number,
        runs=tuple(
            TileRunOrdered(run.zoom, run.min_col, run.max_col, run.min_row, run.max_row)
            for run in tile_range.runs
        ),
        table=order.tables.of_range(lease.range_number),
        tables=_told(order.tables),
        source_json=plan.source_json,
        on_error=plan.package.on_error,
        lease_until_ms=lease.until_ms,
        trial=lease.trial,
        then_assemble=_assembly(plan, order, lease.until_ms, lease.sent) if only else None,
    )
    return Send(TILE_RANGE_WORK, f"{plan.export_id}/{lane}", record)


def _told(tables: TileTables) -> tuple[TileTable, ...]:
    """The tables that `table` does not tell of already."""
    return tables.tables if len(tables.tables) > 1 else ()


def _assembly(plan: ExportStarted, order: Order, until_ms: int, sent: int) -> AssemblePackage:
    return AssemblePackage(
        export_id=plan.export_id,
        attempt=plan.attempt,
        at_ms=order.now_ms,
        package=plan.package,
        range_count=order.range_count,
        lease_until_ms=until_ms,
        trial=max(0, sent - 1),
    )


def assembly_order(row: ProgressRow, order: Order) -> Send:
    """Make the package."""
    record = _assembly(order.plan, order, row.task_until_ms, row.task_sent)
    # The lane whose worker has the shard's pages in its cache, when it is alive.
    return Send(TILE_RANGE_WORK, f"{order.plan.export_id}/0", record)


def adoption_order(row: ProgressRow, order: Order) -> Send:
    """Take the shards of the attempt that this one goes on with."""
    plan = order.plan
    record = AdoptShards(
        export_id=plan.export_id,
        attempt=plan.attempt,
        at_ms=order.now_ms,
        continues=plan.continues or "",
        table=plan.package.table,
        tables=_told(order.tables),
        lease_until_ms=row.task_until_ms,
    )
    # The key of the removals, too: the same attempt is never adopted and removed side by side.
    return Send(TILE_RANGE_WORK, f"{plan.export_id}/0", record)


def removal_order(export_id: str, attempt: str, now_ms: int) -> Send:
    """Remove the files of an attempt that is over."""
    return Send(TILE_RANGE_WORK, f"{export_id}/0", RemoveAttempt(export_id, attempt, now_ms))
