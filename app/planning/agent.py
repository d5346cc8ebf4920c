"""The planner at its Kafka edge.

Consumes:  export-plans, key export_id
Produces:  WriteRange, AssemblePackage, AdoptShards, RemoveAttempt to tile-range-work; ExportBeat,
           ExportAssembled, ExportFailed, FilesRemoved to export-registry
Delivery:  at least once; a replay finds its row and sends the outstanding window again
Failures:  unreadable ranges are planned again, then the export fails with its reason; so does one
           with a record at which the process died three times
"""

import asyncio
from typing import Any

from app.domain.topic_names import EXPORT_PLANS
from app.kafka.edge import Edge
from app.kafka.owner_agent import OwnerAgent, attach_owner
from app.kafka.topics import PARTITIONS, changelog_name
from app.planning.give_up import give_up
from app.planning.owner import TABLES, Covers, Planner


def attach(edge: Edge) -> OwnerAgent:
    """Add the planner to the coordinator's app."""
    covers = Covers()

    async def prepare(planner: Planner, record: Any) -> None:
        # Polygons with thousands of vertices take CPU time that the event loop has not: after a
        # takeover those of every running export.
        for started in planner.plans_wanted(record):
            if not covers.has(started):
                await asyncio.to_thread(covers.of, started)

    return attach_owner(
        edge,
        inbox=EXPORT_PLANS,
        tables={table: changelog_name(table) for table in TABLES},
        partitions=PARTITIONS,
        make_owner=lambda _partition: Planner(covers),
        before=prepare,
        on_poison=lambda record, reason: give_up(edge.now_ms(), record, reason),
    )
