"""The agent of a stage without tables: read, work, send, acknowledge.

Consumes: the stage's one inbox; several handlers side by side where order does not matter.
Produces: what the handlers return.
Delivery: a record is acknowledged when everything its handler returned is confirmed; a replay
runs the handler again, which must find its own work done.
Failures: unreadable bytes and InvalidRecord to the dead letters; TemporaryFailure is tried again
in place with a bound; everything else ends the process before it commits.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from app.domain.decision import Decision, Record, Send
from app.domain.inbox import InboxPosition
from app.kafka.edge import Edge, Handling
from app.kafka.turns import Turns

log = structlog.get_logger(__name__)

Handler = Callable[[Any, InboxPosition], Awaitable[Decision]]


@dataclass(slots=True)
class TaskAgent:
    """The running agent of one inbox; made by `attach_handlers`.

    Attributes:
        handling: The wrapper around each record.
        handlers: Handler by record class.
        turns: Keeps records of one key in their order although several are in hand.
    """

    handling: Handling
    handlers: Mapping[type[Any], Handler]
    turns: Turns = field(default_factory=Turns)

    async def run(self, stream: Any) -> None:
        """Handle the inbox; the body of the Faust agent."""
        async for event in stream.events():
            # The second of two requests with one id must not overtake the first.
            async with self.turns.turn(event.message.key or b""):
                await self.handling.handled(event, self._worked)

    async def _worked(self, record: Record, position: InboxPosition, message: Any) -> None:
        handler = self.handlers.get(type(record))
        if handler is None:
            log.warning(
                "record_not_handled_here",
                inbox=self.handling.inbox,
                record=type(record).__name__,
                partition=position.partition,
                offset=position.offset,
            )
            return
        decision = await handler(record, position)
        assert not decision.stores, "a stage without tables has no rows to store"
        if decision.sends:
            await self.handling.until_delivered(
                message, lambda: self.handling.edge.outbox.send_all(decision.sends)
            )
        if decision.dead_letter is not None:
            await self.handling.buried(message, decision.dead_letter)


def attach_handlers(
    edge: Edge,
    *,
    inbox: str,
    handlers: Mapping[type[Any], Handler],
    concurrency: int = 1,
    temporary_failures_s: float = 300.0,
    on_poison: Callable[[Record | None, str], Sequence[Send]] | None = None,
) -> TaskAgent:
    """Add the one agent of a stage without tables to the app; call before the app starts.

    Args:
        edge: What the app's agents share.
        inbox: Name of the inbox in the topic catalogue.
        handlers: For each record class an async function of the record and its position that
            returns what to send, and no rows. It may run twice for one record.
        concurrency: Records in hand at the same time; those of one key keep their order.
        temporary_failures_s: How long a TemporaryFailure is tried again in place, seconds;
            after that it counts as a bug.
        on_poison: What to send when a record is given up after the process died at it three
            times; gets the record and the reason.
    """
    handling = Handling(edge, inbox, temporary_failures_s=temporary_failures_s)
    if on_poison is not None:
        handling.on_poison = on_poison
    agent = TaskAgent(handling, handlers)
    edge.faust_app.agent(edge.inbox_topic(inbox), name=f"{inbox}-tasks", concurrency=concurrency)(
        agent.run
    )
    return agent
