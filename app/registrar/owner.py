"""The registrar: one mind for all requests and exports, fed record by record."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.domain.decision import NOTHING, Decision, Store
from app.domain.inbox import InboxPosition
from app.domain.records import (
    ExportAssembled,
    ExportBeat,
    ExportCommanded,
    ExportFailed,
    FilesRemoved,
    RequestAdmitted,
    RequestConfirmed,
    RequestRefused,
    Tick,
)
from app.registrar import lifecycle, removals
from app.registrar.admit import admit, refuse
from app.registrar.commands import command
from app.registrar.mend import is_torn, mend
from app.registrar.rules import Moment, RegistrarRules
from app.registrar.state import RegistrarState

HANDLERS: dict[type, Callable[[RegistrarState, RegistrarRules, Any, Moment], Decision]] = {
    RequestAdmitted: admit,
    RequestRefused: refuse,
    ExportBeat: lifecycle.beat,
    ExportAssembled: lifecycle.assembled,
    ExportFailed: lifecycle.failed,
    RequestConfirmed: lifecycle.confirmed,
    ExportCommanded: command,
    FilesRemoved: removals.removed,
}

TABLES = ("requests", "bodies", "exports", "areas", "layers")


@dataclass(slots=True)
class Registrar:
    """Owner of the registrar's tables; there is one, because its inbox has one partition.

    Attributes:
        rules: Settings it decides by.
        state: Rows and indexes, as the tables have them.
        now_ms: The largest time seen in a record, ms since 1970 UTC.
    """

    rules: RegistrarRules
    state: RegistrarState = field(default_factory=RegistrarState)
    now_ms: int = 0

    def load(self, table: str, key: str, row: Any) -> None:
        """Take over a recovered row; the newest time in the rows is where time goes on."""
        self._put(table, key, row)
        self.state.note_recovered(table, key, row, self.now_ms)

    def _put(self, table: str, key: str, row: Any) -> None:
        self.state.put(table, key, row)
        for name in ("settled_at_ms", "beat_at_ms", "accepted_at_ms", "queued_at_ms"):
            self.now_ms = max(self.now_ms, getattr(row, name, 0))

    def decide(self, record: Any, position: InboxPosition) -> Decision:
        """Decide about one record; changes nothing itself.

        Running twice is harmless: a decision is made from the rows alone, and every branch
        finds what an earlier run has stored and sends the same again.
        """
        moment = Moment(max(self.now_ms, record.at_ms), position.offset)
        if isinstance(record, Tick):
            mended = mend(self.state, self.rules, moment)
            return mended or lifecycle.tick(self.state, self.rules, moment)
        handler = HANDLERS.get(type(record))
        return handler(self.state, self.rules, record, moment) if handler else NOTHING

    def apply(self, store: Store) -> None:
        """Take over a row that the broker has confirmed."""
        self._put(store.table, store.key, store.row)

    def due_at_ms(self) -> int | None:
        """When a Tick is wanted, ms since 1970 UTC."""
        return 0 if is_torn(self.state) else lifecycle.due_at_ms(self.state, self.rules)
