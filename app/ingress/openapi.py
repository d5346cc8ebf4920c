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
    Tag,
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
from app.ingress.auth_endpoints import AUTH_ENDPOINTS, SECURITY_SCHEMES, security_of
from app.ingress.endpoint import GATE_STATUSES, JSON, Endpoint, json_content, text_parameter
from app.ingress.export_endpoints import EXPORT_ENDPOINTS
from app.ingress.request_body import CreateRequest
from app.ingress.space_endpoints import SPACE_ENDPOINTS
from app.ingress.tile_endpoints import AREA_ENDPOINT, TILE_ENDPOINTS

GEOPACKAGE: Final = "application/geopackage+sqlite3"
REASONS: Final = {
    206: "The range that was asked for; several come as parts of multipart/byteranges.",
    304: "The file has not changed.",
    400: "A field is missing, unknown, of a wrong type or beyond its limit.",
    401: "No token, or none that can be trusted.",
    403: "A token for another domain or web origin, or the page of another origin asks.",
    404: "There is no such thing.",
    409: "It is in no state in which that can be done.",
    408: "The body does not come.",
    405: "The method is not allowed here.",
    410: "The package expired or was deleted.",
    412: "If-Match names other bytes, or If-Unmodified-Since an earlier time.",
    413: "Too large: the body, the polygon or the number of tiles.",
    415: "The file is of no kind that can be read.",
    416: "The range lies beyond the file.",
    429: "Too many requests, open exports or streams; Retry-After says when to come again.",
    503: "Broker, catalogue, store or keys are out of reach; Retry-After says when to come again.",
    507: "The export would not fit on the disk.",
}

TAGS: Final = {
    "Exports": "Ask for packages, see what they will cost, follow, keep and end them.",
    "Downloads": "Take the files.",
    "Layers and areas": "What there is to choose from.",
    "Sign-in": "For browsers; everybody else sends a token.",
    "Service": "How it is.",
}
_TAG_OF: Final = {
    "downloads": "Downloads",
    "layers": "Layers and areas",
    "areas": "Layers and areas",
    "session": "Sign-in",
    "storage": "Service",
    "livez": "Service",
    "readyz": "Service",
}
"""By the first part of a path; all others are of exports."""

_DOWNLOAD: Final = tuple(
    text_parameter(name, "path", "As fileUri and metadataUri say.", value)
    for name, value in DOWNLOAD_EXAMPLE.items()
)
_ETAG: Final = f'"{"5c" * 32}"'
_DATE: Final = "Mon, 23 Nov 2026 03:30:00 GMT"
_CONDITIONS: Final = tuple(
    text_parameter(name, "header", description, value)
    for name, description, value in (
        ("If-Match", "Only if these are its ETags.", _ETAG),
        ("If-None-Match", "Only if none of these is its ETag; else 304.", _ETAG),
        ("If-Modified-Since", "Only if it is younger; else 304.", _DATE),
        ("If-Unmodified-Since", "Only if it is not younger; else 412.", _DATE),
    )
)
_RANGES: Final = (
    text_parameter("Range", "header", "Only these bytes, up to 100 ranges.", "bytes=0-1023"),
    text_parameter(
        "If-Range", "header", "Only if this is its ETag or Last-Modified; else all of it.", _ETAG
    ),
)
_BINARY: Final = {
    GEOPACKAGE: MediaType(media_type_schema=Schema(type="string", contentMediaType=GEOPACKAGE)),
    JSON: MediaType(media_type_schema=Schema(type="object")),
}
_PARTS: Final = {
    "multipart/byteranges": MediaType(media_type_schema=Schema(type="string")),
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
        (404, 410, 412, 416, 503),
        (*_DOWNLOAD, *_RANGES, *_CONDITIONS),
        bare=(206, 304),
    ),
    Endpoint(
        "head",
        "/downloads/{export_id}/{attempt}/{name}",
        "describeDownload",
        "Size, ETag and age of a package or its metadata",
        Response(description="The same headers as with GET, which has no Range."),
        (404, 410, 412, 503),
        (*_DOWNLOAD, *_CONDITIONS),
        bare=(304,),
    ),
    Endpoint(
        "get",
        "/livez",
        "livez",
        "Whether the process lives",
        Response(description="It does.", content=json_content(Health)),
        (),
        is_open=True,
    ),
    Endpoint(
        "get",
        "/readyz",
        "readyz",
        "Whether broker, topics and view are there",
        Response(description="They are.", content=json_content(Health)),
        (503,),
        is_open=True,
    ),
    *EXPORT_ENDPOINTS,
    *SPACE_ENDPOINTS,
    *TILE_ENDPOINTS,
    AREA_ENDPOINT,
    *AUTH_ENDPOINTS,
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
        tags=[Tag(name=name, description=text) for name, text in TAGS.items()],
        paths=paths,
        components=Components(securitySchemes=dict(SECURITY_SCHEMES)),
    )
    told: dict[str, Any] = construct_open_api_with_schema_class(document).model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    for item in told["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                # The model writes them always; OpenAPI 3.1 has them for the query alone.
                del parameter["allowEmptyValue"], parameter["allowReserved"]
    return told


def documented_statuses() -> dict[tuple[str, str], set[int]]:
    """Every status that the handlers promise, by method in capitals and path.

    Those of the gate, which stands before all handlers, are not among them, nor is the 408 of a
    body that does not come.
    """
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
        content = _BINARY | _PARTS if status == 206 else None
        responses[str(status)] = Response(description=REASONS[status], content=content)
    content = json_content(endpoint.body) if endpoint.body else endpoint.body_content
    gate = () if endpoint.is_open else GATE_STATUSES
    for status in sorted({*endpoint.errors, *gate, *((408,) if content else ())}):
        told = None if endpoint.method == "head" else json_content(Message)
        responses[str(status)] = Response(description=REASONS[status], content=told)
    return Operation(
        tags=[_TAG_OF.get(endpoint.path.split("/")[1], "Exports")],
        operationId=endpoint.name,
        summary=endpoint.summary,
        parameters=list(endpoint.parameters) or None,
        requestBody=RequestBody(required=True, content=content) if content else None,
        responses=responses,
        security=security_of(endpoint),
    )
