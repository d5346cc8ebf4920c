"""The OpenAPI 3.1 document, generated from the models that validate and describe."""

from typing import Any, Final

from openapi_pydantic import (
    Components,
    Info,
    MediaType,
    OpenAPI,
    Operation,
    PathItem,
    RequestBody,
    Response,
    Schema,
)
from openapi_pydantic.util import construct_open_api_with_schema_class

from app.ingress.answers import (
    DOWNLOAD_EXAMPLE,
    Health,
    Layer,
    Message,
    Result,
    TaskStatusAnswer,
    Waiting,
)
from app.ingress.endpoint import JSON, Endpoint, json_content, text_parameter
from app.ingress.export_endpoints import EXPORT_ENDPOINTS
from app.ingress.request_body import CreateRequest

GEOPACKAGE: Final = "application/geopackage+sqlite3"
REASONS: Final = {
    206: "The range that was asked for.",
    304: "The file has not changed.",
    400: "A field is missing, unknown, of a wrong type or beyond its limit.",
    404: "There is no such thing.",
    409: "It is in no state in which that can be done.",
    405: "The method is not allowed here.",
    412: "If-Match names other bytes.",
    413: "Too large: the body, the polygon or the number of tiles.",
    416: "The range lies beyond the file.",
    429: "Too many open exports; Retry-After says when to come again.",
    503: "Broker, catalogue or store are out of reach; Retry-After says when to come again.",
    507: "The export would not fit on the disk.",
}


_DOWNLOAD: Final = tuple(
    text_parameter(name, "path", "As fileUri and metadataUri say.", value)
    for name, value in DOWNLOAD_EXAMPLE.items()
)
_BINARY: Final = {
    GEOPACKAGE: MediaType(media_type_schema=Schema(type="string", contentMediaType=GEOPACKAGE)),
    JSON: MediaType(media_type_schema=Schema(type="object")),
}
ENDPOINTS: Final = (
    Endpoint(
        "post",
        "/create",
        "createExport",
        "Ask for an export",
        Response(
            description="Accepted, or finished already.", content=json_content(Waiting, Result)
        ),
        (400, 404, 413, 429, 503, 507),
        body=CreateRequest,
    ),
    Endpoint(
        "get",
        "/taskStatus/{id}",
        "taskStatus",
        "How far a request is",
        Response(description="Status and percentage.", content=json_content(TaskStatusAnswer)),
        (400, 404),
        (
            text_parameter(
                "id", "path", "requestId of the answer.", "3f0b8f0e-6a1c-4a53-9f0e-0d1a4c5b6e7f"
            ),
        ),
    ),
    Endpoint(
        "get",
        "/layers",
        "listLayers",
        "Layers that can be exported",
        Response(description="Records, sorted by id.", content=json_content(Layer, many=True)),
        (400, 503),
        (
            text_parameter(
                "bbox",
                "query",
                "west,south,east,north in degrees: only layers whose footprint meets it.",
                "34,31,35,32",
            ),
        ),
    ),
    Endpoint(
        "get",
        "/downloads/{export_id}/{attempt}/{name}",
        "download",
        "A package or its metadata, whole or in ranges; the ETag of a package is its sha256",
        Response(description="The file.", content=_BINARY),
        (404, 412, 416, 503),
        _DOWNLOAD,
        bare=(206, 304),
    ),
    Endpoint(
        "get",
        "/livez",
        "livez",
        "Whether the process lives",
        Response(description="It does.", content=json_content(Health)),
        (),
    ),
    Endpoint(
        "get",
        "/readyz",
        "readyz",
        "Whether broker, topics and view are there",
        Response(description="They are.", content=json_content(Health)),
        (503,),
    ),
    *EXPORT_ENDPOINTS,
)


def openapi_document(base_url: str) -> dict[str, Any]:
    """Build the document.

    Args:
        base_url: Address of this service, without a slash at the end.

    Returns:
        OpenAPI 3.1, ready for JSON.
    """
    paths: dict[str, PathItem] = {}
    for endpoint in ENDPOINTS:
        item = paths.setdefault(endpoint.path, PathItem())
        setattr(item, endpoint.method, _operation(endpoint))
    document = OpenAPI(
        openapi="3.1.1",
        info=Info(
            title="Raster Export Service",
            version="1",
            description="Cuts an area of a raster layer into one GeoPackage.",
        ),
        servers=[{"url": base_url}],
        paths=paths,
        components=Components(),
    )
    return construct_open_api_with_schema_class(document).model_dump(
        mode="json", by_alias=True, exclude_none=True
    )


def documented_statuses() -> dict[tuple[str, str], set[int]]:
    """Every status that the document promises, by method in capitals and path."""
    return {
        (endpoint.method.upper(), endpoint.path): {
            endpoint.success_status,
            *endpoint.bare,
            *endpoint.errors,
        }
        for endpoint in ENDPOINTS
    }


def _operation(endpoint: Endpoint) -> Operation:
    responses = {str(endpoint.success_status): endpoint.success}
    for status in endpoint.bare:
        content = _BINARY if status == 206 else None
        responses[str(status)] = Response(description=REASONS[status], content=content)
    for status in endpoint.errors:
        responses[str(status)] = Response(
            description=REASONS[status], content=json_content(Message)
        )
    return Operation(
        operationId=endpoint.name,
        summary=endpoint.summary,
        parameters=list(endpoint.parameters) or None,
        requestBody=RequestBody(required=True, content=json_content(endpoint.body))
        if endpoint.body
        else None,
        responses=responses,
    )
