"""Processes that die, freeze and start again, and the groups that share partitions among them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tests.simulation.broker import TopicPartition

if TYPE_CHECKING:
    from tests.simulation.world import World

SESSION_MS = 10_000


class Process:
    """One process of a consumer group.

    Attributes:
        alive: It runs.
        frozen: It stands still, and everything that it would do waits.
        fenced: Its partitions were given to others while it stood still: what it sends from now
            on meets the fence.
        incarnation: Its start; what an earlier one had in mind is forgotten.
        held: What it does when it goes on.
        skew_ms: How far its clock is ahead.
    """

    def __init__(self, world: "World", name: str) -> None:
        """Start it."""
        self.world = world
        self.name = name
        self.alive = True
        self.frozen = False
        self.fenced = False
        self.incarnation = 1
        self.held: list[Callable[[], None]] = []
        self.skew_ms = int(world.chance() * 600) - 300
        self.group: Group | None = None
        self.memory: Any = None

    @property
    def now_ms(self) -> int:
        """Its clock."""
        return self.world.now_ms + self.skew_ms

    def die(self) -> None:
        """End at once; a supervisor starts it again."""
        world = self.world
        world.say(f"** {self.name} dies")
        self.alive = self.frozen = self.fenced = False
        self.incarnation += 1
        self.held.clear()
        world.after(1_000 + int(world.chance() * 12_000), self._start)
        assert self.group is not None
        self.group.forget(self)
        world.after(3_000 + int(world.chance() * SESSION_MS), self.group.rebalance)

    def _start(self) -> None:
        if self.alive:
            return  # who dies twice at one moment starts once
        self.alive = True
        assert self.group is not None
        self.world.say(f"** {self.name} starts")
        self.group.on_start(self)
        self.group.rebalance()

    def freeze(self, for_ms: int) -> None:
        """Stand still; after a session the group goes on without it."""
        world, incarnation = self.world, self.incarnation
        self.frozen = True
        assert self.group is not None
        world.after(SESSION_MS, lambda: self._expire(incarnation))
        world.after(for_ms, lambda: self._go_on(incarnation))

    def _expire(self, incarnation: int) -> None:
        if self.frozen and self.incarnation == incarnation:
            assert self.group is not None
            self.group.rebalance()

    def _go_on(self, incarnation: int) -> None:
        if not self.frozen or self.incarnation != incarnation:
            return
        self.world.say(f"** {self.name} goes on{', fenced' if self.fenced else ''}")
        self.frozen = False
        held, self.held = self.held, []
        for action in held:
            if self.incarnation == incarnation and not self.frozen:
                action()
            elif self.incarnation == incarnation:
                self.held.append(action)
        if self.incarnation == incarnation and self.fenced and not self.frozen:
            # Nothing was at hand: the next heartbeat tells it.
            self.world.after(1_000, self._leave, self)

    def _leave(self) -> None:
        if self.fenced:
            self.die()


class Group:
    """The members of a consumer group and who reads which partition.

    `make_consumer` gets the process, the partition, the offset to go on from, and the consumer
    that the same process had before, or None.
    """

    def __init__(
        self,
        world: "World",
        processes: Sequence[Process],
        places: Sequence[TopicPartition],
        make_consumer: Callable[[Process, TopicPartition, int, Any], Any],
        on_start: Callable[[Process], None],
    ) -> None:
        """Join all members."""
        self.world = world
        self.processes = processes
        self.committed: dict[TopicPartition, int] = dict.fromkeys(places, 0)
        self.consumers: dict[TopicPartition, Any] = {}
        self._commits: dict[TopicPartition, list[tuple[int, int]]] = {place: [] for place in places}
        self._make_consumer = make_consumer
        self.on_start = on_start
        for process in processes:
            process.group = self
            on_start(process)
        self.rebalance()

    def rebalance(self) -> None:
        """Share the partitions among those that answer; all of them begin from their rows."""
        able = [process for process in self.processes if process.alive and not process.frozen]
        able = [process for process in able if not process.fenced]
        if not able:
            return
        world = self.world
        for place, committed in self.committed.items():
            old = self.consumers.get(place)
            graceful = old is not None and old.process in able and not old.lost
            if graceful and world.chance() < 0.8:
                self.commit(place, max(committed, old.acked))
                committed = self.committed[place]  # noqa: PLW2901 - the offset as it is now
            if old is not None:
                old.lost = True
                if old.process.frozen:
                    old.process.fenced = True
            if graceful and world.chance() < 0.7:
                process, kept = old.process, old
            else:
                process, kept = able[int(world.chance() * len(able))], None
            consumer = self._make_consumer(process, place, committed, kept)
            self.consumers[place] = world.broker.consumers[place] = consumer
            world.say(f"   {process.name} reads {place[0]}/{place[1]} from {committed}")
            consumer.wake()

    def commit(self, place: TopicPartition, offset: int) -> None:
        """Commit an offset."""
        self.committed[place] = offset
        self._commits[place].append((self.world.now_ms, offset))

    def find_ends(self, since_ms: int) -> None:
        """After the broker lost its tail: commits since then are lost, as offsets at the end."""
        for place, consumer in self.consumers.items():
            end = len(self.world.broker.logs[place])
            commits = self._commits[place]
            while commits and commits[-1][0] > since_ms:
                commits.pop()
            self.committed[place] = min(commits[-1][1] if commits else 0, end)
            if consumer.position > end:
                consumer.move_to(0 if self.world.chance() < 0.5 else end)

    def forget(self, process: Process) -> None:
        """A process has died: nobody commits for it, and files that it had locked are free."""
        for consumer in self.consumers.values():
            if consumer.process is process:
                consumer.lost = True
        for folder in self.world.disk.folders.values():
            for shard in folder.shards:
                if shard.locked_by is process:
                    shard.locked_by = None
