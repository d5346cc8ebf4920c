"""What a worker process knows until it dies: its shards, and the work that it has in hand."""

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.simulation.disk import Shard
from tests.simulation.process import Process
from tests.simulation.violation import Violation

if TYPE_CHECKING:
    from tests.simulation.world import World

Waits = Generator["int | Seat", None, Any]
"""Work that takes time: it yields how long until its next step, ms, or the seat it waits for."""


@dataclass(slots=True, eq=False)
class Seat:
    """The place of one attempt's shard in a worker; one user at a time, the others in a row."""

    shard: Shard | None = None
    is_taken: bool = False
    waiting: deque[Callable[[], None]] = field(default_factory=deque)

    def leave(self) -> None:
        """Let the next one in."""
        self.is_taken = False
        if self.waiting:
            self.waiting.popleft()()


class WorkerMemory:
    """What a worker process knows and forgets when it dies."""

    def __init__(self, world: "World", process: Process) -> None:
        """Start without shards."""
        self.world = world
        self.process = process
        self.owner = f"{process.name}.{process.incarnation}"
        self.seats: dict[tuple[str, str], Seat] = {}
        self.assembling: set[tuple[str, str]] = set()
        self.shards_made = 0

    def spawn(self, work: Waits) -> None:
        """Run work step by step; each step is a place to die at."""
        process, world = self.process, self.world

        def go_on() -> None:
            if process.memory is not self:
                return  # left over from before the process died
            hit = world.passes(process)
            if hit == "kill":
                return
            if hit == "freeze":
                process.held.append(go_on)
                return
            try:
                wait = next(work)
            except StopIteration:
                return
            except Violation:
                raise
            except Exception as error:
                raise Violation(f"{process.name} failed: {error!r}") from error
            if isinstance(wait, Seat):
                wait.waiting.append(partial(world.after, 1, go_on, process))
            else:
                world.after(wait, go_on, process)

        world.after(1, go_on, process)

    def take_seat(self, key: tuple[str, str]) -> Waits:
        """Wait for the shard's place."""
        seat = self.seats.setdefault(key, Seat())
        while seat.is_taken:
            yield seat
        seat.is_taken = True
        return seat

    def new_shard(self, key: tuple[str, str]) -> Waits:
        """Make a shard under a temporary name; it gets its name when it is whole."""
        self.shards_made += 1
        shard = Shard(f"shard-{self.owner}-{self.shards_made}")
        yield from self.world.work.naming(self, key, shard)
        return shard

    def may_send(self) -> bool:
        """Meet the fence; a process that lost its partitions ends here."""
        if self.process.fenced and self.world.shell.minds_fence:
            self.process.die()
            return False
        return True
