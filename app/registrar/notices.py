"""Decide whom to warn that a package goes soon."""

from dataclasses import replace

from app.domain.decision import Decision, Send, Store
from app.domain.records import RequestExpiring
from app.domain.rows import ExportRow
from app.domain.topic_names import EXPORT_SETTLEMENTS
from app.registrar.rules import Moment, RegistrarRules
from app.registrar.state import RegistrarState

AT_ONCE = 500
"""Requests that one Tick warns, a whole export's at least, so that it stays short."""


def tick(state: RegistrarState, rules: RegistrarRules, moment: Moment) -> Decision:
    """Warn the requests whose package goes soon.

    Each expiry is warned of twice: a process may die between its row and its records. Completion
    knows the second warning as the first one. Who repeats a request has no webhooks of its own.
    """
    stores: list[Store] = []
    told: list[Send] = []
    for export_id in state.warnable.up_to(moment.now_ms + rules.notice_ms):
        if len(told) >= AT_ONCE:
            break
        row = state.exports[export_id]
        if row.expires_at_ms <= moment.now_ms:
            continue  # nobody was there in time
        stores.append(Store("exports", export_id, _warned(row)))
        told += (
            Send(
                EXPORT_SETTLEMENTS,
                request_id,
                RequestExpiring(request_id, moment.now_ms, row.expires_at_ms),
            )
            for request_id in state.offered_to(export_id)
            if state.requests[request_id].repeats is None
        )
    return Decision(tuple(stores), tuple(told))


def due_at_ms(state: RegistrarState, rules: RegistrarRules) -> int | None:
    """When the next warning is due, ms since 1970 UTC."""
    first = state.warnable.first_number()
    return None if first is None else int(first) - rules.notice_ms


def _warned(row: ExportRow) -> ExportRow:
    before = row.warnings if row.warned_of_ms == row.expires_at_ms else 0
    return replace(row, warned_of_ms=row.expires_at_ms, warnings=before + 1)
