"""What the workers do: admission, tile writer and assembler, step by step on a simulated disk."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.admission.admit import GIVE_UP_MS
from app.assembly.assembler import BEAT_S, TRIES_AFTER_FAILURE
from app.domain.decision import Send
from app.domain.errors import (
    ExportServiceError,
    InvalidRequest,
    ShardLost,
    SourceUnavailable,
    StorageFull,
)
from app.domain.package_facts import PackageFacts
from app.domain.records import (
    AdoptShards,
    AssemblePackage,
    AssemblyBeat,
    AssemblyFailed,
    ExportCommanded,
    ExportRequested,
    FilesRemoved,
    PackageAssembled,
    RangesMissing,
    RangeSpan,
    RangeUnreadable,
    RangeWritten,
    RemoveAttempt,
    RequestRefused,
    ShardsAdopted,
    WriteRange,
)
from app.domain.topic_names import EXPORT_PLANS, EXPORT_REGISTRY, EXPORT_REQUESTS
from app.writing.caretaker import spans_of
from app.writing.range_writer import NEW_SHARDS
from tests.simulation import asked
from tests.simulation.assembling import links, make_package, missing_ranges, publish
from tests.simulation.disk import Disk, Shard
from tests.simulation.worker_memory import Seat, Waits, WorkerMemory

if TYPE_CHECKING:
    from tests.simulation.world import World


BEAT_MS = int(BEAT_S * 1000)


class WorkModel:
    """What workers do; mutations change single methods."""

    missing = staticmethod(missing_ranges)
    publish = staticmethod(publish)
    links = staticmethod(links)

    def naming(self, memory: WorkerMemory, key: tuple[str, str], shard: Shard) -> Waits:
        """Tables and owner row first, then the name."""
        shard.owner = memory.owner
        shard.whole = True
        yield 1
        self.name(memory, key, shard)

    @staticmethod
    def name(memory: WorkerMemory, key: tuple[str, str], shard: Shard) -> None:
        """Rename a shard, so that others find it."""
        shard.named = True
        memory.world.disk.folder(*key).shards.append(shard)

    def admit(self, memory: WorkerMemory, record: Any) -> Waits:
        """As app.admission: the real judgement, then a look at the disk, or back to the tail."""
        if isinstance(record, ExportCommanded):
            yield 1
            return (Send(EXPORT_REGISTRY, record.request_id, record),)
        world, process = memory.world, memory.process
        if world.catalogue_away_until_ms > world.now_ms:
            yield 250
            first_ms = record.first_tried_at_ms or process.now_ms
            if process.now_ms - first_ms < GIVE_UP_MS:
                again = replace(record, tries=record.tries + 1, first_tried_at_ms=first_ms)
                return (Send(EXPORT_REQUESTS, record.request_id, again),)
        try:
            found = asked.admitted(record)
        except InvalidRequest as error:
            return (self._refused(record, process.now_ms, error),)
        looked_at_ms = process.now_ms
        free_bytes = world.disk.free_bytes()
        packages = world.disk.finished_attempts(found.export_id)
        yield 1 + int(world.chance() * 30)
        found = replace(
            found,
            at_ms=process.now_ms,
            free_bytes=free_bytes,
            packages=packages,
            looked_at_ms=looked_at_ms,
        )
        return (Send(EXPORT_REGISTRY, record.request_id, found),)

    @staticmethod
    def _refused(record: ExportRequested, now_ms: int, error: InvalidRequest) -> Send:
        refused = RequestRefused(
            request_id=record.request_id,
            at_ms=now_ms,
            request_digest=asked.digest(record),
            client=record.client,
            layer_id=record.layer_id,
            bbox_json=record.bbox_json,
            target_resolution_deg=record.target_resolution_deg,
            callback_urls=record.callback_urls,
            http_status=int(error.http_status),
            reason=str(error),
        )
        return Send(EXPORT_REGISTRY, record.request_id, refused)

    def work(self, memory: WorkerMemory, order: Any) -> Waits:
        """As app.writing.agent: write, assemble, adopt, remove, or drop what comes too late."""
        if isinstance(order, RemoveAttempt):
            return (yield from self.remove(memory, order))
        if memory.process.now_ms > order.lease_until_ms:
            memory.world.say("   dropped: too late")
            return ()
        if isinstance(order, AssemblePackage):
            self.start_assembly(memory, order)
            return ()
        do = self.adopt if isinstance(order, AdoptShards) else self.write_and_assemble
        return (yield from do(memory, order))

    def write_and_assemble(self, memory: WorkerMemory, order: WriteRange) -> Waits:
        """A range, and the package right away if it is the only one."""
        if memory.world.disk.published(order.export_id, order.attempt) is None:
            report = yield from self.write(memory, order)
            if order.then_assemble is None or not isinstance(report.record, RangeWritten):
                return (report,)
        if order.then_assemble is None:
            return self.answer_published(memory, order)
        return (yield from self.assemble(memory, order.then_assemble))

    def adopt(self, memory: WorkerMemory, order: AdoptShards) -> Waits:
        """As app.writing.caretaker: shard by shard; one that cannot be had is left behind."""
        disk = memory.world.disk
        yield from self.forget(memory, (order.export_id, order.continues))
        old, new = (
            disk.folder(order.export_id, attempt) for attempt in (order.continues, order.attempt)
        )
        for shard in list(old.shards):
            try:
                self.take(disk, shard, memory.owner)
            except ShardLost:
                continue
            yield 1
            if shard in old.shards:  # else another adopter was quicker
                old.shards.remove(shard)
                new.shards.append(shard)
            yield 1
        numbers = {number for shard in new.shards for number in shard.ledger}
        record = ShardsAdopted(
            order.export_id, order.attempt, memory.process.now_ms, spans_of(numbers)
        )
        return (Send(EXPORT_PLANS, order.export_id, record),)

    @staticmethod
    def take(disk: Disk, shard: Shard, owner: str) -> None:
        """Become the owner of a shard."""
        disk.take(shard, owner)

    def remove(self, memory: WorkerMemory, order: RemoveAttempt) -> Waits:
        """As app.writing.caretaker: everything in the folder goes."""
        yield from self.forget(memory, (order.export_id, order.attempt))
        world = memory.world
        world.witness.judge_removal(order.export_id, order.attempt)
        folder = world.disk.folder(order.export_id, order.attempt)
        while folder.shards:
            folder.shards.pop().lost = True
            yield 1
        world.disk.remove_package(folder, world.now_ms)
        yield 1
        record = FilesRemoved(order.export_id, order.attempt, memory.process.now_ms)
        return (Send(EXPORT_PLANS, order.export_id, record),)

    @staticmethod
    def forget(memory: WorkerMemory, key: tuple[str, str]) -> Waits:
        """Close the shard that this process itself is filling."""
        seat = yield from memory.take_seat(key)
        seat.shard = None
        seat.leave()

    @staticmethod
    def answer_published(memory: WorkerMemory, order: WriteRange) -> Sequence[Send]:
        """The package stands, so the range is done: its planner hears so, or has forgotten it."""
        now_ms = memory.process.now_ms
        record = RangeWritten(order.export_id, order.attempt, now_ms, order.range_number, ())
        return (Send(EXPORT_PLANS, order.export_id, record),)

    def write(self, memory: WorkerMemory, order: WriteRange) -> Waits:
        """As app.writing.range_writer."""
        now_ms = memory.process.now_ms
        try:
            zooms = yield from self._written(memory, order)
        except (ShardLost, SourceUnavailable) as error:
            record: Any = self._unreadable(memory, order, error, fatal=False)
        except StorageFull as error:
            record = self._unreadable(memory, order, error, fatal=True)
        else:
            now_ms = memory.process.now_ms
            record = RangeWritten(order.export_id, order.attempt, now_ms, order.range_number, zooms)
        return Send(EXPORT_PLANS, order.export_id, record)

    @staticmethod
    def _unreadable(
        memory: WorkerMemory, order: WriteRange, error: Exception, *, fatal: bool
    ) -> RangeUnreadable:
        return RangeUnreadable(
            order.export_id,
            order.attempt,
            memory.process.now_ms,
            order.range_number,
            order.trial,
            fatal,
            str(error),
        )

    def _written(self, memory: WorkerMemory, order: WriteRange) -> Waits:
        key = (order.export_id, order.attempt)
        for _ in range(NEW_SHARDS):
            seat: Seat = yield from memory.take_seat(key)
            try:
                if seat.shard is None:
                    if memory.world.disk.is_full:
                        raise StorageFull("no space left")
                    seat.shard = yield from memory.new_shard(key)
                return (yield from self.write_range(memory, seat.shard, order))
            except ShardLost:
                seat.shard = None
            finally:
                seat.leave()
        raise ShardLost(f"range {order.range_number}: {NEW_SHARDS} shards were lost in a row")

    def write_range(self, memory: WorkerMemory, shard: Shard, order: WriteRange) -> Waits:
        """As app.writing.write_range: the tiles and their ledger row, in one transaction."""
        world, disk = memory.world, memory.world.disk
        if shard.lost:
            raise ShardLost(f"{shard.name} is gone")
        if order.range_number in shard.ledger:
            return shard.ledger[order.range_number][1]
        cover = asked.cut_covers()[order.export_id]
        yield 1  # until a thread is free
        disk.begin(shard, memory.owner, memory.process)
        yield self.reading_ms(world)
        if world.unreadable_ranges:
            world.unreadable_ranges -= 1
            shard.locked_by = None
            raise SourceUnavailable(f"range {order.range_number}: timeout")
        zooms = cover.counts_of(order.runs)
        disk.commit(shard, memory.owner, order.range_number, (order.runs, zooms))
        yield 1
        return zooms

    @staticmethod
    def reading_ms(world: "World") -> int:
        """How long a range takes."""
        if world.slow_ranges:
            world.slow_ranges -= 1
            return 10_000 + int(world.chance() * 30_000)
        return 5 + int(world.chance() * 400)

    def start_assembly(self, memory: WorkerMemory, order: AssemblePackage) -> None:
        """As app.assembly.assembler: in the background, beating."""
        key = (order.export_id, order.attempt)
        if key in memory.assembling:
            return
        memory.assembling.add(key)
        process, world = memory.process, memory.world

        def beat() -> None:
            if key in memory.assembling and memory.may_send():
                record = AssemblyBeat(order.export_id, order.attempt, process.now_ms)
                world.broker.append(EXPORT_PLANS, order.export_id, record)
                world.after(BEAT_MS, beat, process)

        def work() -> Waits:
            sends = yield from self.assemble(memory, order)
            for send in sends:
                if not memory.may_send():
                    return
                world.broker.append(send.topic, send.key, send.record)
                yield 1
            memory.assembling.discard(key)

        beat()
        memory.spawn(work())

    def assemble(self, memory: WorkerMemory, order: AssemblePackage) -> Waits:
        """As app.assembly.assembler: what came of it, as a record."""
        yield from self.forget(memory, (order.export_id, order.attempt))
        try:
            outcome = yield from make_package(memory, order)
        except ShardLost as error:
            if order.trial < TRIES_AFTER_FAILURE:
                return ()
            return (self._failed(memory, order, error),)
        except ExportServiceError as error:
            return (self._failed(memory, order, error),)
        now_ms = memory.process.now_ms
        record: Any
        if isinstance(outcome, PackageFacts):
            record = PackageAssembled(order.export_id, order.attempt, now_ms, outcome)
        else:
            spans = tuple(RangeSpan(first, last) for first, last in outcome)
            record = RangesMissing(order.export_id, order.attempt, now_ms, spans)
        return (Send(EXPORT_PLANS, order.export_id, record),)

    @staticmethod
    def _failed(memory: WorkerMemory, order: AssemblePackage, error: Exception) -> Send:
        now_ms = memory.process.now_ms
        record = AssemblyFailed(order.export_id, order.attempt, now_ms, str(error))
        return Send(EXPORT_PLANS, order.export_id, record)
