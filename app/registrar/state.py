"""What the registrar knows: the rows of its tables, and the indexes that follow from them."""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from itertools import islice
from math import inf
from typing import Any

from app.domain.agenda import Agenda
from app.domain.client_limits import RecentRequests
from app.domain.queue_order import QueueOrder
from app.domain.reservation import still_needed_bytes
from app.domain.rows import AreaRow, BodyRow, ExportRow, LayerRow, RequestRow
from app.registrar.lately import LATELY_MS, Lately
from app.registrar.rules import RegistrarRules

WAITING, RUNNING, COMPLETED, FAILED = "waiting", "running", "completed", "failed"
CANCELLED, EXPIRED = "cancelled", "expired"
LIVE = frozenset({WAITING, RUNNING})
OPEN, SETTLED, CONFIRMED, FORGOTTEN = "open", "settled", "confirmed", "forgotten"

KEPT_BBOX_CHARS = 2_000
"""Longest area that is kept beside the result of a request; boxes have below 100 characters."""

SMALL_RANGES = 3
"""Ranges of an export that a running giant must not hold up: as many as are ordered at once."""

REMEMBER_MS = 14 * 24 * 3600 * 1000
"""How long a request id is remembered at least, so that a replay is known as one, ms."""

REMEMBER_EXPIRED_MS = 7 * 24 * 3600 * 1000
"""How long a request is remembered after its package has expired, as its result is, ms."""


WARNINGS = 2
"""How often an expiry is warned of: whoever dies within the first time does not in both."""

SAY_AGAIN_MS = 10_000
"""Time between two warnings, and between the two words that a request is forgotten, ms."""


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
    waiting: QueueOrder = field(default_factory=QueueOrder)
    waiting_small: QueueOrder = field(default_factory=QueueOrder)
    """Those of the waiting exports that are done within a window; a spare place is theirs."""
    running: set[str] = field(default_factory=set)
    expiring: Agenda = field(default_factory=Agenda)
    """Finished exports by the time at which their package is no longer offered, ms."""
    warnable: Agenda = field(default_factory=Agenda)
    """The same by the end that their callers are warned of next; see `app.registrar.notices`."""
    removing: Agenda = field(default_factory=Agenda)
    """Exports with files to be removed, by the time of the next removal, ms."""
    answered: dict[str, set[str]] = field(default_factory=dict)
    """Export id to the requests that have its package as their result, of any attempt."""
    forgettable: Agenda = field(default_factory=Agenda)
    """Requests that are over, by the time at which they are forgotten, ms."""
    live_by_client: Counter[str] = field(default_factory=Counter)
    """Exports that wait or run, by the client that asked first; no zeros."""
    recent: RecentRequests = field(default_factory=RecentRequests)
    """Requests of the last minute, but for those that were too many."""
    pinning: dict[str, set[str]] = field(default_factory=dict)
    """Export id to the requests that pin its package, of any attempt."""
    torn: set[str] = field(default_factory=set)
    """Exports whose rows do not fit each other, see `app.registrar.mend`."""
    unfounded: set[str] = field(default_factory=set)
    """Requests that were settled with a package of which the export's row says nothing."""
    spent_bodies: Agenda = field(default_factory=Agenda)
    """Requests whose body nobody needs any more, or not whole, by when it goes, ms."""
    changed_lately: Lately = field(default_factory=Lately)
    """Exports that changed right before a takeover, by that time, ms: it has to be told again."""
    told_lately: Lately = field(default_factory=Lately)
    """Requests whose result was confirmed right before a takeover, by that time, ms; infinite: it
    was not, so a confirmation that is read now may be of a result that is lost."""
    recovered_ms: int = 0
    """The newest time in the rows that a takeover has found, ms since 1970 UTC."""
    _reserved_bytes: int = 0

    def put(self, table: str, key: str, row: Any) -> None:
        """Take over a row as the table has it now; None: the row is gone."""
        rows: dict[str, Any] = getattr(self, table)
        old = rows.pop(key, None)
        lately = {"exports": self.changed_lately, "requests": self.told_lately}.get(table)
        if lately is not None and (row is None or row == old or row.state == OPEN):
            lately.drop(key)  # gone, told again, or open again
        if row is not None:
            rows[key] = row
        if table == "requests":
            self._index_request(key, old, row)
            for export_id in {request.export_id for request in (old, row) if request is not None}:
                self._look_for_tears(export_id or "")
        elif table == "exports":
            self._index_export(key, old, row)
        if table in ("requests", "bodies"):
            self._look_at_body(key)
        elif table in ("exports", "areas"):
            self._look_for_tears(key)

    def note_recovered(self, table: str, key: str, row: Any, now_ms: int) -> None:
        """Note a row whose last change others may not have heard of, or have lost again.

        What runs tells of itself soon.
        """
        if table == "exports" and row.state != RUNNING and row.changes:
            self.changed_lately.put(key, row.changes[-1].at_ms)
        elif table == "requests" and row.state in (SETTLED, CONFIRMED):
            self.told_lately.put(key, inf if row.state == SETTLED else row.told_at_ms)
        self.recovered_ms = now_ms

    def _look_for_tears(self, export_id: str) -> None:
        """Note whether open requests or an area lack their live export, or it lacks its area."""
        has_area = export_id in self.areas
        if self.is_live(export_id):
            is_torn = export_id in self.waiting and not has_area
        else:
            is_open = export_id in self.open_by_export
            is_torn = has_area or is_open or self.is_wrongly_pinned(export_id)
        (self.torn.add if is_torn else self.torn.discard)(export_id)

    def _look_for_package(self, request_id: str, row: RequestRow) -> None:
        (self.unfounded.discard if self.has_ground(row) else self.unfounded.add)(request_id)

    def has_ground(self, row: RequestRow) -> bool:
        """Whether the result of a settled request can be told: a reason, or facts of a package."""
        export = self.exports.get(row.export_id or "")
        is_there = export is not None and export.attempt == row.attempt and export.facts is not None
        return row.reason is not None or is_there

    def may_have_lost(self, request_id: str) -> bool:
        """Whether a request was settled with a package that a dying broker has forgotten."""
        if request_id in self.told_lately:
            return not self.has_ground(self.requests[request_id])
        return request_id in self.unfounded

    def _look_at_body(self, request_id: str) -> None:
        """Note when a body goes: as long as its result may be lost again, it is needed."""
        row, body = self.requests.get(request_id), self.bodies.get(request_id)
        goes_ms: int | None = None
        if body is not None and row is None:
            goes_ms = 0
        elif body is not None and row is not None and kept_body(row, body) != body:
            goes_ms = row.told_at_ms + LATELY_MS
        _note(self.spent_bodies, request_id, goes_ms)

    def _index_export(self, key: str, old: ExportRow | None, row: ExportRow | None) -> None:
        self._reserved_bytes += _reserved(row) - _reserved(old)
        self._count_live(old, -1)
        self._count_live(row, +1)
        for request_id in self.answered.get(key, ()) & self.untold.keys():
            self._look_for_package(request_id, self.requests[request_id])
        if _standing(old) != _standing(row):
            for request_id in self.answered.get(key, ()):
                self._index_forgettable(request_id, self.requests[request_id], old)
        self._queue(key, row)
        self.running.discard(key)
        if row is not None and row.state == RUNNING:
            self.running.add(key)
        expires = row is not None and row.state == COMPLETED and not row.pinned
        _note(self.expiring, key, row.expires_at_ms if row is not None and expires else None)
        _note(self.warnable, key, _warn_of_ms(row) if row is not None and expires else None)
        removals = row.removals if row is not None else ()
        _note(self.removing, key, min((known.due_at_ms for known in removals), default=None))

    def _queue(self, key: str, row: ExportRow | None) -> None:
        for queue in (self.waiting, self.waiting_small):
            is_in = row is not None and row.state == WAITING
            if row is None or not is_in or (queue is self.waiting_small and not is_small(row)):
                queue.drop(key)
            else:
                queue.put(key, row.client, priority=row.priority, queued_at_ms=row.queued_at_ms)
            if row is not None and row.started_at_ms:
                queue.started(row.client, row.started_at_ms)

    def _count_live(self, row: ExportRow | None, change: int) -> None:
        if row is not None and row.state in LIVE:
            self.live_by_client[row.client] += change
            if not self.live_by_client[row.client]:
                del self.live_by_client[row.client]

    def _index_request(self, key: str, old: RequestRow | None, row: RequestRow | None) -> None:
        if old is not None and old.export_id is not None:
            for index in (self.open_by_export, self.answered, self.pinning):
                _drop_of(index, old.export_id, key)
        self.untold.pop(key, None)
        self.unfounded.discard(key)
        self._index_forgettable(key, row)
        if row is None:
            if old is not None and self.first_by_repeat_key.get(old.repeat_key or "") == key:
                del self.first_by_repeat_key[old.repeat_key or ""]
            return
        if row.state != CANCELLED and row.http_status != HTTPStatus.TOO_MANY_REQUESTS:
            self.recent.note(key, row.client, row.accepted_at_ms)
        if row.repeat_key is not None and row.repeats is None:
            self._index_first(row.repeat_key, key, row)
        self._index_standing(key, row)

    def _index_standing(self, key: str, row: RequestRow) -> None:
        """Note what a request waits for, or holds."""
        if row.state == OPEN and row.export_id is not None:
            self.open_by_export.setdefault(row.export_id, set()).add(key)
        elif row.state == SETTLED:
            self.untold[key] = row.told_at_ms
            self._look_for_package(key, row)
        if row.state in (SETTLED, CONFIRMED) and row.reason is None and row.export_id is not None:
            self.answered.setdefault(row.export_id, set()).add(key)
            if row.pinned:
                self.pinning.setdefault(row.export_id, set()).add(key)

    def _index_forgettable(
        self, key: str, row: RequestRow | None, ended: ExportRow | None = None
    ) -> None:
        """Note when a request may be forgotten: not while its package stands."""
        forgotten_ms: int | None = None
        if row is not None and row.state == FORGOTTEN:
            forgotten_ms = row.told_at_ms + SAY_AGAIN_MS
        elif row is not None and row.state in (CONFIRMED, CANCELLED):
            standing = _standing(self.exports.get(row.export_id or ""))
            if row.reason is not None or not standing or standing != row.attempt:
                forgotten_ms = row.accepted_at_ms + REMEMBER_MS
            if forgotten_ms is not None and row.expires_at_ms:
                last_ms = row.expires_at_ms
                if ended is not None and ended.attempt == row.attempt:
                    last_ms = max(last_ms, ended.expires_at_ms)
                forgotten_ms = max(forgotten_ms, last_ms + REMEMBER_EXPIRED_MS)
        _note(self.forgettable, key, forgotten_ms)

    def offered_to(self, export_id: str) -> list[str]:
        """The requests that are offered the package that stands, in a fixed order."""
        answered = self.answered.get(export_id, ())
        return sorted(key for key in answered if self.is_offered(self.requests[key]))

    def is_offered(self, row: RequestRow) -> bool:
        """Whether a request holds the package that stands: its result, which it has not deleted."""
        if row.state not in (SETTLED, CONFIRMED) or row.reason is not None or row.deleted:
            return False
        standing = _standing(self.exports.get(row.export_id or ""))
        return bool(standing) and row.attempt == standing

    def pinned_by(self, export_id: str) -> set[str]:
        """The requests that pin the package that stands."""
        standing = _standing(self.exports.get(export_id))
        pinning = self.pinning.get(export_id, set())
        return {key for key in pinning if self.requests[key].attempt == standing}

    def is_wrongly_pinned(self, export_id: str) -> bool:
        """Whether a package is pinned by nobody, or not pinned although somebody pins it."""
        export = self.exports.get(export_id)
        if export is None or export.state != COMPLETED:
            return False
        return export.pinned != bool(self.pinned_by(export_id))

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

    def next_waiting(self, rules: RegistrarRules, *, freed: int = 0) -> Iterator[str]:
        """The waiting exports that have a place, the next one first; do not store any meanwhile.

        Args:
            rules: How many there are.
            freed: Places of exports that end just now.
        """
        places = rules.max_running - len(self.running) + freed
        first = list(islice(self._ready(self.waiting), max(0, places)))
        yield from first
        spare = places + rules.spare_running - len(first)
        small = (key for key in self._ready(self.waiting_small) if key not in first)
        yield from islice(small, max(0, spare))

    def _ready(self, queue: QueueOrder) -> Iterator[str]:
        """Those that can start: what has lost its area is mended first."""
        return (export_id for export_id in queue.in_order() if export_id in self.areas)

    def has_place(self, rules: RegistrarRules, export: ExportRow) -> bool:
        """Whether an export can start at once."""
        spare = rules.spare_running if is_small(export) else 0
        return len(self.running) < rules.max_running + spare

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


def kept_body(row: RequestRow, body: BodyRow) -> BodyRow | None:
    """What stays of the bulk of a request; None: nothing.

    All of it until its result stands. Of a request whose package is offered it stays after that,
    so that a later change of the request can be told whole; an area that is too large for that
    goes: the result has it.
    """
    if row.state != CONFIRMED:
        return body
    if row.reason is not None:
        return None
    if len(body.bbox_json or "") <= KEPT_BBOX_CHARS:
        return body
    return replace(body, bbox_json=None, area_omitted=True)


def is_small(row: ExportRow) -> bool:
    """Whether all ranges of an export are within one window of the planner."""
    return row.tile_count <= SMALL_RANGES * max(1, row.tiles_per_range)


def _standing(row: ExportRow | None) -> str:
    """The attempt whose package is offered; empty: none is."""
    return row.attempt if row is not None and row.state == COMPLETED else ""


def _warn_of_ms(row: ExportRow) -> int | None:
    """The end that is warned of next, and a little later once more; None: that is done."""
    if row.warned_of_ms != row.expires_at_ms:
        return row.expires_at_ms
    return row.expires_at_ms + SAY_AGAIN_MS if row.warnings < WARNINGS else None


def _drop_of(index: dict[str, set[str]], export_id: str, key: str) -> None:
    known = index.get(export_id, set())
    known.discard(key)
    if not known:
        index.pop(export_id, None)


def _note(agenda: Agenda, key: str, number: float | None) -> None:
    if number is None:
        agenda.drop(key)
    else:
        agenda.put(key, number)


def _reserved(row: ExportRow | None) -> int:
    if row is None or row.state not in LIVE:
        return 0
    return still_needed_bytes(
        estimated_bytes=row.estimated_bytes,
        tile_count=row.tile_count,
        tiles_done=row.tiles_done,
        bytes_written=row.bytes_written,
    )
