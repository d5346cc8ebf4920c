"""What the planner knows of its exports, and how it counts ranges."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from app.domain.records import ExportStarted
from app.domain.rows import ProgressRow

ADOPTING, WRITING, ASSEMBLING = "adopting", "writing", "assembling"
ASSEMBLED, FAILED = "assembled", "failed"


@dataclass(slots=True)
class PlannerState:
    """The rows of one partition of `plans` and `progress`."""

    plans: dict[str, ExportStarted] = field(default_factory=dict)
    progress: dict[str, ProgressRow] = field(default_factory=dict)

    def put(self, table: str, key: str, row: Any) -> None:
        """Take over a row as the table has it now; None: the row is gone."""
        rows: dict[str, Any] = getattr(self, table)
        rows.pop(key, None)
        if row is not None:
            rows[key] = row

    def current(self, export_id: str, attempt: str) -> tuple[ExportStarted, ProgressRow] | None:
        """Plan and progress of an attempt; None when it is not the one that runs."""
        plan, progress = self.plans.get(export_id), self.progress.get(export_id)
        if plan is None or progress is None or not attempt == plan.attempt == progress.attempt:
            return None
        return plan, progress

    def torn(self) -> list[str]:
        """Exports of which the broker has lost the plan or the progress, or kept an older one.

        They are forgotten: the registrar starts again what it does not hear of, and ranges that
        a ledger has are not written again.
        """
        known = sorted(self.plans.keys() | self.progress.keys())
        return [export_id for export_id in known if not self._fits(export_id)]

    def running(self) -> list[str]:
        """Exports with plan and progress of one attempt, in a fixed order."""
        return [export_id for export_id in sorted(self.progress) if self._fits(export_id)]

    def _fits(self, export_id: str) -> bool:
        plan, progress = self.plans.get(export_id), self.progress.get(export_id)
        return plan is not None and progress is not None and plan.attempt == progress.attempt


def attempt_order(attempt: str) -> tuple[int, ...]:
    """Put attempts in the order in which they started.

    >>> attempt_order("1700000000000-9") < attempt_order("1700000000000-10")
    True
    """
    return tuple(int(part) for part in attempt.split("-"))


def is_done(progress: ProgressRow, number: int) -> bool:
    """Whether a range has been reported as written."""
    if number < progress.base:
        return True
    byte, bit = divmod(number - progress.base, 8)
    return byte < len(progress.done) and bool(progress.done[byte] >> bit & 1)


def with_done(progress: ProgressRow, number: int) -> ProgressRow:
    """Mark a range as done; the base moves past every range that is done without a gap."""
    bits = int.from_bytes(progress.done, "little") | 1 << (number - progress.base)
    gapless = (~bits & (bits + 1)).bit_length() - 1
    row = _with_bits(progress, progress.base + gapless, bits >> gapless)
    # A broker that died may have forgotten that it was ordered.
    return replace(row, next_range=max(row.next_range, number + 1))


def with_spans_done(progress: ProgressRow, spans: Iterable[tuple[int, int]]) -> ProgressRow:
    """Mark ranges first to last, both inclusive, of each span as done."""
    bits = int.from_bytes(progress.done, "little")
    for first, last in spans:
        start = max(first, progress.base)
        if start <= last:
            bits |= ((1 << (last - start + 1)) - 1) << (start - progress.base)
    gapless = (~bits & (bits + 1)).bit_length() - 1
    row = _with_bits(progress, progress.base + gapless, bits >> gapless)
    return replace(row, next_range=max(row.next_range, progress.base + bits.bit_length()))


def marked_count(progress: ProgressRow) -> int:
    """How many ranges are done."""
    return progress.base + int.from_bytes(progress.done, "little").bit_count()


def with_missing(progress: ProgressRow, first: int, last: int) -> ProgressRow:
    """Mark ranges first to last, both inclusive, as not done."""
    base = min(progress.base, first)
    below = progress.base - base
    bits = int.from_bytes(progress.done, "little") << below | (1 << below) - 1
    bits &= ~((1 << (last - base + 1)) - (1 << (first - base)))
    return _with_bits(progress, base, bits)


def missing_below(progress: ProgressRow, limit: int) -> list[int]:
    """The ranges from base to limit, exclusive, that are not done."""
    return [number for number in range(progress.base, limit) if not is_done(progress, number)]


def _with_bits(progress: ProgressRow, base: int, bits: int) -> ProgressRow:
    done = bits.to_bytes((bits.bit_length() + 7) // 8, "little")
    return replace(progress, base=base, done=done)
