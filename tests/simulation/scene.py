"""One story told on purpose: requests, and what happens at the moment a record is sent."""

from collections.abc import Callable
from typing import Any

from tests.simulation.process import Process
from tests.simulation.schedule import Asking, Schedule
from tests.simulation.world import World

Action = Callable[[Any], None]


class Scene:
    """A world without faults of its own, and hooks that strike when a record is sent.

    Attributes:
        world: Everything; its faults are those that the story adds.
        sent: All records sent, in order.
    """

    def __init__(self, *askings: Asking, seed: int = 1, **settings: Any) -> None:
        """Set the scene."""
        self.trace: list[str] = []
        self.world = World(Schedule(seed, askings, **settings), trace=self.trace)
        self.world.witness.is_calm = self.world.witness.is_quick = False
        self.sent: list[Any] = []
        self._hooks: list[tuple[type, int, Action]] = []
        self.world.broker.before = self._sent

    def when(self, kind: type, action: Action, *, nth: int = 1) -> "Scene":
        """Act right before the nth record of a kind is sent; 0: before each."""
        self._hooks.append((kind, nth, action))
        return self

    def _sent(self, record: Any) -> None:
        self.sent.append(record)
        count = len(self.records(type(record)))
        for kind, nth, action in self._hooks:
            if type(record) is kind and nth in (0, count):
                action(record)

    def play(self) -> "Scene":
        """Play to the end; every promise is judged."""
        self.world.run()
        return self

    def records(self, kind: type) -> list[Any]:
        """Records of a kind, as they were sent."""
        return [record for record in self.sent if type(record) is kind]

    @property
    def results(self) -> dict[str, Any]:
        """The result of each request."""
        return self.world.witness.results

    def lose(self, kind: type, *, nth: int = 1) -> "Scene":
        """Lose the nth record of a kind on its way."""

        def lose(_record: Any) -> None:
            self.world.broker.lose_next = 1

        return self.when(kind, lose, nth=nth)

    def lose_tails(self, after_ms: int) -> None:
        """Let the broker die so much later, and forget its last records."""
        self.world.witness.forgets = True
        self.world.after(after_ms, self.world.lose_tails)

    def owner_of(self, place: tuple[str, int]) -> Process:
        """The coordinator that owns a partition."""
        process: Process = self.world.coordinators.consumers[place].process
        return process

    def again(self, records: list[Any], topic: str, key: str) -> None:
        """Let records come once more, as a zombie or an operator would send them."""
        for record in records:
            self.world.broker._put(self.world.broker.place(topic, key), record)
