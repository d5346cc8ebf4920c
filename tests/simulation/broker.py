"""The simulated broker: partitions in order, changelogs with row versions, consumers woken late."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from zlib import crc32

from app.domain.records import (
    AdoptShards,
    AssemblePackage,
    AssemblyBeat,
    DeliveryTried,
    ExportAssembled,
    ExportBeat,
    ExportFailed,
    ExportStarted,
    ExportStopped,
    FilesRemoved,
    PackageAssembled,
    RangesMissing,
    RangeUnreadable,
    RangeWritten,
    RemoveAttempt,
    RequestConfirmed,
    RequestExpiring,
    RequestSettled,
    ShardsAdopted,
    Tick,
    WriteRange,
)
from app.domain.topic_names import (
    EXPORT_PLANS,
    EXPORT_REGISTRY,
    EXPORT_REQUESTS,
    EXPORT_SETTLEMENTS,
    TILE_RANGE_WORK,
)
from app.kafka.owned_table import PartitionRows, RowVersion
from app.kafka.topics import OLDEST_HANDLED_MS

if TYPE_CHECKING:
    from tests.simulation.world import World

PARTITIONS = {
    EXPORT_REQUESTS: 2,
    EXPORT_REGISTRY: 1,
    EXPORT_PLANS: 2,
    TILE_RANGE_WORK: 2,
    EXPORT_SETTLEMENTS: 2,
}

HEALED = frozenset(
    {
        Tick,
        ExportBeat,
        ExportStarted,
        ExportStopped,
        ExportAssembled,
        ExportFailed,
        WriteRange,
        AssemblePackage,
        AssemblyBeat,
        RangeWritten,
        RangeUnreadable,
        RangesMissing,
        PackageAssembled,
        RequestSettled,
        RequestConfirmed,
        RequestExpiring,
        DeliveryTried,
        AdoptShards,
        ShardsAdopted,
        RemoveAttempt,
        FilesRemoved,
    }
)
"""Records that may be lost on the way: leases and repetitions must heal that (faust.md, rule 9)."""

TopicPartition = tuple[str, int]


class Consumer(Protocol):
    """Whoever reads a partition now."""

    def wake(self) -> None:
        """There may be something to read."""


@dataclass(slots=True)
class Changelog:
    """The changelog records of all tables of one inbox partition.

    `rows` is what recovery finds in it: kept up to date, so that a takeover costs nothing; `lost`
    are keys of rows that a dying broker forgot.
    """

    records: list[tuple[int, tuple[str, str], Any, RowVersion]] = field(default_factory=list)
    rows: PartitionRows = field(default_factory=PartitionRows)
    lost: set[tuple[str, str]] = field(default_factory=set)

    def append(self, at_ms: int, key: tuple[str, str], row: Any, version: RowVersion) -> None:
        """Write one row."""
        self.records.append((at_ms, key, row, version))
        self.rows.put(key, row, version)

    def recovered(self) -> PartitionRows:
        """The rows as a process recovers them."""
        copy = PartitionRows()
        for _, key, row, version in self.records:
            copy.put(key, row, version)
        return copy

    def forget_since(self, cut_ms: Callable[[], int]) -> None:
        """Forget what was written after a time, another one for each table: each has its topic."""
        tables = sorted({key[0] for _, key, _, _ in self.records})
        ends_ms = {table: cut_ms() for table in tables}
        kept = [entry for entry in self.records if entry[0] <= ends_ms[entry[1][0]]]
        self.lost |= {entry[1] for entry in self.records if entry[0] > ends_ms[entry[1][0]]}
        self.records = kept
        self.rows = self.recovered()


@dataclass(slots=True)
class Broker:
    """Topics and changelogs.

    Attributes:
        world: For time, chance and observers.
        logs: Records by topic and partition.
        times: When each of these records came.
        changelogs: By inbox and partition.
        consumers: Who reads a partition now.
        observe: Sees each record of a topic that nobody here consumes.
        judge: Sees each record that says what a row must say before it.
        lose_next: So many of the next records that may be lost are lost.
        copy_next_ms: The next record comes again so much later; 0: no.
        stall_next_ms: The next record is read so much later; 0: no.
        storm_until_ms: Until then every record comes twice.
        appended: Records sent so far, lost ones too.
        before: Sees each record before it is taken; stories strike there.
    """

    world: "World"
    observe: Callable[[str, str, Any], None]
    judge: Callable[[str, Any], None]
    logs: dict[TopicPartition, list[Any]] = field(default_factory=dict)
    times: dict[TopicPartition, list[int]] = field(default_factory=dict)
    changelogs: dict[TopicPartition, Changelog] = field(default_factory=dict)
    consumers: dict[TopicPartition, Consumer] = field(default_factory=dict)
    held_until_ms: dict[TopicPartition, int] = field(default_factory=dict)
    lose_next: int = 0
    copy_next_ms: int = 0
    stall_next_ms: int = 0
    storm_until_ms: int = 0
    appended: int = 0
    before: Callable[[Any], None] | None = None
    judged: frozenset[type] = frozenset(
        {ExportStarted, RangesMissing, RequestConfirmed, RequestSettled, WriteRange}
    )
    _places: dict[tuple[str, str], TopicPartition] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Create the topics."""
        for topic, count in PARTITIONS.items():
            for partition in range(count):
                self.logs[topic, partition] = []
                self.times[topic, partition] = []
                self.changelogs[topic, partition] = Changelog()

    def place(self, topic: str, key: str) -> TopicPartition:
        """The partition of a key."""
        found = self._places.get((topic, key))
        if found is None:
            partition = crc32(key.encode()) % PARTITIONS[topic]
            found = self._places[topic, key] = (topic, partition)
        return found

    def append(self, topic: str, key: str, record: Any, partition: int | None = None) -> None:
        """Take one record; it may come twice, late, or not at all."""
        self.appended += 1
        if self.before is not None:
            self.before(record)
        world = self.world
        if world.trace is not None:
            world.say(f"-> {topic} {key[:8]} {world.brief(record)}")
        if type(record) in self.judged:
            self.judge(key, record)
        if topic not in PARTITIONS:
            self.observe(topic, key, record)
            return
        place = self.place(topic, key) if partition is None else (topic, partition)
        if self.lose_next and type(record) in HEALED:
            self.lose_next -= 1
            world.say("   lost")
            return
        if self.stall_next_ms:
            self.held_until_ms[place] = world.now_ms + self.stall_next_ms
            world.say(f"   stalls {self.stall_next_ms} ms")
            self.stall_next_ms = 0
        if self.copy_next_ms:
            wait_ms, self.copy_next_ms = self.copy_next_ms, 0
            world.after(wait_ms, lambda: self._put(place, record))
        if self.storm_until_ms > world.now_ms:
            world.after(1 + int(world.chance() * 40), lambda: self._put(place, record))
        self._put(place, record)

    def _put(self, place: TopicPartition, record: Any) -> None:
        self.logs[place].append(record)
        self.times[place].append(self.world.now_ms)
        consumer = self.consumers.get(place)
        if consumer is not None:
            consumer.wake()

    def echo(self, count: int) -> None:
        """Old records come again: a producer's retry, an operator's replay, a zombie.

        Those that are too old for `app.kafka.belonging` get no further than the agent's door.
        """
        kept = [place for place, log in self.logs.items() if log]
        for _ in range(count if kept else 0):
            place = kept[int(self.world.chance() * len(kept))]
            offset = int(self.world.chance() * len(self.logs[place]))
            if self.times[place][offset] < self.world.now_ms - OLDEST_HANDLED_MS:
                continue
            record = self.logs[place][offset]
            if self.world.trace is not None:
                self.world.say(f"-> {place[0]} again {self.world.brief(record)}")
            self._put(place, record)

    def latency_ms(self, place: TopicPartition) -> int:
        """How long a consumer of a partition waits for its next record."""
        held_until_ms = self.held_until_ms.get(place)
        if held_until_ms is not None:
            if held_until_ms > self.world.now_ms:
                return held_until_ms - self.world.now_ms
            del self.held_until_ms[place]
        return 1 + int(self.world.chance() * 20)

    def lose_tails(self, since_ms: int) -> None:
        """Forget the end of each partition, at most since a time; offsets come again."""
        span_ms = self.world.now_ms - since_ms

        def cut_ms() -> int:
            return since_ms + int(self.world.chance() * span_ms)

        for place, log in self.logs.items():
            times, end_ms = self.times[place], cut_ms()
            while times and times[-1] > end_ms:
                times.pop()
                log.pop()
            self.changelogs[place].forget_since(cut_ms)
