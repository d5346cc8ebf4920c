"""The coordinator: the real owners behind a model of the agent loop, and a courier beside them."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from app.completion import give_up as completion_give_up
from app.completion.owner import Completion
from app.domain.decision import Decision
from app.domain.inbox import InboxPosition
from app.domain.records import Tick
from app.domain.topic_names import EXPORT_PLANS, EXPORT_REGISTRY, EXPORT_SETTLEMENTS
from app.kafka.owned_table import PartitionRows, RowVersion
from app.planning import give_up as planner_give_up
from app.planning.owner import Planner
from app.registrar import give_up as registrar_give_up
from app.registrar.owner import Registrar
from tests.simulation.asked import ReadyCovers
from tests.simulation.broker import PARTITIONS, TopicPartition
from tests.simulation.courier import Courier
from tests.simulation.process import Group, Process
from tests.simulation.rules import rules_of
from tests.simulation.violation import Violation

if TYPE_CHECKING:
    from tests.simulation.world import World

TICK_CHECK_MS = 250
COMMIT_MS = 1_000

REASON = "the process died 3 times at this record"
GIVE_UP = {
    EXPORT_REGISTRY: registrar_give_up.give_up,
    EXPORT_PLANS: planner_give_up.give_up,
    EXPORT_SETTLEMENTS: lambda _now_ms, *given_up: completion_give_up.give_up(*given_up),
}
FAR_MS = 10 * 24 * 3600 * 1000
"""A timer further away belongs to retention, which no run waits for."""

FENCE, STORE, CONFIRM, APPLY, SEND, BURY, ACK = (
    "fence",
    "store",
    "confirm",
    "apply",
    "send",
    "bury",
    "ack",
)
Step = tuple[str, Any]


class Shell:
    """The order in which the agent loop of `app.kafka.owner_agent` carries a decision out.

    Attributes:
        minds_fence: A process that lost its partitions is stopped; a mutation lets it go on.
        tick_timeout_ms: A Tick that has not come back for so long is sent again.
        worker_acks_first: The loop without tables acknowledges before it sends; a mutation.
    """

    minds_fence = True
    tick_timeout_ms: int | None = 30_000
    worker_acks_first = False

    def steps(self, decision: Decision) -> Iterator[Step]:
        """Each place at which the process may die is between two steps."""
        if decision.stores:
            yield FENCE, None
            for store in decision.stores:
                yield STORE, store
            yield CONFIRM, None
            for store in decision.stores:
                yield APPLY, store
        if decision.sends:
            yield FENCE, None
            for send in decision.sends:
                yield SEND, send
            yield CONFIRM, None
        if decision.dead_letter is not None:
            yield FENCE, None
            yield BURY, decision.dead_letter
        yield ACK, None


class OwnedPartition:
    """One inbox partition that a coordinator owns: its rows, its owner, its place in the inbox."""

    def __init__(
        self,
        world: "World",
        process: Process,
        place: TopicPartition,
        position: int,
        kept: "OwnedPartition | None",
    ) -> None:
        """Recover the rows and build the owner from them."""
        self.world = world
        self.process = process
        self.place = place
        self.log = world.broker.logs[place]
        self.position = self.acked = position
        self.lost = False
        changelog = world.broker.changelogs[place]
        self.table: PartitionRows = kept.table if kept is not None else changelog.recovered()
        self.version_ms = max(self.table.newest_ms, self._frozen_ms())
        self.term = self.table.newest_term + 1
        self.owner: Any = self._make_owner()
        for (table, key), row in reversed(list(self.table.rows.items())):
            self.owner.load(table, key, row)
        self._version = RowVersion(0, 0)
        self._is_waiting = False
        self._committed_ms = world.now_ms
        self._tick_sent_ms: int | None = None
        self._tick_check_ms: int | None = None
        self._look_at_clock()

    def _frozen_ms(self) -> int:
        """The latest clock of an owner that stands still.

        Here its partitions are taken from it at any rebalance. In truth a session lies between,
        by more than any two clocks differ, so what it had fenced before is older than all that
        its successor writes.
        """
        assert self.process.group is not None
        before = self.process.group.consumers.get(self.place)
        return before.version_ms + 1 if before is not None and before.process.frozen else 0

    def _make_owner(self) -> Any:
        topic = self.place[0]
        if topic == EXPORT_REGISTRY:
            return Registrar(rules_of(self.world.schedule))
        if topic == EXPORT_PLANS:
            return Planner(ReadyCovers())
        courier: Courier = self.process.memory
        return Completion(
            find_row=lambda table, key: self.table.rows.get((table, key)),
            on_pending=courier.wake,
        )

    def wake(self) -> None:
        """Read on after a while, if there is anything."""
        if not self._is_waiting and self.position < len(self.log):
            self._is_waiting = True
            self.world.after(self.world.broker.latency_ms(self.place), self._read, self.process)

    def move_to(self, position: int) -> None:
        """Read on from another offset."""
        self.position = self.acked = position
        self.wake()

    def _read(self) -> None:
        self._is_waiting = False
        if self.lost:
            if self.process.fenced and self.world.shell.minds_fence:
                self.process.die()
            return
        if self.position >= len(self.log):
            return
        record = self.log[self.position]
        if self.world.trace is not None:
            self.world.say(
                f"{self.process.name} {self.place[0]}/{self.place[1]}@{self.position} "
                f"{self.world.brief(record)}"
            )
        if self.world.kills(self.process, self.place, self.position, record):
            return
        if self.world.is_given_up(self.place, self.position):
            decision = Decision(
                sends=tuple(GIVE_UP[self.place[0]](self.process.now_ms, record, REASON)),
                dead_letter=REASON,
            )
            self._is_waiting = True
            self._carry_out(record, list(self.world.shell.steps(decision)), 0)
            return
        try:
            decision = self.owner.decide(record, InboxPosition(self.place[1], self.position))
        except Exception as error:
            raise Violation(f"{type(self.owner).__name__} failed at {record}: {error!r}") from error
        self._is_waiting = True
        self._carry_out(record, list(self.world.shell.steps(decision)), 0)

    def _carry_out(self, record: Any, steps: list[Step], index: int) -> None:
        world = self.world
        fence = index
        while index < len(steps):
            hit = world.passes(self.process)
            if hit == "kill":
                return
            if hit == "freeze":
                self.process.held.append(partial(self._carry_out, record, steps, index))
                return
            if hit == "unconfirmed":
                index = fence
            kind, what = steps[index]
            if kind == FENCE:
                fence = index
                if self.process.fenced and world.shell.minds_fence:
                    self.process.die()
                    return
                self.version_ms = max(self.version_ms, self.process.now_ms)
                self._version = RowVersion(self.version_ms, self.position, self.term)
            else:
                self._step(kind, what, record)
                if kind in (CONFIRM, ACK):
                    fence = index + 1  # nothing before this is ever done again
            index += 1
        self._done(record)

    def _step(self, kind: str, what: Any, record: Any) -> None:
        world = self.world
        if kind == STORE:
            key = (what.table, what.key)
            world.broker.changelogs[self.place].append(world.now_ms, key, what.row, self._version)
            self.table.put(key, what.row, self._version)
            if world.trace is not None:
                world.say(
                    f"   store {what.table} {what.key[:8]} {world.witness.brief_row(what.row)}"
                )
            if what.table == "results":
                world.witness.hear_result(what.key, what.row)
            elif what.table == "deliveries":
                world.witness.hear_delivery(what.key, what.row)
        elif kind == APPLY:
            self.owner.apply(what)
        elif kind == SEND:
            world.broker.append(what.topic, what.key, what.record)
        elif kind == BURY:
            world.witness.bury(record, what)
        elif kind == ACK:
            self._acknowledge()

    def _acknowledge(self) -> None:
        self.position += 1
        self.acked = self.position
        world = self.world
        if not self.lost and world.now_ms >= self._committed_ms + COMMIT_MS * world.chance():
            self._committed_ms = world.now_ms
            self.process.group.commit(self.place, self.acked)

    def _done(self, record: Any) -> None:
        if isinstance(record, Tick):
            self._tick_sent_ms = None
        if type(self.owner) is Registrar and not self.lost:
            self.world.witness.watch_space(self.owner)
        self._is_waiting = False
        self._look_at_clock()
        self.wake()

    def _look_at_clock(self) -> None:
        """Come back when a Tick will be due."""
        due_ms = self.owner.due_at_ms()
        now_ms = self.world.now_ms
        if due_ms is None or due_ms > now_ms + FAR_MS:
            return
        due_ms = max(due_ms, now_ms)
        if self._tick_sent_ms is not None:
            if self.world.shell.tick_timeout_ms is None:
                return
            due_ms = max(due_ms, self._tick_sent_ms + self.world.shell.tick_timeout_ms)
        if self._tick_check_ms is None or due_ms < self._tick_check_ms:
            self._tick_check_ms = due_ms
            wait_ms = due_ms - now_ms + 1 + int(self.world.chance() * TICK_CHECK_MS)
            self.world.after(wait_ms, lambda: self._check_clock(due_ms), self.process)

    def _check_clock(self, for_ms: int) -> None:
        if self._tick_check_ms != for_ms or self.lost:
            return
        self._tick_check_ms = None
        due_ms, now_ms = self.owner.due_at_ms(), self.process.now_ms
        is_free = self._tick_sent_ms is None or (
            self.world.shell.tick_timeout_ms is not None
            and self.world.now_ms - self._tick_sent_ms >= self.world.shell.tick_timeout_ms
        )
        if due_ms is not None and due_ms <= now_ms and is_free:
            self._tick_sent_ms = self.world.now_ms
            tick = Tick(at_ms=now_ms)
            self.world.broker.append(self.place[0], str(self.place[1]), tick, self.place[1])
        self._look_at_clock()


def coordinator_group(world: "World") -> Group:
    """Two coordinators that share the inboxes of registrar, planner and completion."""
    places = [
        (topic, partition)
        for topic in (EXPORT_REGISTRY, EXPORT_PLANS, EXPORT_SETTLEMENTS)
        for partition in range(PARTITIONS[topic])
    ]
    processes = [Process(world, f"coordinator-{number}") for number in (1, 2)]

    def make(
        process: Process, place: TopicPartition, position: int, kept: OwnedPartition | None
    ) -> OwnedPartition:
        partition = OwnedPartition(world, process, place, position, kept)
        if place[0] == EXPORT_SETTLEMENTS:
            process.memory.watch(partition)
        return partition

    def start(process: Process) -> None:
        process.memory = Courier(world, process)

    return Group(world, processes, places, make, start)
