"""Decide what a caller's cancel does: to its own request, and to the export that nobody wants."""

from dataclasses import replace

from app.domain.decision import NOTHING, Decision, Send, Store
from app.domain.records import ExportCommanded, RequestAdmitted
from app.domain.rows import ExportRow, RequestRow
from app.registrar import sends
from app.registrar.attempts import to_be_removed
from app.registrar.lifecycle import end
from app.registrar.rules import Moment, RegistrarRules, changed
from app.registrar.state import CANCELLED, LIVE, OPEN, SETTLED, RegistrarState

CANCEL = "cancel"

REASON = "cancelled by its caller"


def early_cancel(record: ExportCommanded, moment: Moment) -> Decision:
    """Remember a cancel that overtakes its request; twice, it is remembered from then on."""
    return Decision(stores=(Store("requests", record.request_id, _early(record, moment)),))


def came_too_late(record: RequestAdmitted, known: RequestRow) -> bool:
    """Whether a request comes after its own cancel."""
    return known.state == CANCELLED and known.client == record.client


def aborted_before(record: RequestAdmitted, moment: Moment) -> Decision:
    """Settle a request that was cancelled before it came."""
    row = RequestRow(
        request_digest=record.request_digest,
        client=record.client,
        layer_id=record.layer_id,
        state=SETTLED,
        accepted_at_ms=moment.now_ms,
        verdict="Cancelled",
        http_status=200,
        reason=REASON,
        settled_at_ms=moment.now_ms,
        told_at_ms=moment.now_ms,
        aborted=True,
        retry_of=record.retry_of,
    )
    body = sends.body_of(record)
    key = record.request_id
    return Decision(
        stores=(Store("bodies", key, body), Store("requests", key, row)),
        sends=(
            sends.request_progress(key, row, body, moment.now_ms),
            sends.failure(key, row, body),
        ),
    )


def _early(record: ExportCommanded, moment: Moment) -> RequestRow:
    """What is left of a cancel that overtakes its request."""
    return RequestRow(
        request_digest="",
        client=record.client,
        layer_id="",
        state=CANCELLED,
        accepted_at_ms=moment.now_ms,
        verdict="Cancelled",
        http_status=200,
    )


def _ended_by(first: RequestRow, export: ExportRow) -> bool:
    return export.state == CANCELLED and export.attempt == first.attempt


def cancel(state: RegistrarState, rules: RegistrarRules, first_id: str, moment: Moment) -> Decision:
    """Cancel a request and those that repeat it, unless its result stands.

    A replay finds the requests settled: what may not have been sent is sent again.
    """
    first = state.requests.get(first_id)
    if first is None or first.export_id is None:
        return NOTHING
    if first.state == OPEN:
        return _abort(state, rules, first_id, first.export_id, moment)
    export = state.exports.get(first.export_id)
    if first.aborted and export is not None and _ended_by(first, export):
        # Rows of a coordinator that was thought dead may have come since: not ours to end.
        ours = _ours(state, first_id, first.export_id)
        return end(state, rules, first.export_id, export, (), moment, waiting=ours)
    return NOTHING


def _ours(state: RegistrarState, first_id: str, export_id: str) -> list[str]:
    """The open requests that a cancel ends: the first, and those that repeat it."""
    return [
        key
        for key in state.requests_of(export_id)
        if key == first_id or state.requests[key].repeats == first_id
    ]


def _abort(
    state: RegistrarState, rules: RegistrarRules, first_id: str, export_id: str, moment: Moment
) -> Decision:
    """Settle a request and those that repeat it; stop the export when nobody else waits for it."""
    export = state.exports.get(export_id)
    waiting, ours = state.requests_of(export_id), _ours(state, first_id, export_id)
    if export is None:
        return NOTHING  # torn rows: mended, and settled then
    if len(ours) == len(waiting):
        ended = _cancelled(export, moment) if export.state in LIVE else export
        return end(state, rules, export_id, ended, (), moment)
    stores: list[Store] = []
    told: list[Send] = []
    for key in sorted(ours, key=lambda key: key == first_id):  # the first marks a replay
        row = aborted_row(state.requests[key], moment)
        stores.append(Store("requests", key, row))
        told.append(sends.settled(key, row, state.body_of(key), export, rules))
    return Decision(tuple(stores), tuple(told))


def aborted_row(row: RequestRow, moment: Moment) -> RequestRow:
    """The row of a request whose caller has cancelled it while others wait for its export."""
    return replace(
        row,
        state=SETTLED,
        reason=REASON,
        settled_at_ms=moment.now_ms,
        told_at_ms=moment.now_ms,
        aborted=True,
    )


def _cancelled(export: ExportRow, moment: Moment) -> ExportRow:
    ended = replace(
        export,
        state=CANCELLED,
        reason=REASON,
        finished_at_ms=moment.now_ms,
        changes=changed(export.changes, sends.STATE_TOLD[CANCELLED], moment),
    )
    return to_be_removed(ended, moment.now_ms)
