"""The promises, watched while a run goes on and judged at its end."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from app.completion.deliveries import DELIVERED, EXPIRING, delivery_id, warning_id
from app.completion.settle import forget_at_ms
from app.domain.records import (
    ExportCommanded,
    ExportFinished,
    ExportProgress,
    ExportRequested,
    ExportStarted,
    RangesMissing,
    RequestConfirmed,
    RequestProgress,
    WriteRange,
)
from app.domain.rows import DeliveryRow
from app.domain.topic_names import EXPORT_PLANS, EXPORT_REGISTRY, EXPORT_SETTLEMENTS
from app.planning.state import attempt_order
from app.registrar.commands import DELETE
from app.registrar.owner import Registrar
from app.registrar.state import CANCELLED, COMPLETED, CONFIRMED, EXPIRED, FAILED, OPEN, RUNNING
from tests.simulation import asked, limits
from tests.simulation.broker import PARTITIONS
from tests.simulation.offers import SKEW_MS, Offers
from tests.simulation.rules import rules_of
from tests.simulation.schedule import PACKAGE_MS
from tests.simulation.violation import Violation

if TYPE_CHECKING:
    from tests.simulation.world import World

CALM = (
    "duplicate",
    "lose",
    "echo",
    "source",
    "webhook",
    "catalogue",
    "gone",
    "disk-full",
    "stall",
    "storm",
)
"""Faults that hurt no process and no shard."""

ENDED = ("Completed", "Failed", "Aborted", "Expired")

OVER = (CANCELLED, EXPIRED, FAILED)

LEAVE_NO_WRITER = ("kill", "lose", "source", "webhook", "catalogue", "disk-full", "rebalance")
"""Faults after which no order of an attempt that is over is carried out long after its removal."""

QUICK = ("duplicate", "echo", "storm", "webhook", "gone", "disk-full")
QUICK_MS = 29_000
"""A request of a run with nothing but duplicates has its result after so long."""

RECORDS_PER_ASKING = 260
"""More records than this for each request mean that something breeds; see `judge_end`."""


class Witness:
    """Sees every result, webhook and progress record of a run.

    Attributes:
        results: The first result of each request.
        accepted: What was asked, by request id; the first body.
        dead: Dead letters: record and reason.
        answered: Calls that a receiver has answered, by delivery id.
        told: What the registrar told of requests and exports: when, key and record.
    """

    def __init__(self, world: "World") -> None:
        """See nothing yet."""
        self.world = world
        self.accepted: dict[str, ExportRequested] = {}
        self.results: dict[str, ExportFinished] = {}
        self.heard_at_ms: dict[str, int] = {}
        self.first_of: dict[str, str] = {}
        self.cancelled: set[str] = set()
        self.forgotten: set[str] = set()
        self.dead: list[tuple[Any, str]] = []
        self.answered: Counter[str] = Counter()
        self.progress: dict[str, Any] = {}
        self.told: list[tuple[int, str, Any]] = []
        self.orders: Counter[tuple[str, str, int]] = Counter()
        self.delivered_at_ms: dict[str, int] = {}
        schedule = world.schedule
        self.is_calm = schedule.has_only(*CALM) and schedule.lease_ms >= 30_000
        self.is_quick = self.is_calm and schedule.has_only(*QUICK) and schedule.max_running > 1
        self.offers = Offers(self)
        self.forgets = any(fault.kind == "tail" for fault in world.schedule.faults)

    def accept(self, record: ExportRequested) -> None:
        """The broker has confirmed a request."""
        self.accepted.setdefault(record.request_id, record)

    def forget_since(self, at_ms: int) -> None:
        """The broker forgets what was told of requests and exports after a time."""
        self.told = [told for told in self.told if told[0] <= at_ms]
        self.progress.clear()
        for _, key, record in self.told:
            if record is None:
                self.progress.pop(key, None)
            else:
                self.progress[key] = record

    def observe(self, topic: str, key: str, record: Any) -> None:
        """A record of a topic that only the ingress reads."""
        self.told.append((self.world.now_ms, key, record))
        if record is None:
            self.progress.pop(key, None)
            return
        if type(record) is ExportProgress:
            if not 0 <= record.tiles_missing <= record.tiles_expected:
                raise Violation(f"missing tiles of {topic}/{key}: {record}")
            if not 0 <= record.tiles_done <= record.tiles_expected:
                raise Violation(f"tiles done of {topic}/{key}: {record}")
            if record.state == "Completed" and record.tiles_done != record.tiles_expected:
                raise Violation(f"completed with tiles to do: {record}")
            before = self.progress.get(key)
            if self.is_calm and before is not None and before.attempt == record.attempt:
                self._check_going_on(before, record)
            self.offers.hear_progress(record)
        elif type(record) is RequestProgress:
            if record.request_id not in self.accepted:
                raise Violation(f"nobody asked: {record}")
            if record.repeats is not None:
                self.first_of[record.request_id] = record.repeats
        self.progress[key] = record

    def hear_order(self, record: ExportCommanded) -> None:
        """A caller orders something; a deletion of what still runs cancels it."""
        self.offers.orders.append(record)
        if record.command == DELETE:
            self.cancelled.add(record.request_id)

    @staticmethod
    def _check_going_on(before: ExportProgress, record: ExportProgress) -> None:
        """Within an attempt nothing goes back, and an end is an end."""
        if record.tiles_done < before.tiles_done:
            raise Violation(f"tiles done went back: {before} {record}")
        expires = before.state == "Completed" and record.state == "Expired"
        if before.state in ENDED and record.state != before.state and not expires:
            raise Violation(f"an export that ended goes on: {before} {record}")

    def judge_send(self, key: str, record: Any) -> None:
        """A record that follows from a row: the row must stand before it is sent."""
        if type(record) is WriteRange:
            self.orders[record.export_id, record.attempt, record.range_number] += 1
            return
        if type(record) is RangesMissing:
            if self.is_calm and self._runs(record.export_id, record.attempt):
                raise Violation(f"no fault explains that ranges are missing: {record}")
            return
        if self.forgets:
            return
        if type(record) is RequestConfirmed:
            if key not in self.results:
                raise Violation(f"{key} is confirmed without a result")
            return
        rows = self.world.broker.changelogs[EXPORT_REGISTRY, 0].rows.rows
        table = "exports" if type(record) is ExportStarted else "requests"
        row: Any = rows.get((table, key))
        if row is None or row.state == OPEN:
            raise Violation(f"{type(record).__name__} of {key} is sent before its row stands")
        if table == "exports" and attempt_order(row.attempt) < attempt_order(record.attempt):
            raise Violation(f"{record.attempt} of {key} is started before its row stands")

    def _runs(self, export_id: str, attempt: str) -> bool:
        """Whether the registrar has not ended an attempt: else its shards may be removed."""
        rows = self.world.broker.changelogs[EXPORT_REGISTRY, 0].rows.rows
        row: Any = rows.get(("exports", export_id))
        return row is not None and row.attempt == attempt and row.state == RUNNING

    def hear_result(self, request_id: str, result: ExportFinished | None) -> None:
        """A row of `results`: the public result."""
        first = self.results.get(request_id)
        if result is None:
            self._judge_forgetting(first, request_id)
            self.forgotten.add(request_id)
            return
        if request_id not in self.accepted:
            raise Violation(f"a result of {request_id}, which nobody asked for")
        if first is not None and not self._has_forgotten(request_id):
            if first != result:
                raise Violation(f"{request_id} has two results: {first} and {result}")
            return
        self.results[request_id] = result
        self.heard_at_ms[request_id] = self.world.now_ms
        took_ms = self.world.now_ms - self.accepted[request_id].at_ms
        if self.is_quick and took_ms > QUICK_MS:
            raise Violation(f"{request_id} took {took_ms} ms, and no fault explains it")
        if result.success:
            self._check_package(result)
        elif not result.error_reason:
            raise Violation(f"{request_id} failed without a reason")
        elif "the ledgers" in result.error_reason:
            raise Violation(f"{request_id} failed by a bug: {result.error_reason}")

    def _judge_forgetting(self, result: ExportFinished | None, request_id: str) -> None:
        """A result is forgotten a week after what it offers, not before."""
        if result is None or forget_at_ms(result) - SKEW_MS > self.world.now_ms:
            raise Violation(f"the result of {request_id} was removed")

    def _check_package(self, result: ExportFinished) -> None:
        export_id, attempt, name = result.file_uri.split("/")[-3:]
        folder = self.world.disk.folders.get((export_id, attempt))
        package = (folder.package or folder.gone) if folder is not None else None
        if package is None:
            raise Violation(f"{result.request_id}: no package at {result.file_uri}")
        facts = package.facts
        told = (result.package_name, result.sha256, result.file_bytes)
        if told != (facts.package_name, facts.sha256, facts.file_bytes) or name != told[0]:
            raise Violation(f"{result.request_id}: the result tells {told} of {facts}")
        cover = asked.cut_covers()[export_id]
        tiles = tuple(package.ranges[number] for number in sorted(package.ranges))
        rightly = any(tiles == cover.runs(cut) for cut in range(1, cover.cover.tile_count + 1))
        if not rightly or facts.expected != cover.cover.tile_count:
            raise Violation(f"{result.request_id}: wrong tiles in {facts.package_name}")
        if package.gone_at_ms is not None:
            asked_at_ms = self.accepted[result.request_id].at_ms
            if package.gone_at_ms < asked_at_ms:
                raise Violation(f"{result.request_id} was offered a package that was gone")
            if package.was_swept and package.gone_at_ms < self.offers.ends_ms(result):
                raise Violation(f"{result.request_id} was offered what was swept before")

    def judge_removal(self, export_id: str, attempt: str) -> None:
        """The files of an attempt are about to be removed: nobody may need them any more."""
        if self.forgets:
            return
        row: Any = self.world.broker.changelogs[EXPORT_REGISTRY, 0].rows.rows.get(
            ("exports", export_id)
        )
        if row is not None and row.attempt == attempt and row.state not in OVER:
            raise Violation(f"{attempt} of {export_id} is removed while it is {row.state}")
        self.offers.judge_removal(export_id, attempt)

    def receive_webhook(self, told_id: str, row: DeliveryRow, result: ExportFinished) -> int:
        """A receiver is called; returns its answer, 0 for none."""
        url, request_id = row.url, row.request_id
        known_id = delivery_id(request_id, url)
        if row.event == EXPIRING:
            known_id = warning_id(request_id, url, row.expires_at_ms)
        if self.results.get(request_id) != result:
            raise Violation(f"{url} was told of {request_id} what is not its result")
        if told_id != known_id:
            raise Violation(f"{url} was called for {request_id} under another id: {told_id}")
        world = self.world
        delivered_ms = self.delivered_at_ms.get(told_id)
        is_again = delivered_ms is not None and delivered_ms + 1_000 < world.now_ms
        if is_again and self.is_calm and not self.offers.asked_again(url):
            raise Violation(f"{url} was called again for {request_id}")
        status = 200
        if world.failing_webhooks:
            world.failing_webhooks -= 1
            status = (0, 500)[world.failing_webhooks % 2]
        world.say(f"   webhook {url} of {request_id} answers {status}")
        if status == 200:
            self.answered[told_id] += 1
        return status

    def _has_forgotten(self, request_id: str) -> bool:
        """Whether the broker lost the result: then another one may take its place."""
        place = self.world.broker.place(EXPORT_SETTLEMENTS, request_id)
        rows = self.world.broker.changelogs[place].lost
        return ("results", request_id) in rows

    def has_heard_of(self, request_id: str, by_ms: int) -> bool:
        """Whether registrar or completion spoke of a request before a time."""
        heard_ms = [at_ms for at_ms, key, _ in self.told if key == request_id]
        heard_ms.append(self.heard_at_ms.get(request_id, by_ms + 1))
        return min(heard_ms) <= by_ms

    def has_told(self, attempt: str) -> bool:
        """Whether a result names the package of an attempt."""
        return any(f"/{attempt}/" in result.file_uri for result in self.results.values())

    def hear_delivery(self, key: str, row: Any) -> None:
        """A row of `deliveries`."""
        if row is not None and row.state == DELIVERED:
            self.delivered_at_ms.setdefault(key, self.world.now_ms)

    def bury(self, record: Any, reason: str) -> None:
        """A record went to the dead letters."""
        self.dead.append((record, reason))

    def watch_space(self, registrar: Registrar) -> None:
        """What is reserved never exceeds the disk, and what one client has not its limit."""
        if registrar.state.reserved_bytes() > self.world.schedule.capacity_bytes:
            raise Violation(f"{registrar.state.reserved_bytes()} bytes are reserved")
        limits.watch(self, registrar.state)

    def judge_end(self) -> None:
        """Judge the end of a run: faults have stopped, and all timers have run out."""
        for request_id in self.accepted:
            if request_id not in self.results:
                raise Violation(f"{request_id} has no result")
        registrar = self._recovered_registrar()
        self._judge_registrar(registrar)
        self._judge_rows()
        self._judge_cancels()
        self.offers.judge_end(registrar.state)
        limits.judge_end(self)
        self._judge_webhooks()
        self._judge_live_owners()
        askings = self.world.schedule.askings
        if self.is_calm:
            self._judge_orders()
        if not self.world.schedule.count_of("freeze"):  # a zombie's last word may come late
            for record in self.progress.values():
                if type(record) is ExportProgress and record.state not in ENDED:
                    raise Violation(f"told to be running still: {record}")
        schedule = self.world.schedule
        causes = len(askings) + len(schedule.faults) + len(schedule.orders)
        limit = RECORDS_PER_ASKING * causes
        # Each death at a poison record plays everything since the last commit once more.
        if self.world.broker.appended > limit and self.world.poison is None:
            raise Violation(f"{self.world.broker.appended} records for {len(askings)} requests")

    def _judge_orders(self) -> None:
        """Duplicates do not breed: an order more needs a cause of its own."""
        schedule = self.world.schedule
        again = len(schedule.askings) - len({asking.request_id for asking in schedule.askings})
        lost_or_twice = ("duplicate", "lose", "stall", "storm")
        causes = again + schedule.size_of("echo") + sum(map(schedule.count_of, lost_or_twice))
        # An order that comes too late is dropped, and sent once more.
        allowed = 1 + 2 * causes + schedule.size_of("source")
        for key, count in self.orders.items():
            if count > allowed:
                raise Violation(f"range {key} was ordered {count} times")

    def _recovered_registrar(self) -> Registrar:
        registrar = Registrar(rules_of(self.world.schedule))
        rows = self.world.broker.changelogs[EXPORT_REGISTRY, 0].recovered().rows
        for (table, key), row in rows.items():
            registrar.load(table, key, row)
        return registrar

    def _judge_registrar(self, registrar: Registrar) -> None:
        state = registrar.state
        if state.reserved_bytes():
            raise Violation(f"{state.reserved_bytes()} bytes stay reserved")
        if state.waiting or state.running:
            raise Violation(f"exports are left: {state.waiting} {state.running}")
        left = {
            key: row.state
            for key, row in state.requests.items()
            if row.state not in (CONFIRMED, CANCELLED)
        }
        if left:
            raise Violation(f"requests are left: {left}")
        answered = {key for key, row in state.requests.items() if row.reason is None}
        bodies = set(state.bodies) - answered
        if bodies or state.areas:
            raise Violation(f"rows are left: bodies {bodies}, areas {set(state.areas)}")
        for export_id, row in state.exports.items():
            is_kept = row.pinned or self.world.schedule.package_ms == PACKAGE_MS
            is_offered = row.state == COMPLETED and is_kept
            if not is_offered and not row.removals:
                raise Violation(f"{export_id} is left: {row}")
            soon = [known for known in row.removals if known.due_at_ms < self.world.now_ms]
            if soon:
                raise Violation(f"files of {export_id} are left: {soon}")
        self._judge_disk(registrar)

    def _judge_disk(self, registrar: Registrar) -> None:
        """No files are left but packages that are offered, or were promised."""
        if self.forgets or not self.world.schedule.has_only(*LEAVE_NO_WRITER):
            return
        for (export_id, attempt), folder in self.world.disk.folders.items():
            row = registrar.state.exports.get(export_id)
            kept = {known.attempt for known in row.removals} if row is not None else set()
            if row is not None:
                kept.add(row.attempt)
            if attempt not in kept and (folder.package is not None or folder.shards):
                raise Violation(f"files are left in {export_id}/{attempt}")

    def _judge_rows(self) -> None:
        for request_id in self.accepted:
            place = self.world.broker.place(EXPORT_SETTLEMENTS, request_id)
            rows = self.world.broker.changelogs[place].recovered().rows
            if ("results", request_id) not in rows and request_id not in self.forgotten:
                raise Violation(f"the result of {request_id} is lost")
        for topic in (EXPORT_PLANS, EXPORT_SETTLEMENTS):
            for partition in range(PARTITIONS[topic]):
                rows = self.world.broker.changelogs[topic, partition].recovered().rows
                for (table, key), row in rows.items():
                    if table in ("plans", "progress"):
                        raise Violation(f"{table} of {key} is left")
                    if table == "deliveries" and row.state != DELIVERED:
                        raise Violation(f"delivery {row} is left")
                    if table == "results" and row != self.results.get(key):
                        raise Violation(f"the result of {key} changed: {row}")

    def _judge_cancels(self) -> None:
        """Whoever cancels before asking gets no package."""
        askings = self.world.schedule.askings
        for request_id, result in self.results.items():
            first = self.first_of.get(request_id, request_id)
            ours = {first, *(known for known, of in self.first_of.items() if of == first)}
            if result.status == "Aborted" and not ours & self.cancelled:
                raise Violation(f"{request_id} was aborted, and nobody cancelled it")
        if self.world.schedule.faults or not self.is_calm:
            return
        first_asked_ms: dict[str, int] = {}
        for asking in askings:
            known_ms = first_asked_ms.get(asking.request_id, asking.after_ms)
            first_asked_ms[asking.request_id] = min(known_ms, asking.after_ms)
        for asking in askings:
            at_ms, asked_ms = asking.cancelled_after_ms, first_asked_ms[asking.request_id]
            before = at_ms is not None and at_ms < asked_ms and asking.cancelled_by is None
            if before and self.results[asking.request_id].success:
                raise Violation(f"{asking.request_id} was cancelled before it came")

    def _judge_webhooks(self) -> None:
        for request_id, record in self.accepted.items():
            # By its own id too: after a broker has lost its tail a repeat may stand by itself.
            answering = {request_id, self.first_of.get(request_id, request_id)}
            for url in record.callback_urls:
                if not any(self.answered[delivery_id(known, url)] for known in answering):
                    raise Violation(f"{url} was never told of {answering}")

    def _judge_live_owners(self) -> None:
        for place, partition in self.world.coordinators.consumers.items():
            if partition.lost or not partition.process.alive:
                raise Violation(f"nobody reads {place}")
            recovered = self.world.broker.changelogs[place].recovered().rows
            if self._but_learned(partition.table.rows) != self._but_learned(recovered):
                raise Violation(f"the rows of {place} are not those of its changelog")

    def _but_learned(self, rows: dict[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
        """Rows without tile sizes, in a run with zombies.

        Of an end that a dying broker has forgotten a zombie may still write what was learned: it
        is true, and its successor finds it when it starts next.
        """
        if not self.forgets or not self.world.schedule.count_of("freeze"):
            return rows
        return {key: row for key, row in rows.items() if key[0] != "layers"}

    @staticmethod
    def brief_row(row: Any) -> str:
        """A row in one short line."""
        if row is None:
            return "gone"
        names = ("state", "phase", "attempt", "base", "trials", "success")
        told = [f"{name}={getattr(row, name)}" for name in names if hasattr(row, name)]
        return f"{type(row).__name__}({' '.join(told)})"
