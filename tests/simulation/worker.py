"""The workers: partitions that they read, some records in hand at a time."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from app.domain.decision import Send
from app.domain.topic_names import EXPORT_REQUESTS, TILE_RANGE_WORK
from tests.simulation.broker import PARTITIONS, TopicPartition
from tests.simulation.process import Group, Process
from tests.simulation.worker_memory import Waits, WorkerMemory

if TYPE_CHECKING:
    from tests.simulation.world import World

SIDE_BY_SIDE = 2
"""Records in hand per partition: with two partitions the four of app.writing."""

COMMIT_MS = 1_000


class WorkPartition:
    """One partition that a worker reads: some records in hand, committed up to the oldest."""

    def __init__(
        self, world: "World", process: Process, place: TopicPartition, position: int
    ) -> None:
        """Read on from an offset."""
        self.world = world
        self.process = process
        self.place = place
        self.log = world.broker.logs[place]
        self.position = position
        self.lost = False
        self._in_hand: set[int] = set()
        self._is_waiting = False
        self._committed_ms = world.now_ms

    @property
    def acked(self) -> int:
        """Every record before this offset is done."""
        return min(self._in_hand, default=self.position)

    def wake(self) -> None:
        """Read on after a while, if there is anything and a hand is free."""
        free = len(self._in_hand) < SIDE_BY_SIDE
        if not self._is_waiting and free and self.position < len(self.log):
            self._is_waiting = True
            self.world.after(self.world.broker.latency_ms(self.place), self._read, self.process)

    def move_to(self, position: int) -> None:
        """Read on from another offset."""
        self.position = position
        self._in_hand.clear()
        self.wake()

    def _read(self) -> None:
        self._is_waiting = False
        memory: WorkerMemory = self.process.memory
        if self.lost:
            memory.may_send()
            return
        if self.position >= len(self.log):
            return
        offset, record = self.position, self.log[self.position]
        if self.world.trace is not None:
            self.world.say(
                f"{self.process.name} {self.place[0]}/{self.place[1]}@{offset} "
                f"{self.world.brief(record)}"
            )
        self._in_hand.add(offset)
        self.position += 1
        memory.spawn(self._handle(memory, offset, record))
        self.wake()

    def _handle(self, memory: WorkerMemory, offset: int, record: Any) -> Waits:
        model = self.world.work
        handler = partial(model.admit if self.place[0] == EXPORT_REQUESTS else model.work, memory)
        if self.world.shell.worker_acks_first:
            self._done(offset)
        sends: Sequence[Send] = yield from handler(record)
        for send in sends:
            if not memory.may_send():
                return
            self.world.broker.append(send.topic, send.key, send.record)
            yield 1
        if self.process.fenced and not memory.may_send():
            return
        self._done(offset)

    def _done(self, offset: int) -> None:
        self._in_hand.discard(offset)
        world = self.world
        if not self.lost and world.now_ms >= self._committed_ms + COMMIT_MS * world.chance():
            self._committed_ms = world.now_ms
            self.process.group.commit(self.place, self.acked)
        self.wake()


def worker_group(world: "World") -> Group:
    """Two workers that share requests and work."""
    places = [
        (topic, partition)
        for topic in (EXPORT_REQUESTS, TILE_RANGE_WORK)
        for partition in range(PARTITIONS[topic])
    ]
    processes = [Process(world, f"worker-{number}") for number in (1, 2)]

    def make(
        process: Process, place: TopicPartition, position: int, _kept: WorkPartition | None
    ) -> WorkPartition:
        return WorkPartition(world, process, place, position)

    def start(process: Process) -> None:
        process.memory = WorkerMemory(world, process)

    return Group(world, processes, places, make, start)
