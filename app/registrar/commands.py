"""Decide what callers order: of an open export, of a finished package, of a result.

Whoever asked for it may order, and an administrator. Several requests may hold one package: it
stays as long as one of them does, and is pinned as long as one of them pins it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from app.domain.decision import NOTHING, Decision, Send, Store
from app.domain.errors import InvalidRequest
from app.domain.judgement import check_callback_url
from app.domain.records import ExportCommanded, RedeliveryAsked
from app.domain.rows import ExportRow, RequestRow
from app.domain.topic_names import EXPORT_SETTLEMENTS
from app.registrar import sends
from app.registrar.cancel import CANCEL, cancel, early_cancel
from app.registrar.removals import expired
from app.registrar.rules import Moment, RegistrarRules
from app.registrar.state import OPEN, RegistrarState

EXTEND, PIN, UNPIN, DELETE, REDELIVER = "extend", "pin", "unpin", "delete", "redeliver"

MAX_TIME_DIGITS = 18
"""Of a time in ms since 1970 UTC; more would not fit a row."""


@dataclass(frozen=True, slots=True)
class _Order:
    """A command that its sender may give.

    Attributes:
        record: The command.
        request_id: The request that it acts on: of a repeat the first one.
        row: That request's row.
        moment: When.
    """

    record: ExportCommanded
    request_id: str
    row: RequestRow
    moment: Moment

    def held(self, state: RegistrarState) -> tuple[str, ExportRow] | None:
        """The finished export whose package the request holds; None: it holds none."""
        if self.row.export_id is None or not state.is_offered(self.row):
            return None
        return self.row.export_id, state.exports[self.row.export_id]


def command(
    state: RegistrarState, rules: RegistrarRules, record: ExportCommanded, moment: Moment
) -> Decision:
    """Carry out a caller's command.

    Running twice is harmless: each command says how things shall be, not by how much they
    change; a replay finds them so, and sends again what tells of it. One that has become
    pointless meanwhile does nothing.
    """
    carry_out = COMMANDS.get(record.command)
    if carry_out is None:
        known = " or ".join(COMMANDS)
        return Decision(dead_letter=f"command is {record.command!r:.80}; it must be {known}")
    row = state.requests.get(record.request_id)
    if row is None:
        if record.command == CANCEL and not record.by_administrator:
            return early_cancel(record, moment)
        return Decision(dead_letter=f"there is no request {record.request_id}")
    if row.client != record.client and not record.by_administrator:
        return Decision(
            dead_letter=f"request {record.request_id} is not one of client {record.client!r:.80}"
        )
    first_id = row.repeats if row.repeats in state.requests else None
    request_id = first_id or record.request_id
    return carry_out(state, rules, _Order(record, request_id, state.requests[request_id], moment))


def _cancel(state: RegistrarState, rules: RegistrarRules, order: _Order) -> Decision:
    return cancel(state, rules, order.request_id, order.moment)


def _extend(state: RegistrarState, rules: RegistrarRules, order: _Order) -> Decision:
    """Keep a package until another time, if that is later than it is kept already.

    It cannot be kept shorter: others may have been promised it until then. Twice is harmless:
    the limit counts from the command, and the later time wins.
    """
    argument = order.record.argument or ""
    if not (argument.isascii() and argument.isdecimal() and len(argument) <= MAX_TIME_DIGITS):
        return Decision(
            dead_letter=f"argument of extend is {argument!r:.80}; it must be ms since 1970 UTC"
        )
    held = order.held(state)
    if held is None:
        return NOTHING
    export_id, export = held
    until_ms = min(int(argument), order.record.at_ms + rules.package_max_ms)
    extended = replace(export, expires_at_ms=max(export.expires_at_ms, until_ms))
    return _changed(state, export_id, extended, {}, order.moment)


def _pin(state: RegistrarState, _rules: RegistrarRules, order: _Order) -> Decision:
    """Keep a package beyond its expiry. Twice is harmless: pinned is pinned."""
    held = order.held(state)
    if held is None:
        return NOTHING
    rows = {order.request_id: replace(order.row, pinned=True)}
    return _changed(state, held[0], replace(held[1], pinned=True), rows, order.moment)


def _unpin(state: RegistrarState, _rules: RegistrarRules, order: _Order) -> Decision:
    """Let a package expire at its time, unless others pin it; an administrator speaks for them.

    Twice is harmless: the pins that are left decide.
    """
    held = order.held(state)
    if held is None:
        return NOTHING
    export_id, export = held
    pinning = state.pinned_by(export_id)
    ours = pinning if order.record.by_administrator else {order.request_id}
    rows = {
        key: replace(state.requests[key], pinned=False)
        for key in sorted(pinning & ours | {order.request_id})
    }
    unpinned = replace(export, pinned=bool(pinning - ours))
    return _changed(state, export_id, unpinned, rows, order.moment)


def _changed(
    state: RegistrarState,
    export_id: str,
    export: ExportRow,
    rows: Mapping[str, RequestRow],
    moment: Moment,
) -> Decision:
    """Store and tell an export, and rows of requests, as they are now."""
    return Decision(
        (
            Store("exports", export_id, export),
            *(Store("requests", key, row) for key, row in rows.items()),
        ),
        (
            sends.export_progress(export_id, export, moment.now_ms),
            *(
                sends.request_progress(key, row, state.body_of(key), moment.now_ms)
                for key, row in rows.items()
            ),
        ),
    )


def _delete(state: RegistrarState, rules: RegistrarRules, order: _Order) -> Decision:
    """Let go of a package; it goes when nobody else holds it, or an administrator says so.

    Its files stay for the grace of those that expire: it may just have been offered, or be on
    its way. Twice is harmless: the request is deleted already, whoever else holds the package
    is found again, and a package of a later attempt is another one.
    """
    if order.row.state == OPEN:
        return _cancel(state, rules, order)
    if order.row.reason is not None:
        return NOTHING
    export_id = order.row.export_id or ""
    ours = _answered_together(state, export_id, order.request_id)
    stores: list[Store] = []
    told: list[Send] = []
    for key in ours:
        row = replace(state.requests[key], deleted=True, pinned=False)
        stores.append(Store("requests", key, row))
        told.append(sends.request_progress(key, row, state.body_of(key), order.moment.now_ms))
    export = state.exports.get(export_id)
    if export is not None and export.attempt == order.row.attempt:
        others = [key for key in state.offered_to(export_id) if key not in ours]
        if others and not order.record.by_administrator:
            export = replace(export, pinned=bool(state.pinned_by(export_id) - {*ours}))
        else:
            export = expired(export, rules, order.moment)
        stores.insert(len(stores) - 1, Store("exports", export_id, export))
        told.append(sends.export_progress(export_id, export, order.moment.now_ms))
    return Decision(tuple(stores), tuple(told))


def _answered_together(state: RegistrarState, export_id: str, first_id: str) -> list[str]:
    """The requests that repeat one, and that one itself as the last."""
    answered = state.answered.get(export_id, set())
    repeats = (key for key in answered if state.requests[key].repeats == first_id)
    return [*sorted(repeats), first_id]


def _redeliver(_state: RegistrarState, _rules: RegistrarRules, order: _Order) -> Decision:
    """Call a webhook again, or one more, with the result of a request that has one.

    Twice is harmless: the time that travels tells completion which call was asked for.
    """
    url = order.record.argument or ""
    try:
        check_callback_url("argument of redeliver", url)
    except InvalidRequest as error:
        return Decision(dead_letter=str(error))
    if order.row.state == OPEN:
        return NOTHING
    # Later than the result, whatever the clocks say: completion takes an earlier one for old.
    at_ms = max(order.record.at_ms, order.row.settled_at_ms + 1)
    asked = RedeliveryAsked(order.request_id, at_ms, url, again=True)
    return Decision(sends=(Send(EXPORT_SETTLEMENTS, order.request_id, asked),))


COMMANDS: dict[str, Callable[[RegistrarState, RegistrarRules, _Order], Decision]] = {
    CANCEL: _cancel,
    EXTEND: _extend,
    PIN: _pin,
    UNPIN: _unpin,
    DELETE: _delete,
    REDELIVER: _redeliver,
}
