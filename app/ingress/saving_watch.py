"""Whether the embedded broker saves what it acknowledges: an ingress takes nothing in otherwise."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from app.domain.errors import TemporaryFailure
from app.kafka.broker_folder import LOOK_EVERY_S

log = structlog.get_logger(__name__)

LOOK_TIMEOUT_S: Final = 5.0
"""A disk that does not answer for so long saves nothing either."""


@dataclass(slots=True)
class SavingWatch:
    """Looks each second whether the broker's state can be saved.

    Attributes:
        look: Says why it cannot be; None: it can. It blocks, and is called in a thread.
        problem: What the last look said.
    """

    look: Callable[[], str | None]
    problem: str | None = None

    async def run(self) -> None:
        """Look until cancelled; a look that hangs holds a single thread."""
        while True:
            looking = asyncio.create_task(asyncio.to_thread(self.look), name="look at the broker")
            await asyncio.wait([looking], timeout=LOOK_TIMEOUT_S)
            if not looking.done():
                self._note("the broker's disk does not answer")
            self._note(await looking)
            await asyncio.sleep(LOOK_EVERY_S)

    def check(self) -> None:
        """Take nothing in that the broker would acknowledge and forget.

        Raises:
            TemporaryFailure: It would.
        """
        if self.problem is not None:
            raise TemporaryFailure(self.problem)

    def _note(self, problem: str | None) -> None:
        if problem is not None and self.problem is None:
            log.error("broker_does_not_save", reason=problem)
        elif problem is None and self.problem is not None:
            log.info("broker_saves_again")
        self.problem = problem
