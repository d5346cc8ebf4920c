"""The endpoints about exports, for the OpenAPI document."""

from typing import Final

from openapi_pydantic import Response

from app.ingress.answers import LAYER_ID, REQUEST_ID, Result, Waiting
from app.ingress.commands import ExportPatch
from app.ingress.endpoint import Endpoint, json_content, text_parameter
from app.ingress.export_answers import CURSOR_EXAMPLE, Export, ExportPage

ID: Final = text_parameter("id", "path", "requestId of the answer.", REQUEST_ID)

EXPORT_ENDPOINTS: Final = (
    Endpoint(
        "get",
        "/exports",
        "listExports",
        "The caller's exports, newest first",
        Response(description="One page.", content=json_content(ExportPage)),
        (400,),
        (
            text_parameter("status", "query", "Only of this status.", "Failed"),
            text_parameter("layer", "query", "Only of this layer: a dbId.", LAYER_ID),
            text_parameter(
                "from", "query", "Accepted at this time or later, ISO 8601.", "2026-11-23T00:00:00Z"
            ),
            text_parameter("to", "query", "Accepted before this time.", "2026-11-24T00:00:00Z"),
            text_parameter("limit", "query", "Most exports of a page, 1 to 200.", "50"),
            text_parameter("cursor", "query", "`next` of the page before.", CURSOR_EXAMPLE),
            text_parameter("client", "query", "Whose; for administrators.", "anonymous"),
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
        (400, 404, 409, 429, 503, 507),
        (ID,),
    ),
)
