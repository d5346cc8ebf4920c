"""Deliberate mistakes, each of which the simulation must catch: the proof that the net holds."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

from app.completion import deliveries
from app.completion import settle as settling
from app.domain.decision import NOTHING, Decision, Store
from app.domain.records import (
    ExportCommanded,
    ExportFinished,
    RangesMissing,
    RangeWritten,
    RequestSettled,
    ShardsAdopted,
    WriteRange,
)
from app.kafka.owned_table import PartitionRows
from app.planning import owner as planner_owner
from app.planning import plan
from app.planning.state import PlannerState, with_done
from app.registrar import admit, allowance, cancel, commands, lifecycle, notices, removals
from app.registrar import owner as registrar_owner
from app.registrar.state import LIVE, RegistrarState
from tests.simulation.broken_stages import (
    AcksBeforeSends,
    AcksFirst,
    ForgetsSends,
    NoFence,
    PackageBeforeMetadata,
    RenamesFirst,
    ReportsBeforeCommit,
    SendsFirst,
    StoresBackwards,
    TicksOnce,
    TrustsThePlanner,
    WorkerAcksFirst,
)
from tests.simulation.courier import Courier
from tests.simulation.disk import Disk
from tests.simulation.search import Failure, Stage

Patches = AbstractContextManager[Any]


@dataclass(frozen=True, slots=True)
class Mutation:
    """One mistake.

    Attributes:
        name: The mistake in a few words.
        patches: Puts the mistake into the code, for the time of a block.
        stage: Who plays; for mistakes of the agent loop and of the workers.
        seed: One that caught it when it was last looked for, so that tests are quick; any other
            will do when the schedules have changed.
    """

    name: str
    patches: Callable[[], Patches] = ExitStack
    stage: Stage = field(default_factory=Stage)
    seed: int = 0

    def caught_within(self, seeds: Iterable[int]) -> Failure | None:
        """Play seeds with the mistake until a promise is broken."""
        with self.patches():
            return self.stage.first_failure(seeds)


def _disk(**flags: bool) -> Callable[[], Patches]:
    original = Disk.__init__

    def made(self: Disk, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **(kwargs | flags))

    return lambda: patch.object(Disk, "__init__", made)


# --- the planner


def _news(kind: type, handler: Callable[..., Decision]) -> Callable[[], Patches]:
    return lambda: patch.dict(planner_owner.NEWS, {kind: handler})


def _counts(row: Any, record: RangeWritten, order: plan.Order) -> Decision:
    """Counts reports instead of marking ranges."""
    if row.phase != "writing":
        return NOTHING
    row = replace(
        with_done(row, row.base),
        leases=tuple(lease for lease in row.leases if lease.range_number != record.range_number),
    )
    planned = plan.Planned(row)
    plan.fill_window(planned, order)
    return planned.decision(order)


def _resends_always(row: Any, record: RangeWritten, order: plan.Order) -> Decision:
    """Answers each duplicate with the whole window: duplicates breed."""
    decision = plan.range_written(row, record, order)
    return plan.resend(row, order) if decision is NOTHING else decision


def _never_resends(row: Any, record: RangeWritten, order: plan.Order) -> Decision:
    return replace(plan.range_written(row, record, order), sends=())


def _ignores_missing(row: Any, _record: RangesMissing, _order: plan.Order) -> Decision:
    return NOTHING


def _any_attempt(self: PlannerState, export_id: str, _attempt: str) -> Any:
    found, progress = self.plans.get(export_id), self.progress.get(export_id)
    return None if found is None or progress is None else (found, progress)


def _forgets_leases(planned: plan.Planned, order: plan.Order) -> None:
    """Refills the window and forgets the lease of the last range it gave out."""
    _FILL_WINDOW(planned, order)
    planned.row = replace(planned.row, leases=planned.row.leases[:-1])


_FILL_WINDOW = plan.fill_window


def _stops_any(state: PlannerState, record: Any) -> Decision:
    """A stop for an old attempt ends the one that runs."""
    if record.export_id not in state.progress:
        return NOTHING
    return Decision(
        stores=(Store("plans", record.export_id, None), Store("progress", record.export_id, None))
    )


def _beats_only(row: Any, order: plan.Order) -> Decision:
    """A lease that ran out is renewed, and the range is not sent again."""
    decision = _HEAL(row, order)
    return replace(
        decision,
        sends=tuple(send for send in decision.sends if not isinstance(send.record, WriteRange)),
    )


_HEAL = plan._heal


# --- the registrar


def _registrar(kind: type, handler: Callable[..., Decision]) -> Callable[[], Patches]:
    return lambda: patch.dict(registrar_owner.HANDLERS, {kind: handler})


def _settles_once(state: RegistrarState, rules: Any, moment: Any) -> Decision:
    """The registrar never tells a result again."""
    decision = _TICK(state, rules, moment)
    return replace(
        decision,
        sends=tuple(send for send in decision.sends if not isinstance(send.record, RequestSettled)),
    )


_TICK = lifecycle.tick


def _never_restarts(state: RegistrarState, rules: Any, moment: Any) -> Decision:
    """A silent attempt is not started again."""
    decision = _TICK(state, rules, moment)
    return replace(
        decision,
        sends=tuple(send for send in decision.sends if isinstance(send.record, RequestSettled)),
    )


def _forgets_bodies(state: RegistrarState, rules: Any, record: Any, moment: Any) -> Decision:
    """Drops the bodies of requests when they are settled, not when the result stands."""
    decision = lifecycle.assembled(state, rules, record, moment)
    bodies = tuple(
        Store("bodies", store.key, None) for store in decision.stores if store.table == "requests"
    )
    return replace(decision, stores=(*decision.stores, *bodies))


def _forgets_joiners(state: RegistrarState, rules: Any, record: Any, moment: Any) -> Decision:
    """Settles only the first of an export's requests."""
    decision = lifecycle.assembled(state, rules, record, moment)
    requests = [store for store in decision.stores if store.table == "requests"]
    return replace(
        decision, stores=tuple(store for store in decision.stores if store not in requests[1:])
    )


def _ignores_old_packages(export: Any, record: Any) -> bool:
    """Offers a finished package without a look at the disk."""
    return bool(export.state == "completed")


def _old_seen_before(*args: Any) -> Decision:
    """A replayed repeat does not ask for its redeliveries again, as it once was."""
    decision = _SEEN_BEFORE(*args)
    return replace(
        decision,
        sends=tuple(
            send for send in decision.sends if type(send.record).__name__ != "RedeliveryAsked"
        ),
    )


_SEEN_BEFORE = admit._seen_before


def _keeps_reserving(self: RegistrarState) -> int:
    """A counter that is never given back."""
    return sum(row.estimated_bytes for row in self.exports.values())


# --- completion and courier


def _overwrites(delivery_of: Any, _result_of: Any, record: RequestSettled) -> Decision:
    """The last result wins."""
    return settling.settle(delivery_of, lambda _request_id: None, record)


def _result_first(delivery_of: Any, result_of: Any, record: RequestSettled) -> Decision:
    """Stores the result before its deliveries, and takes a result that stands for all of them."""
    decision = settling.settle(delivery_of, result_of, record)
    stores = () if result_of(record.request_id) is not None else decision.stores
    return replace(decision, stores=tuple(reversed(stores)))


def _own_clock(record: RequestSettled) -> ExportFinished:
    """The result holds the moment at which completion made it."""
    _CLOCK[0] += 1
    return replace(_FINISHED(record), finished_at=settling.iso_time(_CLOCK[0]))


_CLOCK = [0]
_FINISHED = settling.finished


def _no_confirmation(delivery_of: Any, result_of: Any, record: RequestSettled) -> Decision:
    """Confirms only the settlement that made the result."""
    decision = settling.settle(delivery_of, result_of, record)
    return decision if decision.stores else NOTHING


def _counts_trials(delivery_of: Any, result_of: Any, record: Any) -> Decision:
    """Gives a webhook up after its first failure."""
    decision = deliveries.tried(delivery_of, result_of, record)
    return Decision(
        stores=tuple(
            replace(store, row=replace(store.row, state="given-up"))
            if store.row.state == "pending"
            else store
            for store in decision.stores
        )
    )


def _id_per_trial(delivery_id: str, row: Any) -> str:
    return f"{delivery_id}-{row.trials}"


def _any_version(self: PartitionRows, key: Any, value: Any, version: Any) -> bool:
    """The last record of the changelog wins, whoever wrote it."""
    self.newest_ms = max(self.newest_ms, version.now_ms)
    if value is None:
        self.rows.pop(key, None)
    else:
        self.rows[key] = value
    return True


@contextmanager
def _breeding_leases() -> Iterator[None]:
    """Leases do not double: work that takes longer than its lease is sent for ever."""
    with patch.object(plan, "LEASE_DOUBLINGS", 0):
        yield


# --- endings


def _expires_at_once(export: Any, rules: Any, moment: Any) -> Any:
    """The files of an expired package go while somebody may just have been offered it."""
    row = _EXPIRED(export, rules, moment)
    gone = tuple(replace(known, due_at_ms=moment.now_ms) for known in row.removals)
    return replace(row, removals=gone)


_EXPIRED = removals.expired


def _offers_expired(export: Any, record: Any) -> bool:
    """A package is offered because it still lies there."""
    return _OFFERED(replace(export, state="completed") if export.facts else export, record)


_OFFERED = admit._offered


_REMOVALS_TICK = removals.tick


def _orders_removal_once(state: RegistrarState, rules: Any, moment: Any) -> Decision:
    """A removal is ordered once, and believed."""
    decision = _REMOVALS_TICK(state, rules, moment)
    return replace(decision, stores=tuple(map(_without_removals, decision.stores)))


def _without_removals(store: Store) -> Store:
    kept = tuple(known for known in store.row.removals if not known.ordered)
    return replace(store, row=replace(store.row, removals=kept))


def _cancels_for_all(*args: Any) -> Decision:
    """One caller's cancel stops the export that others wait for."""
    state, rules, _, export_id, moment = args
    export = state.exports.get(export_id)
    if export is None or export.state not in LIVE:
        return _ABORT(*args)
    return cancel.end(state, rules, export_id, cancel._cancelled(export, moment), (), moment)


_ABORT = cancel._abort


def _stops_without_waiting_ones(state: RegistrarState, *args: Any) -> Decision:
    """A cancel settles its own request and never stops the work."""
    decision = _ABORT(state, *args)
    kept = tuple(store for store in decision.stores if store.table == "requests")
    return replace(decision, stores=kept)


def _cuts_anew(*args: Any) -> Any:
    """Ranges of an attempt that goes on with another are cut by what is known today."""
    record, rules, mean_bytes, _ = args
    return _AREA(record, rules, mean_bytes, None)


_AREA = admit._area


def _adopts_more(row: Any, record: Any, order: Any) -> Decision:
    """Believes that a shard holds all ranges from its first one on."""
    spans = tuple(replace(span, last=order.range_count) for span in record.spans)
    return plan.shards_adopted(row, replace(record, spans=spans), order)


# --- commands and warnings


def _ordered(name: str, change: Callable[[Any, Any, Any], Decision]) -> Callable[[], Patches]:
    """A command is carried out otherwise; `change` gets state, rules and order."""
    return lambda: patch.dict(commands.COMMANDS, {name: change})


_COMMANDS = dict(commands.COMMANDS)


def _tells_only(name: str) -> Callable[[], Patches]:
    """A command is told as done, and nothing is stored."""
    return _ordered(name, lambda *args: replace(_COMMANDS[name](*args), stores=()))


def _as_administrator(name: str) -> Callable[[], Patches]:
    """Whoever orders speaks for all who hold the package."""

    def change(state: Any, rules: Any, order: Any) -> Decision:
        record = replace(order.record, by_administrator=True)
        return _COMMANDS[name](state, rules, replace(order, record=record))

    return _ordered(name, change)


def _obeys_everybody(state: Any, rules: Any, record: Any, moment: Any) -> Decision:
    """Nobody looks who orders."""
    row = state.requests.get(record.request_id)
    client = record.client if row is None else row.client
    return commands.command(state, rules, replace(record, client=client), moment)


def _warns_nobody(state: Any, rules: Any, moment: Any) -> Decision:
    return replace(_WARN(state, rules, moment), sends=())


_WARN = notices.tick


MUTATIONS = (
    Mutation("an extension is told and not kept", _tells_only("extend"), seed=5),
    Mutation("a pin is told and not kept", _tells_only("pin"), seed=52),
    Mutation("a deletion is told and not kept", _tells_only("delete"), seed=8),
    Mutation("one caller deletes for all", _as_administrator("delete"), seed=187),
    Mutation("one caller unpins for all", _as_administrator("unpin"), seed=229),
    Mutation("nobody calls again", _ordered("redeliver", lambda *_: NOTHING), seed=46),
    Mutation("everybody may order", _registrar(ExportCommanded, _obeys_everybody), seed=86),
    Mutation(
        "exports of a client are not counted",
        lambda: patch.object(allowance, "too_many_exports", lambda *_: None),
        seed=727,
    ),
    Mutation(
        "requests of a client are not counted",
        lambda: patch.object(allowance, "too_many_requests", lambda *_: None),
        seed=1236,
    ),
    Mutation("nobody is warned", lambda: patch.object(notices, "tick", _warns_nobody), seed=2),
    Mutation(
        "an expired package goes at once",
        lambda: patch.object(removals, "expired", _expires_at_once),
        seed=2,
    ),
    Mutation(
        "an expired package is offered",
        lambda: patch.object(admit, "_offered", _offers_expired),
        seed=17,
    ),
    Mutation(
        "a removal is ordered once",
        lambda: patch.object(removals, "tick", _orders_removal_once),
        seed=2,
    ),
    Mutation(
        "the first of several callers stops the export",
        lambda: patch.object(cancel, "_abort", _cancels_for_all),
        seed=103,
    ),
    Mutation(
        "a cancel stops no work",
        lambda: patch.object(cancel, "_abort", _stops_without_waiting_ones),
        seed=68,
    ),
    Mutation(
        "a cancel that comes first is forgotten",
        lambda: patch.object(admit, "came_too_late", lambda *_: False),
        seed=414,
    ),
    Mutation(
        "the ranges of a retry are cut anew",
        lambda: patch.object(admit, "_area", _cuts_anew),
        seed=344,
    ),
    Mutation("more is adopted than there is", _news(ShardsAdopted, _adopts_more), seed=296),
    Mutation(
        "nobody remembers whose files have to go",
        lambda: patch.object(cancel, "to_be_removed", lambda export, _due: export),
        seed=118,
    ),
    Mutation("ack before anything is stored", stage=Stage(shell=AcksFirst), seed=63),
    Mutation("ack before the records are sent", stage=Stage(shell=AcksBeforeSends), seed=63),
    Mutation("send before store, apply before confirm", stage=Stage(shell=SendsFirst), seed=0),
    Mutation(
        "the row that marks a replay is stored first", stage=Stage(shell=StoresBackwards), seed=1685
    ),
    Mutation("only the first record is sent", stage=Stage(shell=ForgetsSends), seed=13),
    Mutation("no fence", stage=Stage(shell=NoFence), seed=239),
    Mutation("a lost Tick stops the clock", stage=Stage(shell=TicksOnce), seed=4),
    Mutation("the worker acks before it sends", stage=Stage(shell=WorkerAcksFirst), seed=121),
    Mutation(
        "row versions ignored", lambda: patch.object(PartitionRows, "put", _any_version), seed=125
    ),
    Mutation("rename before the shard is whole", stage=Stage(work=RenamesFirst), seed=120),
    Mutation("the assembler trusts the planner", stage=Stage(work=TrustsThePlanner), seed=117),
    Mutation("package before metadata", stage=Stage(work=PackageBeforeMetadata), seed=1),
    Mutation(
        "a range is reported although it failed", stage=Stage(work=ReportsBeforeCommit), seed=8
    ),
    Mutation("the owner is checked without a lock", _disk(locks=False), seed=1778),
    Mutation("ranges are counted, not marked", _news(RangeWritten, _counts), seed=111),
    Mutation("duplicates breed", _news(RangeWritten, _resends_always), seed=111),
    Mutation("the window is not refilled", _news(RangeWritten, _never_resends), seed=13),
    Mutation("RangesMissing ignored", _news(RangesMissing, _ignores_missing), seed=117),
    Mutation(
        "attempts ignored", lambda: patch.object(PlannerState, "current", _any_attempt), seed=1341
    ),
    Mutation(
        "the refill forgets a lease",
        lambda: patch.object(plan, "fill_window", _forgets_leases),
        seed=2,
    ),
    Mutation(
        "an old stop ends a new attempt", lambda: patch.object(plan, "stop", _stops_any), seed=4301
    ),
    Mutation(
        "lost ranges are not sent again", lambda: patch.object(plan, "_heal", _beats_only), seed=4
    ),
    Mutation(
        "results are not told again",
        lambda: patch.object(lifecycle, "tick", _settles_once),
        seed=18,
    ),
    Mutation(
        "silent attempts stay silent",
        lambda: patch.object(lifecycle, "tick", _never_restarts),
        seed=100,
    ),
    Mutation(
        "bodies are forgotten too early",
        _registrar(lifecycle.ExportAssembled, _forgets_bodies),
        seed=59,
    ),
    Mutation(
        "joiners are forgotten", _registrar(lifecycle.ExportAssembled, _forgets_joiners), seed=7
    ),
    Mutation(
        "packages are offered unseen",
        lambda: patch.object(admit, "_offered", _ignores_old_packages),
        seed=329,
    ),
    Mutation(
        "a replay forgets redeliveries",
        lambda: patch.object(admit, "_seen_before", _old_seen_before),
        seed=63,
    ),
    Mutation(
        "reservations leak",
        lambda: patch.object(RegistrarState, "reserved_bytes", _keeps_reserving),
        seed=1,
    ),
    Mutation("the first result is overwritten", lambda: _in_owner("settle", _overwrites), seed=84),
    Mutation(
        "the result before its deliveries", lambda: _in_owner("settle", _result_first), seed=205
    ),
    Mutation(
        "the result has a clock of its own",
        lambda: patch.object(settling, "finished", _own_clock),
        seed=278,
    ),
    Mutation(
        "a repeated result is not confirmed",
        lambda: _in_owner("settle", _no_confirmation),
        seed=9,
    ),
    Mutation("a webhook is tried once", lambda: _in_owner("tried", _counts_trials), seed=20),
    Mutation(
        "a delivery id per trial",
        lambda: patch.object(Courier, "_told_id", staticmethod(_id_per_trial)),
        seed=0,
    ),
)


def _in_owner(name: str, value: Any) -> Patches:
    from app.completion import owner

    return patch.object(owner, name, value)
