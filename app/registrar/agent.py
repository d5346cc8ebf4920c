"""The registrar at its Kafka edge.

Consumes:  export-registry, one partition, so that everything has one order
Produces:  ExportStarted, ExportStopped, RemoveAttempt to export-plans; RequestSettled,
           RedeliveryAsked, RequestExpiring, RequestForgotten to export-settlements;
           RequestProgress, ExportProgress to export-progress
Delivery:  at least once; a replay finds its rows and sends the same again
Failures:  a known request id with another body, commands that nobody may give or understand,
           and unreadable records to the dead letters; a record at which the process died
           three times: a failed result, too
"""

from app.domain.topic_names import EXPORT_REGISTRY
from app.kafka.edge import Edge
from app.kafka.owner_agent import OwnerAgent, attach_owner
from app.kafka.topics import changelog_name
from app.registrar.give_up import give_up
from app.registrar.owner import TABLES, Registrar
from app.registrar.rules import RegistrarRules


def attach(edge: Edge, rules: RegistrarRules) -> OwnerAgent:
    """Add the registrar to the coordinator's app."""
    return attach_owner(
        edge,
        inbox=EXPORT_REGISTRY,
        tables={table: changelog_name(table) for table in TABLES},
        partitions=1,
        make_owner=lambda _partition: Registrar(rules),
        on_poison=lambda record, reason: give_up(edge.now_ms(), record, reason),
    )
