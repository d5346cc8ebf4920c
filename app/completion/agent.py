"""The completion stage at its Kafka edge, and the courier beside it.

Consumes:  export-settlements, key request_id
Produces:  export-finished (the changelog of `results`), RequestConfirmed to export-registry
Delivery:  at least once; the first result of a request stands, replays only confirm it
Failures:  webhooks that fail are tried again for 72 h; unreadable records to the dead letters; a
           settlement at which the process died three times becomes a failed result
"""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

from app.completion.courier import Courier
from app.completion.give_up import give_up
from app.completion.owner import TABLES, Completion
from app.completion.webhook_call import WebhookRules
from app.domain.topic_names import EXPORT_SETTLEMENTS
from app.kafka.edge import Edge
from app.kafka.owner_agent import OwnerAgent, attach_owner
from app.kafka.topics import PARTITIONS, changelog_name


@dataclass(slots=True)
class CompletionStage:
    """Agent and courier of the stage.

    Attributes:
        edge: What the app's agents share.
        courier: Delivers the results of this process's partitions.
        agent: The agent; set by `attach`.
    """

    edge: Edge
    courier: Courier = field(init=False)
    agent: OwnerAgent = field(init=False)

    def find_row(self, partition: int, table: str, key: str) -> Any:
        """Read a row as the table has it; None: there is none."""
        encoded = self.agent.tables[table].rows(partition).get(key.encode())
        return None if encoded is None else self.edge.codec.decode(encoded)

    def owners(self) -> list[Completion]:
        """The owners of the partitions that this process has now."""
        return [
            owned.owner
            for owned in self.agent.partitions.values()
            if isinstance(owned.owner, Completion)
        ]

    async def deliver(self) -> None:
        """Run the courier for as long as the app runs.

        Faust ends the process when this raises, so a courier that ends takes the process along:
        without it no webhook would be called.
        """
        running = asyncio.create_task(self.courier.run(), name="courier")
        stopped = asyncio.create_task(self.edge.faust_app.wait_for_stopped())
        try:
            await asyncio.wait([running, stopped], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
                raise RuntimeError("the courier has ended")
        finally:
            for task in (running, stopped):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


def attach(edge: Edge, rules: WebhookRules) -> CompletionStage:
    """Add the completion stage to the coordinator's app."""
    stage = CompletionStage(edge)
    stage.courier = Courier(stage.owners, edge.outbox, edge.now_ms, rules)

    def make_owner(partition: int) -> Completion:
        return Completion(
            find_row=lambda table, key: stage.find_row(partition, table, key),
            on_pending=stage.courier.wake,
        )

    stage.agent = attach_owner(
        edge,
        inbox=EXPORT_SETTLEMENTS,
        tables={table: changelog_name(table) for table in TABLES},
        partitions=PARTITIONS,
        make_owner=make_owner,
        on_poison=give_up,
    )
    edge.faust_app.task(stage.deliver)
    return stage
