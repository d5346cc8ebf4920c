"""What the registrar knows: the rows of its tables, and the indexes that follow from them."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Any

from app.domain.agenda import Agenda
from app.domain.records import ProgressChange
from app.domain.rows import AreaRow, BodyRow, ExportRow, LayerRow, RequestRow

WAITING, RUNNING, COMPLETED, FAILED = "waiting", "running", "completed", "failed"
CANCELLED, EXPIRED = "cancelled", "expired"
LIVE = frozenset({WAITING, RUNNING})
OPEN, SETTLED, CONFIRMED = "open", "settled", "confirmed"

CHANGES_KEPT = 20


@dataclass(frozen=True, slots=True)
class RegistrarRules:
    """The settings that the registrar decides by.

    Attributes:
        base_url: What download addresses start with, no slash at the end.
        package_ms: How long a finished package is offered, ms.
        max_running: Exports that run at once, count.
        range_bytes: Size that a range should have, bytes.
        range_tiles: Most tiles of a range, count; tiny tiles cost time, too.
        grace_ms: How long files that may still be in somebody's hands stay, ms.
    """

    base_url: str
    package_ms: int
    max_running: int
    range_bytes: int
    range_tiles: int
    grace_ms: int


@dataclass(frozen=True, slots=True)
class Moment:
    """When and where a decision is made; both come from the record, never from a clock.

    Attributes:
        now_ms: The largest time seen so far, ms since 1970 UTC.
        offset: Offset of the record in the registrar's inbox.
    """

    now_ms: int
    offset: int

    @property
    def attempt(self) -> str:
        """Name of an attempt that starts now."""
        return f"{self.now_ms}-{self.offset}"


def changed(
    changes: tuple[ProgressChange, ...], told: str, moment: Moment
) -> tuple[ProgressChange, ...]:
    """Add a change to an export's history, which keeps the last 20."""
    return (*changes, ProgressChange(moment.now_ms, told))[-CHANGES_KEPT:]


@dataclass(slots=True)
class RegistrarState:
    """Rows by key, and indexes; `put` is the only way in, so that the indexes stay true."""

    requests: dict[str, RequestRow] = field(default_factory=dict)
    bodies: dict[str, BodyRow] = field(default_factory=dict)
    exports: dict[str, ExportRow] = field(default_factory=dict)
    areas: dict[str, AreaRow] = field(default_factory=dict)
    layers: dict[str, LayerRow] = field(default_factory=dict)
    open_by_export: dict[str, set[str]] = field(default_factory=dict)
    first_by_repeat_key: dict[str, str] = field(default_factory=dict)
    untold: OrderedDict[str, int] = field(default_factory=OrderedDict)
    """Settled, not confirmed: request id to when RequestSettled was last sent, oldest first."""
    waiting: Agenda = field(default_factory=Agenda)
    """Exports that wait, the most urgent first."""
    running: set[str] = field(default_factory=set)
    expiring: Agenda = field(default_factory=Agenda)
    """Finished exports by the time at which their package is no longer offered, ms."""
    removing: Agenda = field(default_factory=Agenda)
    """Exports with files to be removed, by the time of the next removal, ms."""
    forgettable: OrderedDict[str, int] = field(default_factory=OrderedDict)
    """Confirmed or cancelled: request id to its acceptance, in about the order of that."""
    _reserved_bytes: int = 0

    def put(self, table: str, key: str, row: Any) -> None:
        """Take over a row as the table has it now; None: the row is gone."""
        rows: dict[str, Any] = getattr(self, table)
        old = rows.pop(key, None)
        if row is not None:
            rows[key] = row
        if table == "requests":
            self._index_request(key, old, row)
        elif table == "exports":
            self._index_export(key, old, row)

    def _index_export(self, key: str, old: ExportRow | None, row: ExportRow | None) -> None:
        self._reserved_bytes += _reserved(row) - _reserved(old)
        self.running.discard(key)
        if row is not None and row.state == RUNNING:
            self.running.add(key)
        waits = row is not None and row.state == WAITING
        _note(self.waiting, key, _rank(row) if row is not None and waits else None)
        expires = row is not None and row.state == COMPLETED
        _note(self.expiring, key, row.expires_at_ms if row is not None and expires else None)
        removals = row.removals if row is not None else ()
        _note(self.removing, key, min((known.due_at_ms for known in removals), default=None))

    def _index_request(self, key: str, old: RequestRow | None, row: RequestRow | None) -> None:
        if old is not None and old.export_id is not None:
            still_open = self.open_by_export.get(old.export_id, set())
            still_open.discard(key)
            if not still_open:
                self.open_by_export.pop(old.export_id, None)
        self.untold.pop(key, None)
        self.forgettable.pop(key, None)
        if row is None:
            if old is not None and self.first_by_repeat_key.get(old.repeat_key or "") == key:
                del self.first_by_repeat_key[old.repeat_key or ""]
            return
        if row.state == OPEN and row.export_id is not None:
            self.open_by_export.setdefault(row.export_id, set()).add(key)
        elif row.state == SETTLED:
            self.untold[key] = row.told_at_ms
        elif row.state in (CONFIRMED, CANCELLED):
            self.forgettable[key] = row.accepted_at_ms
        if row.repeat_key is not None and row.repeats is None:
            self._index_first(row.repeat_key, key, row)

    def _index_first(self, repeat_key: str, key: str, row: RequestRow) -> None:
        known = self.requests.get(self.first_by_repeat_key.get(repeat_key, ""))
        if known is None or known.accepted_at_ms <= row.accepted_at_ms:
            self.first_by_repeat_key[repeat_key] = key

    def is_live(self, export_id: str) -> bool:
        """Whether an export waits or runs."""
        return export_id in self.waiting or export_id in self.running

    def body_of(self, request_id: str) -> BodyRow:
        """The bulk of a request; an empty one when the broker has lost it."""
        return self.bodies.get(request_id) or BodyRow(None, None, ())

    def requests_of(self, export_id: str) -> list[str]:
        """The open requests of an export, in a fixed order."""
        return sorted(self.open_by_export.get(export_id, ()))

    def next_waiting(self) -> Iterator[str]:
        """The waiting exports, the next one first; do not store any meanwhile."""
        return self.waiting.up_to(inf)

    def reserved_bytes(self) -> int:
        """Space that live exports may still need: derived from rows, so it cannot leak."""
        return self._reserved_bytes

    def mean_bytes(self, layer_id: str, zoom: int, otherwise: int) -> int:
        """Mean tile size of a layer at a zoom, learned from finished exports, bytes."""
        row = self.layers.get(layer_id)
        for mean in row.means if row is not None else ():
            if mean.zoom == zoom:
                return mean.mean_bytes
        return otherwise


def _note(agenda: Agenda, key: str, number: float | None) -> None:
    if number is None:
        agenda.drop(key)
    else:
        agenda.put(key, number)


def _rank(row: ExportRow) -> float:
    """Put waiting exports in order, the lowest first.

    Larger priorities go first; 100 s of waiting are worth 1,000, the default priority, so that
    nothing starves behind a stream of slightly more urgent requests. All of them wait equally
    fast, so the order of two never changes.
    """
    return row.queued_at_ms / 100 - row.priority


def _reserved(row: ExportRow | None) -> int:
    if row is None or row.state not in LIVE:
        return 0
    return max(0, row.estimated_bytes * 5 // 4 - row.bytes_written)
