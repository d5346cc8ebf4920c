"""The one dispatcher of the work that the planner orders: ranges are written, packages assembled.

Consumes:  tile-range-work, key export_id/lane; four side by side, one shard at a time
Produces:  RangeWritten, RangeUnreadable, PackageAssembled, ShardsAdopted, FilesRemoved and more
           to export-plans
Delivery:  at least once; a range in the ledger is answered without reading, a published
           package is read and told again, shards that moved are told of again, files that are
           gone are gone
Failures:  unreadable tiles and a full disk are reported to the planner, which decides; an order
           at which the process died three times fails its export
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

import structlog

from app.domain.decision import NOTHING, Decision, Record, Send
from app.domain.inbox import InboxPosition
from app.domain.records import (
    AdoptShards,
    AssemblePackage,
    AssemblyFailed,
    RangeUnreadable,
    RangeWritten,
    RemoveAttempt,
    WriteRange,
)
from app.domain.topic_names import EXPORT_PLANS, TILE_RANGE_WORK
from app.kafka.edge import Edge
from app.kafka.task_agent import TaskAgent, attach_handlers
from app.writing.range_writer import RangeWriter

log = structlog.get_logger(__name__)

SIDE_BY_SIDE = 4
"""Orders in hand: small exports pass a giant, whose ranges wait for one another."""


class Assembler(Protocol):
    """Makes packages; the assembly stage is the real one."""

    async def assemble(self, order: AssemblePackage) -> Sequence[Send]:
        """Make a small package now and return the report."""

    def start(self, order: AssemblePackage) -> None:
        """Make a package in the background."""


class Caretaker(Protocol):
    """Moves and removes the files of attempts; `app.writing.caretaker` is the real one."""

    async def adopt(self, order: AdoptShards) -> Sequence[Send]:
        """Take the shards of a failed attempt over."""

    async def remove(self, order: RemoveAttempt) -> Sequence[Send]:
        """Remove the files of an attempt."""


def attach(
    edge: Edge,
    writer: RangeWriter,
    assembler: Assembler,
    caretaker: Caretaker,
    *,
    is_published: Callable[[str, str], Awaitable[bool]],
) -> TaskAgent:
    """Add the dispatcher to the worker's app.

    Args:
        edge: What the app's agents share.
        writer: Writes ranges.
        assembler: Makes packages.
        caretaker: Moves and removes files.
        is_published: Whether the package of (export, attempt) stands; then no shard is begun.
    """

    async def write(order: WriteRange, _position: InboxPosition) -> Decision:
        if _too_late(order, edge.now_ms()):
            return NOTHING
        if not await is_published(order.export_id, order.attempt):
            report = await writer.write(order)
            if order.then_assemble is None or not isinstance(report.record, RangeWritten):
                return Decision(sends=(report,))
        if order.then_assemble is None:
            # The package stands, so the range is done. A planner that was rolled back hears so;
            # any other has forgotten the attempt.
            done = RangeWritten(
                order.export_id, order.attempt, edge.now_ms(), order.range_number, ()
            )
            return Decision(sends=(Send(EXPORT_PLANS, order.export_id, done),))
        return Decision(sends=tuple(await assembler.assemble(order.then_assemble)))

    async def assemble(order: AssemblePackage, _position: InboxPosition) -> Decision:
        if not _too_late(order, edge.now_ms()):
            assembler.start(order)
        return NOTHING

    return attach_handlers(
        edge,
        inbox=TILE_RANGE_WORK,
        handlers={
            WriteRange: write,
            AssemblePackage: assemble,
            AdoptShards: partial(_adopt, caretaker, edge.now_ms),
            RemoveAttempt: partial(_remove, caretaker),
        },
        concurrency=SIDE_BY_SIDE,
        on_poison=partial(_give_up, edge.now_ms),
    )


async def _adopt(
    caretaker: Caretaker, now_ms: Callable[[], int], order: AdoptShards, _position: InboxPosition
) -> Decision:
    if _too_late(order, now_ms()):
        return NOTHING
    return Decision(sends=tuple(await caretaker.adopt(order)))


async def _remove(caretaker: Caretaker, order: RemoveAttempt, _position: InboxPosition) -> Decision:
    return Decision(sends=tuple(await caretaker.remove(order)))


def _give_up(now_ms: Callable[[], int], order: Record | None, reason: str) -> Sequence[Send]:
    """Fail the export of an order at which the process died three times."""
    if isinstance(order, WriteRange):
        report: Record = RangeUnreadable(
            export_id=order.export_id,
            attempt=order.attempt,
            at_ms=now_ms(),
            range_number=order.range_number,
            trial=order.trial,
            fatal=True,
            reason=reason,
        )
    elif isinstance(order, AssemblePackage):
        report = AssemblyFailed(order.export_id, order.attempt, now_ms(), reason)
    else:
        return ()
    return (Send(EXPORT_PLANS, order.export_id, report),)


def _too_late(order: WriteRange | AssemblePackage | AdoptShards, now_ms: int) -> bool:
    """Whether the order's lease is over: the planner has sent it again, or will."""
    late = now_ms > order.lease_until_ms
    if late:
        log.info(
            "order_dropped",
            export_id=order.export_id,
            attempt=order.attempt,
            late_ms=now_ms - order.lease_until_ms,
        )
    return late
