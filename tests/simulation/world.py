"""One run: the clock, the processes, the faults, and everything that they act on."""

from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any

from app.domain.records import ExportCommanded, ExportRequested
from app.domain.topic_names import EXPORT_REQUESTS
from app.ingress.accepted_requests import FIRST_REPEAT_S
from app.planning import plan
from app.registrar.cancel import CANCEL
from app.registrar.commands import EXTEND
from tests.simulation import asked
from tests.simulation.broker import Broker
from tests.simulation.coordinator import Shell, coordinator_group
from tests.simulation.disk import Disk
from tests.simulation.process import Group, Process
from tests.simulation.schedule import START_MS, Asking, Fault, Ordering, Schedule
from tests.simulation.violation import Violation
from tests.simulation.witness import Witness
from tests.simulation.work_model import WorkModel
from tests.simulation.worker import worker_group

MOST_ACTIONS = 12_000
"""More than any healthy run takes: beyond it something breeds or never ends."""


TAIL_MS = 600
"""A broker that is killed forgets at most so much (faust.md, brokers)."""

KEPT_MS = int(FIRST_REPEAT_S * 1000)

MOST_LOOKS = 12
"""A package to remove is looked for so often, every 10 s."""


class World:
    """Everything of one run; `run` plays it to its end."""

    def __init__(
        self,
        schedule: Schedule,
        *,
        trace: list[str] | None = None,
        shell: Shell | None = None,
        work: WorkModel | None = None,
    ) -> None:
        """Set the scene: two coordinators, two workers, an empty broker and disk."""
        self.schedule = schedule
        self.trace = trace
        self.shell = shell or Shell()
        self.work = work or WorkModel()
        self.rng = Random(f"latencies of {schedule.seed}")
        self.chance = self.rng.random
        self.now_ms = START_MS
        self.moment = 0
        self.actions = 0
        self._heap: list[tuple[int, float, Callable[[], None], Process | None, int]] = []
        self._faults = list(reversed(schedule.faults))
        self._strikes_at = self._faults[-1].moment if self._faults else 1 << 60
        self.disk = Disk(schedule.capacity_bytes)
        self.witness = Witness(self)
        self.broker = Broker(self, self.witness.observe, self.witness.judge_send)
        self.poison: Callable[[Any], bool] | None = None
        self._deaths: Counter[tuple[tuple[str, int], int]] = Counter()
        self.unreadable_ranges = 0
        self.slow_ranges = 0
        self.failing_webhooks = 0
        self.catalogue_away_until_ms = 0
        self.coordinators: Group = coordinator_group(self)
        self.workers: Group = worker_group(self)
        for asking in schedule.askings:
            self.after(asking.after_ms, lambda asking=asking: self.ask(asking))
            if asking.cancelled_after_ms is not None:
                self.after(asking.cancelled_after_ms, lambda asking=asking: self.cancel(asking))

        for ordering in schedule.orders:
            self.after(ordering.after_ms, lambda ordering=ordering: self.order(ordering))

    def after(
        self, delay_ms: int, action: Callable[[], None], process: Process | None = None
    ) -> None:
        """Act later; when the process that acts has died meanwhile, not at all."""
        if process is not None and not process.alive:
            return
        incarnation = process.incarnation if process is not None else 0
        entry = (self.now_ms + delay_ms, self.chance(), action, process, incarnation)
        heappush(self._heap, entry)

    def run(self) -> None:
        """Play the schedule until nothing more happens; raises Violation."""
        lease_ms, plan.LEASE_MS = plan.LEASE_MS, self.schedule.lease_ms
        try:
            self._run()
        finally:
            plan.LEASE_MS = lease_ms
        self.witness.judge_end()

    def _run(self) -> None:
        heap = self._heap
        while heap:
            at_ms, _, action, process, incarnation = heappop(heap)
            if process is not None:
                if process.incarnation != incarnation:
                    continue
                if process.frozen:
                    process.held.append(action)
                    continue
            self.now_ms = max(self.now_ms, at_ms)
            self.actions += 1
            if self.actions > MOST_ACTIONS:
                raise Violation(f"no end after {MOST_ACTIONS} actions")
            action()

    def passes(self, process: Process) -> str | None:
        """Pass one place to die at; returns how the fault there hits the process at hand."""
        self.moment += 1
        if self.moment < self._strikes_at:
            return None
        hit = None
        while self._faults and self._faults[-1].moment <= self.moment:
            fault = self._faults.pop()
            hit = self._strike(fault, process) or hit
        self._strikes_at = self._faults[-1].moment if self._faults else 1 << 60
        return hit

    def strike_next(self, kind: str, size: int = 0, *, after: int = 1) -> None:
        """Let a fault strike so many moments from now: the next one belongs to who acts now."""
        fault = Fault(self.moment + after, kind, size)
        self._faults.append(fault)
        self._faults.sort(key=lambda fault: -fault.moment)
        self._strikes_at = self._faults[-1].moment

    def _strike(self, fault: Fault, process: Process) -> str | None:
        self.say(f"** {fault.kind} {fault.size} at moment {self.moment}, {process.name} at hand")
        if fault.kind == "kill":
            process.die()
            return "kill"
        if fault.kind == "freeze":
            process.freeze(fault.size)
            return "freeze"
        if fault.kind == "unconfirmed":
            return "unconfirmed"
        self._disturb(fault)
        return None

    def _disturb(self, fault: Fault) -> None:
        """Something happens to the network, the broker, the sources or the receivers."""
        broker = self.broker
        match fault.kind:
            case "duplicate":
                broker.copy_next_ms = fault.size
            case "lose":
                broker.lose_next += 1
            case "stall":
                broker.stall_next_ms = fault.size
            case "storm":
                broker.storm_until_ms = self.now_ms + fault.size
            case "echo":
                self.after(0, lambda: broker.echo(fault.size))
            case "tail":
                self.after(0, self.lose_tails)
            case "rebalance":
                self.after(1, self.coordinators.rebalance)
                self.after(1, self.workers.rebalance)
            case "source" | "slow" | "webhook" | "catalogue":
                self._slow_down(fault)
            case _:
                self._damage(fault)

    def _slow_down(self, fault: Fault) -> None:
        """Others do not answer, or late."""
        if fault.kind == "source":
            self.unreadable_ranges += fault.size
        elif fault.kind == "slow":
            self.slow_ranges += 2
        elif fault.kind == "webhook":
            self.failing_webhooks += fault.size
        else:
            self.catalogue_away_until_ms = self.now_ms + fault.size

    def _damage(self, fault: Fault) -> None:
        """Something happens to the disk."""
        folders = self.disk.folders
        if fault.kind == "disk-full":
            self.disk.is_full = True
            self.after(fault.size, self._has_space_again)
        elif fault.kind == "shard":
            shards = [s for f in folders.values() for s in f.shards if s.named and not s.facts]
            if shards:
                shard = shards[int(self.chance() * len(shards))]
                shard.lost = True
                for folder in folders.values():
                    folder.shards = [known for known in folder.shards if known is not shard]
        elif fault.kind == "gone":
            self.after(fault.size, self._remove_package)

    def _has_space_again(self) -> None:
        self.disk.is_full = False

    def _remove_package(self, looks: int = 1) -> None:
        """Somebody removes a package that was told; none so young that it is offered unseen."""
        for (export_id, attempt), folder in self.disk.folders.items():
            package = self.disk.published(export_id, attempt)
            if package is None or not self.witness.has_told(attempt):
                continue
            if package.facts.finished_at_ms + 61_000 > self.now_ms:
                continue
            self.say(f"** package of {export_id[:8]}/{attempt} is gone")
            package.gone_at_ms = self.now_ms
            folder.gone, folder.package, folder.metadata = package, None, None
            return
        if looks < MOST_LOOKS:
            self.after(10_000, lambda: self._remove_package(looks + 1))

    def lose_tails(self) -> None:
        """The broker dies and forgets its last records; who asked publishes again.

        An ingress does so with what `AcceptedRequests` keeps, a producer of our callers is taken
        to do the same.
        """
        self.say("** the broker dies and loses its last records")
        since_ms = self.now_ms - TAIL_MS
        self.broker.lose_tails(since_ms)
        self.witness.forget_since(since_ms + int(self.chance() * TAIL_MS))
        for process in self.coordinators.processes:
            process.die()  # their rows may be ahead of the changelogs
        self.coordinators.find_ends(since_ms)
        self.workers.find_ends(since_ms)
        for asking in self.schedule.askings:
            asked_ms = START_MS + asking.after_ms
            # As AcceptedRequests does: what is young is kept, or was spoken of just now.
            young_ms = self.now_ms - KEPT_MS
            is_kept = asked_ms > young_ms or not self.witness.has_heard_of(
                asking.request_id, young_ms
            )
            if asked_ms <= self.now_ms and is_kept:
                self.after(500, lambda asking=asking: self.ask(asking))

    def ask(self, asking: Asking) -> None:
        """Publish a request now."""
        record = asked.requested(
            asking.request_id,
            asking.area,
            at_ms=self.now_ms,
            client=asking.client,
            via_http=asking.via_http,
            callback_urls=asking.urls,
            priority=asking.priority,
            retry_of=asking.retry_of,
        )
        self.witness.accept(record)
        self.broker.append(EXPORT_REQUESTS, record.request_id, record)

    def cancel(self, asking: Asking) -> None:
        """Publish a caller's cancel now."""
        client = asking.cancelled_by or asking.client
        record = ExportCommanded(asking.request_id, self.now_ms, client, CANCEL)
        self.witness.cancelled.add(asking.request_id)
        self.broker.append(EXPORT_REQUESTS, record.request_id, record)

    def order(self, ordering: Ordering) -> None:
        """Publish a command now."""
        argument = ordering.argument
        if ordering.command == EXTEND and argument is not None:
            argument = str(START_MS + int(argument))
        record = ExportCommanded(
            ordering.request_id,
            self.now_ms,
            ordering.client,
            ordering.command,
            argument,
            ordering.by_administrator,
        )
        self.witness.hear_order(record)
        self.broker.append(EXPORT_REQUESTS, record.request_id, record)

    def kills(self, process: Process, place: tuple[str, int], offset: int, record: Any) -> bool:
        """Whether a record kills the process that reads it: three times, then it is given up."""
        if self.poison is None or self._deaths[place, offset] >= 3 or not self.poison(record):
            return False
        self._deaths[place, offset] += 1
        process.die()
        return True

    def is_given_up(self, place: tuple[str, int], offset: int) -> bool:
        """Whether the process has died at a record too often."""
        return self._deaths[place, offset] >= 3

    def say(self, text: str) -> None:
        """Add a line to the trace."""
        if self.trace is not None:
            self.trace.append(f"{self.now_ms - START_MS:>9} {self.moment:>5}  {text}")

    @staticmethod
    def brief(record: Any) -> str:
        """A record in one short line."""
        names = ("request_id", "export_id", "attempt", "range_number", "phase", "trial", "spans")
        told = [str(getattr(record, name))[:24] for name in names if hasattr(record, name)]
        if isinstance(record, ExportRequested):
            told.append(f"tries={record.tries}")
        return f"{type(record).__name__}({', '.join(told)})"
