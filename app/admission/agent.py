"""Admission at its Kafka edge.

Consumes:  export-requests, key request_id; 16 side by side, those of one request in order
Produces:  RequestAdmitted, RequestRefused, ExportCommanded to export-registry; ExportRequested
           to the tail
Delivery:  at least once; the registrar knows a request again by its id and digest
Failures:  an invalid request becomes a failed result and a dead letter; catalogue or disk out
           of reach: to the tail, for an hour; a request at which the process died three
           times: a failed result too
"""

from collections.abc import Sequence
from http import HTTPStatus

from app.admission.admit import Admission
from app.domain.decision import Decision, Record, Send
from app.domain.inbox import InboxPosition
from app.domain.records import ExportCommanded, ExportRequested
from app.domain.topic_names import EXPORT_REQUESTS
from app.kafka.edge import Edge
from app.kafka.task_agent import TaskAgent, attach_handlers

SIDE_BY_SIDE = 16


def attach(edge: Edge, admission: Admission) -> TaskAgent:
    """Add admission to the worker's app."""

    async def admit(record: ExportRequested, _position: InboxPosition) -> Decision:
        return await admission.admit(record)

    async def command(record: ExportCommanded, _position: InboxPosition) -> Decision:
        return await admission.command(record)

    def give_up(record: Record | None, reason: str) -> Sequence[Send]:
        if not isinstance(record, ExportRequested):
            return ()
        return admission.refused(record, HTTPStatus.INTERNAL_SERVER_ERROR, reason).sends

    return attach_handlers(
        edge,
        inbox=EXPORT_REQUESTS,
        handlers={ExportRequested: admit, ExportCommanded: command},
        concurrency=SIDE_BY_SIDE,
        on_poison=give_up,
    )
