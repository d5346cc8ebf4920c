"""The endpoints about exports, for the OpenAPI document."""

from typing import Final

import orjson
from openapi_pydantic import Example, MediaType, Response, Schema

from app.ingress.answers import LAYER_ID, REQUEST_ID, Result, Waiting
from app.ingress.commands import ExportPatch
from app.ingress.delivery_answers import DELIVERY_ID, Delivery, DeliveryList
from app.ingress.endpoint import Endpoint, json_content, text_parameter
from app.ingress.events import LAST_EVENT_ID, MAX_IDS
from app.ingress.export_answers import CURSOR_EXAMPLE, LISTED, Export, ExportPage
from app.ingress.export_list import DEFAULT_LIMIT, MAX_LIMIT, STATUSES

ID: Final = text_parameter(
    "id",
    "path",
    "requestId of the answer, or what a producer chose on Kafka: looked up as it is, then in lower "
    "case.",
    REQUEST_ID,
)
EVENT_EXAMPLE: Final = (
    f"id: 4.0.7.1.0.2-3.0.5.1.0.2\r\nevent: export\r\ndata: {orjson.dumps(LISTED).decode()}\r\n\r\n"
)
_EVENTS: Final = Response(
    description="Events named `export`; each one's data is the export as lists tell it. Whoever "
    "comes with Last-Event-ID gets all that has changed since; without it, first what is asked "
    "for by name, or else each open export, as it is. A stream ends after an hour: come again.",
    content={
        "text/event-stream": MediaType(
            media_type_schema=Schema(type="string"),
            examples={"export": Example(value=EVENT_EXAMPLE)},
        )
    },
)
_LAST_EVENT_ID: Final = text_parameter(
    LAST_EVENT_ID, "header", "The id of the last event that came.", "4.0.7.1.0.2-3.0.5.1.0.2"
)

EXPORT_ENDPOINTS: Final = (
    Endpoint(
        "get",
        "/exports",
        "listExports",
        "The caller's exports, newest first",
        Response(description="One page.", content=json_content(ExportPage)),
        (400,),
        (
            text_parameter(
                "status",
                "query",
                "Only of this status.",
                "Failed",
                schema=Schema(type="string", enum=list(STATUSES)),
            ),
            text_parameter("layer", "query", "Only of this layer: a dbId.", LAYER_ID),
            text_parameter(
                "from", "query", "Accepted at this time or later, ISO 8601.", "2026-11-23T00:00:00Z"
            ),
            text_parameter("to", "query", "Accepted before this time.", "2026-11-24T00:00:00Z"),
            text_parameter(
                "limit",
                "query",
                "Most exports of a page.",
                DEFAULT_LIMIT,
                schema=Schema(type="integer", minimum=1, maximum=MAX_LIMIT, default=DEFAULT_LIMIT),
            ),
            text_parameter("cursor", "query", "`next` of the page before.", CURSOR_EXAMPLE),
            text_parameter(
                "client", "query", "Whose; for administrators, and where no keys are.", "anonymous"
            ),
        ),
    ),
    Endpoint(
        "get",
        "/exports/{id}",
        "showExport",
        "All that is known of one export",
        Response(description="The export.", content=json_content(Export)),
        (400, 404),
        (ID,),
    ),
    Endpoint(
        "delete",
        "/exports/{id}",
        "deleteExport",
        "Cancel an open export, or delete the package of a finished one",
        Response(description="Ordered; the export as it is now.", content=json_content(Export)),
        (400, 404, 409, 503),
        (ID,),
        success_status=202,
    ),
    Endpoint(
        "patch",
        "/exports/{id}",
        "changeExport",
        "Keep the package until another time, or for ever",
        Response(description="The export as it is now.", content=json_content(Export)),
        (400, 404, 409, 413, 503),
        (ID,),
        body=ExportPatch,
    ),
    Endpoint(
        "post",
        "/exports/{id}/retry",
        "retryExport",
        "Ask again for what Failed, was Aborted or Expired; only what is missing is read",
        Response(
            description="Accepted, or finished already.", content=json_content(Waiting, Result)
        ),
        (400, 404, 409, 413, 429, 503, 507),
        (ID,),
    ),
    Endpoint(
        "get",
        "/exports/events",
        "exportEvents",
        "News of the caller's exports as they happen, resumable, on one stream",
        _EVENTS,
        (400, 429, 503),
        (
            text_parameter(
                "ids", "query", f"Only these, with commas; at most {MAX_IDS}.", REQUEST_ID
            ),
            _LAST_EVENT_ID,
        ),
    ),
    Endpoint(
        "get",
        "/exports/{id}/events",
        "oneExportEvents",
        "News of one export as they happen, resumable",
        _EVENTS,
        (400, 404, 429, 503),
        (ID, _LAST_EVENT_ID),
    ),
    Endpoint(
        "get",
        "/exports/{id}/deliveries",
        "listDeliveries",
        "The webhooks of an export, and what came of each call",
        Response(description="Oldest first.", content=json_content(DeliveryList)),
        (400, 404),
        (ID,),
    ),
    Endpoint(
        "post",
        "/exports/{id}/deliveries/{deliveryId}/redeliver",
        "redeliver",
        "Call a webhook with the result once more, whatever came of it before",
        Response(description="Ordered; the delivery as it is now.", content=json_content(Delivery)),
        (400, 404, 409, 503),
        (ID, text_parameter("deliveryId", "path", "id of the delivery.", DELIVERY_ID)),
        success_status=202,
    ),
)
