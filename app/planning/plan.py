"""Decide which ranges are written next, when one is written again, and when they are assembled."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from app.domain.decision import NOTHING, Decision, Send, Store
from app.domain.records import (
    AssemblyBeat,
    AssemblyFailed,
    ExportAssembled,
    ExportStopped,
    FilesRemoved,
    PackageAssembled,
    RangesMissing,
    RangeUnreadable,
    RangeWritten,
    RemoveAttempt,
    ShardsAdopted,
)
from app.domain.rows import ProgressRow, RangeLease
from app.domain.topic_names import EXPORT_REGISTRY
from app.planning.orders import (
    Order,
    adoption_order,
    assembly_order,
    range_order,
    removal_order,
    report,
)
from app.planning.state import (
    ADOPTING,
    ASSEMBLED,
    ASSEMBLING,
    FAILED,
    WRITING,
    PlannerState,
    attempt_order,
    is_done,
    marked_count,
    missing_below,
    with_done,
    with_missing,
    with_spans_done,
)

BEAT_MS = 5_000
"""How often an export tells the registrar how far it is, ms."""

LEASE_MS = 120_000
"""How long a range or an assembly may be silent before it is sent again, ms; doubles each time."""

BEAT_LEASE_MS = 30_000
"""How long an assembly that has beaten may be silent, ms: it beats every 5 s."""

MAX_MISSING_ROUNDS = 10
"""A disk that loses what was written so often is broken: the export fails with that reason."""

MAX_ADOPTIONS = 3
"""Shards that cannot be taken over in so many tries are left, and all ranges are written."""

LEASE_DOUBLINGS = 6
"""Beyond 2**6 x 120 s a longer lease only makes people wait."""

MAX_TRIALS = 5
"""An unreadable range is tried so often before the export fails."""

RETRY_MS = 1_000
"""Wait before the second try of an unreadable range, ms; four times as long each time."""

WINDOW = 3
"""Ranges outstanding per export: the worker always has the next, a stop acts soon."""

URGENT_WINDOW = 6
"""The same for more than the default priority."""

DEFAULT_PRIORITY = 1_000

MAX_SPAN = 4_096
"""A straggler holds planning back after so many ranges, so that the bitmap stays small."""


@dataclass(slots=True)
class Planned:
    """A progress row on its way to the next, and the work that this orders."""

    row: ProgressRow
    work: list[Send] = field(default_factory=list)

    def decision(self, order: Order, *more: Send) -> Decision:
        """Store the row, send the work."""
        row = replace(self.row, written_by_offset=order.offset)
        return Decision(
            stores=(Store("progress", order.plan.export_id, row),), sends=(*self.work, *more)
        )


def begin(state: PlannerState, order: Order) -> Decision:
    """Start an attempt with a window of ranges.

    A replay of the record that wrote the row sends the window again. A start that comes once
    more, because the registrar has not heard of the attempt for a while, is answered with how
    far it is: after an hour of silence there are a hundred of them.
    """
    record = order.plan
    known = state.progress.get(record.export_id)
    if known is not None and known.attempt == record.attempt:
        first = replace_plan(order, state)
        replayed = order.offset <= known.written_by_offset
        return resend(known, first) if replayed else Decision(sends=(report(known, first),))
    if known is not None and attempt_order(known.attempt) > attempt_order(record.attempt):
        return NOTHING
    row = ProgressRow(
        attempt=record.attempt,
        phase=WRITING,
        base=0,
        done=b"",
        next_range=0,
        leases=(),
        beat_at_ms=order.now_ms,
        written_by_offset=order.offset,
    )
    planned = Planned(row)
    if record.continues is None:
        fill_window(planned, order)
    else:
        _adopt(planned, order)
    decision = planned.decision(order)
    plan = Store("plans", record.export_id, record)
    return replace(decision, stores=(plan, *decision.stores))


def replace_plan(order: Order, state: PlannerState) -> Order:
    """The order with the plan as it was stored first."""
    return replace(order, plan=state.plans.get(order.plan.export_id, order.plan))


def resend(row: ProgressRow, order: Order) -> Decision:
    """Send again whatever the row says is outstanding; what was done already is answered so."""
    if row.phase in (ASSEMBLED, FAILED):
        return Decision(sends=(report(row, order),))
    if row.phase == ADOPTING:
        return Decision(sends=(adoption_order(row, order),))
    if row.phase == ASSEMBLING:
        return Decision(sends=(assembly_order(row, order),))
    return Decision(sends=tuple(range_order(lease, order) for lease in row.leases))


def shards_adopted(row: ProgressRow, record: ShardsAdopted, order: Order) -> Decision:
    """Count the ranges of the shards that were taken over as done, and order the others.

    An answer that comes late changes nothing: what it tells of is in the ledgers.
    """
    if row.phase != ADOPTING:
        replayed = order.offset <= row.written_by_offset
        return resend(row, order) if replayed else NOTHING
    spans = [
        (span.first, min(span.last, order.range_count - 1))
        for span in record.spans
        if span.first < order.range_count
    ]
    row = with_spans_done(replace(row, phase=WRITING, task_until_ms=0, task_sent=0), spans)
    per_range, tile_count = order.plan.package.tiles_per_range, order.plan.tile_count
    tiles = min(tile_count, marked_count(row) * per_range)
    planned = Planned(replace(row, tiles_done=tiles))
    fill_window(planned, order)
    return planned.decision(order)


def range_written(row: ProgressRow, record: RangeWritten, order: Order) -> Decision:
    """Count a range as done and order the next; after the last, order the assembly.

    A replay of the record that wrote the row sends the window again, for the sends may have
    been lost with the process. A duplicate, which a lease may cause, changes nothing: if it
    sent the window again, duplicates would breed.
    """
    if row.phase != WRITING or is_done(row, record.range_number):
        replayed = order.offset <= row.written_by_offset
        return resend(row, order) if replayed else NOTHING
    counts = record.zooms
    row = replace(
        with_done(row, record.range_number),
        leases=tuple(lease for lease in row.leases if lease.range_number != record.range_number),
        tiles_done=row.tiles_done + sum(zoom.expected for zoom in counts),
        tiles_missing=row.tiles_missing + sum(zoom.missing + zoom.skipped for zoom in counts),
        bytes_written=row.bytes_written + sum(zoom.tile_bytes for zoom in counts),
    )
    planned = Planned(row)
    fill_window(planned, order)
    return planned.decision(order)


def range_unreadable(row: ProgressRow, record: RangeUnreadable, order: Order) -> Decision:
    """Plan an unreadable range again after a while; give up when no try can help any more."""
    if row.phase != WRITING or is_done(row, record.range_number):
        return NOTHING
    if record.fatal or record.trial + 1 >= MAX_TRIALS:
        return fail(row, record.reason, order, may_continue=not record.fatal)
    wait_ms = RETRY_MS * 4**record.trial
    leases = tuple(
        replace(lease, until_ms=order.now_ms + wait_ms, trial=record.trial + 1)
        if lease.range_number == record.range_number and lease.trial == record.trial
        else lease
        for lease in row.leases
    )
    return Planned(replace(row, leases=leases)).decision(order)


def ranges_missing(row: ProgressRow, record: RangesMissing, order: Order) -> Decision:
    """Believe the ledgers: plan the ranges that they lack again, unless that never ends.

    A replay plans them once more, which costs a range and counts a round.
    """
    if row.phase not in (WRITING, ASSEMBLING):
        return NOTHING
    if row.missing_rounds >= MAX_MISSING_ROUNDS:
        return fail(row, f"written ranges were lost {row.missing_rounds} times in a row", order)
    for span in record.spans:
        row = with_missing(row, span.first, span.last)
    row = replace(row, phase=WRITING, task_until_ms=0, missing_rounds=row.missing_rounds + 1)
    planned = Planned(row)
    fill_window(planned, order)
    return planned.decision(order)


def assembly_beat(row: ProgressRow, _record: AssemblyBeat, order: Order) -> Decision:
    """Renew the lease of an assembly that is alive."""
    if row.phase != ASSEMBLING:
        return NOTHING
    return Planned(replace(row, task_until_ms=order.now_ms + BEAT_LEASE_MS)).decision(order)


def package_assembled(row: ProgressRow, record: PackageAssembled, order: Order) -> Decision:
    """Report the package; a replay reports it again."""
    if row.phase in (ASSEMBLED, FAILED):
        return Decision(sends=(report(row, order),))
    facts = record.facts
    row = replace(
        row,
        phase=ASSEMBLED,
        leases=(),
        facts=facts,
        tiles_done=facts.expected,
        tiles_missing=facts.missing,
        beat_at_ms=order.now_ms,
    )
    return Planned(row).decision(order, report(row, order))


def assembled_late(record: PackageAssembled, now_ms: int) -> Decision:
    """Pass on a package of an attempt that is not planned any more.

    Mostly the registrar knows it. But an order that came out of the past may have made the
    package again after somebody removed it by hand: the file is another one then.
    """
    told = ExportAssembled(record.export_id, record.attempt, now_ms, record.facts, late=True)
    return Decision(sends=(Send(EXPORT_REGISTRY, record.export_id, told),))


def assembly_failed(row: ProgressRow, record: AssemblyFailed, order: Order) -> Decision:
    """End an attempt whose package cannot be made; a replay reports it again."""
    if row.phase in (ASSEMBLED, FAILED):
        return Decision(sends=(report(row, order),))
    return fail(row, record.reason, order)


def fail(row: ProgressRow, reason: str, order: Order, *, may_continue: bool = False) -> Decision:
    """End an attempt with its reason; a later one may go on with its ranges, or must not."""
    row = replace(
        row,
        phase=FAILED,
        leases=(),
        reason=reason,
        may_continue=may_continue,
        beat_at_ms=order.now_ms,
    )
    return Planned(row).decision(order, report(row, order))


def stop(state: PlannerState, record: ExportStopped) -> Decision:
    """Forget an attempt that is over; one that started since is left alone."""
    known = state.progress.get(record.export_id)
    if known is None or attempt_order(known.attempt) > attempt_order(record.attempt):
        return NOTHING
    return forget(record.export_id)


def remove(state: PlannerState, record: RemoveAttempt, now_ms: int) -> Decision:
    """Let a worker remove the files of an attempt, and forget the attempt if it is known.

    Nothing is kept: the registrar orders it again until it hears that the files are gone.
    """
    known = state.progress.get(record.export_id)
    ended = known is not None and known.attempt == record.attempt
    order = removal_order(record.export_id, record.attempt, now_ms)
    return Decision(forget(record.export_id).stores if ended else (), (order,))


def removed(record: FilesRemoved) -> Decision:
    """Tell the registrar that the files are gone."""
    return Decision(sends=(Send(EXPORT_REGISTRY, record.export_id, record),))


def forget(export_id: str) -> Decision:
    """Drop the rows of an export."""
    return Decision(stores=(Store("plans", export_id, None), Store("progress", export_id, None)))


def tick(
    state: PlannerState, order_of: Callable[[str], Order], now_ms: int
) -> tuple[Decision, ...]:
    """Send what its lease has lost, and beat for every running export that is due."""
    due = [
        export_id
        for export_id in state.running()
        if row_due_at_ms(state.progress[export_id]) <= now_ms
    ]
    return tuple(_heal(state.progress[export_id], order_of(export_id)) for export_id in due)


def row_due_at_ms(row: ProgressRow) -> int:
    """When an export next has something to send, ms since 1970 UTC."""
    due = [row.beat_at_ms + BEAT_MS, *(lease.until_ms for lease in row.leases)]
    if row.phase in (ADOPTING, ASSEMBLING):
        due.append(row.task_until_ms)
    return min(due)


def fill_window(planned: Planned, order: Order) -> None:
    """Order ranges until the window is full; order the assembly when every range is done."""
    row = planned.row
    if row.base >= order.range_count:
        row = planned.row = _task_sent(replace(row, phase=ASSEMBLING), order)
        planned.work.append(assembly_order(row, order))
        return
    size = URGENT_WINDOW if order.plan.priority > DEFAULT_PRIORITY else WINDOW
    leases = list(row.leases)
    free = size - len(leases)
    chosen = _next_numbers(row, order.range_count, free) if free > 0 else []
    for number in chosen:
        lease = RangeLease(number, until_ms=_lease_end(order.now_ms, 0), sent=1, trial=0)
        leases.append(lease)
        planned.work.append(range_order(lease, order))
    next_range = max([row.next_range, *(number + 1 for number in chosen)])
    planned.row = replace(row, leases=tuple(leases), next_range=next_range)


def _next_numbers(row: ProgressRow, range_count: int, wanted: int) -> list[int]:
    """The next ranges to order: first those that were lost, then those never ordered."""
    leased = {lease.range_number for lease in row.leases}
    done_above_base = int.from_bytes(row.done, "little").bit_count()
    lost: Iterable[int] = ()
    if row.next_range - row.base - done_above_base > len(leased):
        lost = (n for n in missing_below(row, row.next_range) if n not in leased)
    fresh = range(row.next_range, min(range_count, row.base + MAX_SPAN))
    return [*lost, *fresh[:wanted]][:wanted]


def _adopt(planned: Planned, order: Order) -> None:
    """Order the adoption; after some tries without an answer write everything."""
    row = planned.row
    if row.task_sent >= MAX_ADOPTIONS:
        planned.row = replace(row, phase=WRITING, task_until_ms=0, task_sent=0)
        fill_window(planned, order)
        return
    planned.row = _task_sent(replace(row, phase=ADOPTING), order)
    planned.work.append(adoption_order(planned.row, order))


def _task_sent(row: ProgressRow, order: Order) -> ProgressRow:
    until_ms = _lease_end(order.now_ms, row.task_sent)
    return replace(row, task_until_ms=until_ms, task_sent=row.task_sent + 1)


def _heal(row: ProgressRow, order: Order) -> Decision:
    planned = Planned(row)
    if row.phase == ADOPTING and row.task_until_ms <= order.now_ms:
        _adopt(planned, order)
        row = planned.row
    elif row.phase == ASSEMBLING and row.task_until_ms <= order.now_ms:
        row = _task_sent(row, order)
        planned.work.append(assembly_order(row, order))
    leases: list[RangeLease] = []
    for lease in row.leases:
        renewed = lease
        if lease.until_ms <= order.now_ms:
            renewed = replace(
                lease, until_ms=_lease_end(order.now_ms, lease.sent), sent=lease.sent + 1
            )
            planned.work.append(range_order(renewed, order))
        leases.append(renewed)
    row = replace(row, leases=tuple(leases))
    if row.phase == WRITING:
        # Rows that a dying broker tore may have room in the window that nothing else would fill.
        planned.row = replace(
            row, leases=tuple(one for one in leases if not is_done(row, one.range_number))
        )
        fill_window(planned, order)
        row = planned.row
    if row.beat_at_ms + BEAT_MS <= order.now_ms:
        row = replace(row, beat_at_ms=order.now_ms)
        planned.work.append(report(row, order))
    planned.row = row
    return planned.decision(order)


def _lease_end(now_ms: int, sent: int) -> int:
    return now_ms + (LEASE_MS << min(sent, LEASE_DOUBLINGS))
