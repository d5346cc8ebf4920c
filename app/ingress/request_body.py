"""The body of `POST /create`: read with a limit, parsed strictly, told in the caller's words."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeVar

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import from_json

from app.domain.errors import InvalidRequest, RequestTooLarge, told
from app.domain.judgement import CRS, FORMATS, ON_ERROR, RequestLimits, without_duplicates
from app.domain.records import ExportRequested
from app.domain.requested_features import COARSEST_PROPERTY, FINEST_PROPERTY
from app.domain.world_crs84_quad import COARSEST_RESOLUTION_DEG, FINEST_RESOLUTION_DEG

LIMITS: Final = RequestLimits()
Model = TypeVar("Model", bound=BaseModel)
UUID_FORM: Final = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE
)
BODY_DEADLINE_S: Final = 60.0
"""1 MB in that time needs 17 kB/s; whoever trickles holds a connection, and is to let go of it."""
MAX_PROBLEMS_TOLD: Final = 5
"""A body with a thousand wrong fields is explained well enough by the first few."""

GOLDEN_BBOX: Final = [
    34.811938017107494,
    31.95475033759175,
    34.82237261707599,
    31.96426962177354,
]
_POSITION: Final = {
    "type": "array",
    "items": {"type": "number"},
    "minItems": 2,
    "maxItems": 3,
    "description": "Longitude, latitude; a third number is dropped.",
}
_RINGS: Final = {"type": "array", "items": {"type": "array", "items": _POSITION, "minItems": 4}}
_POLYGON: Final = {
    "type": "object",
    "required": ["type", "coordinates"],
    "properties": {"type": {"const": "Polygon"}, "coordinates": _RINGS},
}
_MULTI_POLYGON: Final = {
    "type": "object",
    "required": ["type", "coordinates"],
    "properties": {
        "type": {"const": "MultiPolygon"},
        "coordinates": {"type": "array", "items": _RINGS},
    },
}
_FEATURE: Final = {
    "type": "object",
    "required": ["type", "geometry"],
    "properties": {
        "type": {"const": "Feature"},
        "geometry": {"oneOf": [_POLYGON, _MULTI_POLYGON]},
        "properties": {
            "type": ["object", "null"],
            "description": "Other properties are passed over.",
            "properties": {
                FINEST_PROPERTY: {
                    "type": ["number", "null"],
                    "description": "Finest resolution wanted, degrees per pixel; absent: the "
                    "layer's own.",
                },
                COARSEST_PROPERTY: {
                    "type": ["number", "null"],
                    "description": "Coarsest resolution wanted, degrees per pixel; absent: zoom 0.",
                },
            },
        },
    },
}
BBOX_SCHEMA: Final[dict[str, Any]] = {
    "description": (
        "The area: [west, south, east, north] in degrees, a GeoJSON Polygon or MultiPolygon; "
        "absent or null: the layer's footprint. A box with west > east crosses the antimeridian. "
        "The features of a FeatureCollection say their own resolutions: the package has one tile "
        "table for each finest zoom."
    ),
    "oneOf": [
        {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
        _POLYGON,
        _MULTI_POLYGON,
        {
            "type": "object",
            "required": ["type", "features"],
            "properties": {
                "type": {"const": "FeatureCollection"},
                "features": {"type": "array", "items": _FEATURE, "minItems": 1},
            },
        },
        {"type": "null"},
    ],
    "examples": [GOLDEN_BBOX],
}
_RESOLUTION: Final = (
    f"degrees per pixel, {FINEST_RESOLUTION_DEG!r} (zoom 22) to {COARSEST_RESOLUTION_DEG} (zoom 0)"
)
EXAMPLE: Final[dict[str, Any]] = {
    "dbId": "0c3e455f-4aeb-4258-982d-f7773469a92d",
    "bbox": GOLDEN_BBOX,
    "targetResolution": 0.0000429153442382812,
    "callbackURLs": ["https://example.com/exports/done"],
    "priority": 1000,
    "description": "Harbour, for the survey of Tuesday",
}


class CreateRequest(BaseModel):
    """What one caller asks for. Types are checked here; values by `app.domain.judgement`."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        title="CreateRequest",
        json_schema_extra={"examples": [EXAMPLE]},
    )

    layer_id: Annotated[
        str,
        Field(
            alias="dbId",
            description="The layer's catalogue record.",
            json_schema_extra={"format": "uuid"},
        ),
    ]
    bbox: Annotated[Any, WithJsonSchema(BBOX_SCHEMA)] = None
    target_resolution_deg: Annotated[
        float | None,
        Field(
            alias="targetResolution",
            description=f"Finest resolution wanted, {_RESOLUTION}; absent: the layer's own. "
            "Between two zooms: the coarser.",
        ),
    ] = None
    min_resolution_deg: Annotated[
        float | None,
        Field(
            alias="minResolution",
            description=f"Coarsest resolution wanted, {_RESOLUTION}; absent: zoom 0.",
        ),
    ] = None
    callback_urls: Annotated[
        list[str],
        Field(
            alias="callbackURLs",
            description=f"Webhook addresses, http or https, at most {LIMITS.max_callback_urls}.",
            json_schema_extra={"maxItems": LIMITS.max_callback_urls},
        ),
    ] = []
    crs: Annotated[str, Field(description=f"{CRS} only.", json_schema_extra={"enum": [CRS]})] = CRS
    priority: Annotated[
        int,
        Field(
            description="Larger is more urgent.",
            json_schema_extra={"minimum": 0, "maximum": LIMITS.max_priority},
        ),
    ] = 1000
    description: Annotated[
        str | None,
        Field(description=f"Free text, at most {LIMITS.max_description_chars} characters."),
    ] = None
    on_error: Annotated[
        str,
        Field(
            alias="onError",
            description="What an unreadable tile does: fail the export, or be skipped and listed.",
            json_schema_extra={"enum": list(ON_ERROR)},
        ),
    ] = "fail"
    retry_of: Annotated[
        str | None,
        Field(
            alias="retryOf",
            description="A request of the same caller that Failed, was Aborted or Expired: what "
            "is left of it is used.",
            json_schema_extra={"format": "uuid"},
        ),
    ] = None
    format: Annotated[
        str,
        Field(
            description="source: the bytes as they are.",
            json_schema_extra={"enum": list(FORMATS)},
        ),
    ] = "source"


class BodyTooSlow(InvalidRequest):
    """The body did not come within its time."""

    http_status = HTTPStatus.REQUEST_TIMEOUT


@asynccontextmanager
async def body_deadline(deadline_s: float) -> AsyncIterator[None]:
    """Read a body within the block.

    Raises:
        BodyTooSlow: It takes longer, maybe for ever.
    """
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except TimeoutError as error:
        raise BodyTooSlow(f"body has not come within {deadline_s:g} s") from error


async def read_body(
    request: web.Request, *, max_bytes: int, deadline_s: float | None = None
) -> bytes:
    """Read a body of at most `max_bytes`, whether or not it says its length.

    Args:
        request: Whose body.
        max_bytes: How large it may be.
        deadline_s: How long it may take, seconds; None: `BODY_DEADLINE_S`.

    Raises:
        RequestTooLarge: It is longer; the rest is not read.
        BodyTooSlow: It takes longer, maybe for ever.
        InvalidRequest: It ends early, or its encoding is broken.
    """
    declared = request.content_length
    if declared is not None and declared > max_bytes:
        raise RequestTooLarge(f"body has {declared} bytes, more than {max_bytes}")
    try:
        async with body_deadline(BODY_DEADLINE_S if deadline_s is None else deadline_s):
            return await _read_at_most(request.content, max_bytes)
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise InvalidRequest(f"body cannot be read: {error}") from error


async def _read_at_most(stream: StreamReader, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in stream.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise RequestTooLarge(f"body has more than {max_bytes} bytes")
    return bytes(body)


def parse_create_request(body: bytes, *, request_id: str, at_ms: int) -> ExportRequested:
    """Turn a body into the record that will be published; blocks, so call it in a thread.

    Args:
        body: JSON text, UTF-8.
        request_id: The id that this ingress gives the request, a uuid.
        at_ms: The time now, ms since 1970 UTC.

    Returns:
        The record, with `bbox_json` as the caller wrote it, spaces aside.

    Raises:
        InvalidRequest: No JSON object, a field we do not know, or a wrong type; the message
            names the field.
    """
    raw = _json_object(body)
    asked = _validated(CreateRequest, body)
    return ExportRequested(
        request_id=request_id,
        layer_id=asked.layer_id.lower(),
        at_ms=at_ms,
        bbox_json=_bbox_json(raw.get("bbox")),
        target_resolution_deg=asked.target_resolution_deg,
        min_resolution_deg=asked.min_resolution_deg,
        callback_urls=tuple(asked.callback_urls),
        crs=asked.crs,
        priority=asked.priority,
        description=asked.description,
        on_error=asked.on_error,
        format=asked.format,
        retry_of=_uuid("retryOf", asked.retry_of),
        via_http=True,
    )


def parse_model(model: type[Model], body: bytes) -> Model:
    """Read a small body strictly.

    Raises:
        InvalidRequest: No JSON object, a field we do not know, or a wrong type.
    """
    _json_object(body)
    return _validated(model, body)


def _validated(model: type[Model], body: bytes) -> Model:
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise InvalidRequest(_told(error, model)) from error


def _uuid(field: str, value: str | None) -> str | None:
    if value is not None and not UUID_FORM.fullmatch(value):
        raise InvalidRequest(f"{field} is {told(value)}; it must be a uuid")
    return None if value is None else value.lower()


def _json_object(body: bytes) -> dict[str, Any]:
    """Read JSON with the standard library, which lets us see names that come twice."""
    if not body.strip():
        raise InvalidRequest("body is empty; it must be a JSON object")
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=without_duplicates,
        )
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"body is not UTF-8: byte {error.start} is wrong") from error
    except RecursionError as error:
        raise InvalidRequest("body is nested too deep") from error
    except ValueError as error:
        raise InvalidRequest(f"body is no JSON: {_json_defect(body, error)}") from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"body is {told(value)}; it must be a JSON object")
    return value


def _json_defect(body: bytes, otherwise: ValueError) -> str:
    """What is wrong with the text, in words that do not change with the version of Python."""
    try:
        from_json(body, allow_inf_nan=True)
    except ValueError as error:
        return str(error)
    return str(otherwise)


def _bbox_json(value: Any) -> str | None:
    if value is None:
        return None
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise InvalidRequest("bbox holds NaN or a number beyond all limits") from error


def _told(error: ValidationError, model: type[BaseModel]) -> str:
    problems = error.errors(include_url=False, include_context=False)
    told = [_problem(problem, model) for problem in problems[:MAX_PROBLEMS_TOLD]]
    if len(problems) > MAX_PROBLEMS_TOLD:
        told.append(f"and {len(problems) - MAX_PROBLEMS_TOLD} more")
    return "; ".join(told)


def _problem(problem: Any, model: type[BaseModel]) -> str:
    field = _path(problem["loc"])
    if problem["type"] == "missing":
        return f"{field} is missing; it is required"
    if problem["type"] == "json_invalid":
        return f"body is no JSON: {problem['msg'].removeprefix('Invalid JSON: ')}"
    if problem["type"] == "extra_forbidden":
        return f"{field} is unknown; known fields are {', '.join(known_fields(model))}"
    return f"{field} is {told(problem['input'])}: {problem['msg']}"


def _path(loc: tuple[str | int, ...]) -> str:
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part or told(part):.80}" for part in loc
    )
    return path.removeprefix(".") or "body"


def known_fields(model: type[BaseModel]) -> list[str]:
    """The names of all fields that a body may have, as callers write them."""
    return [field.alias or name for name, field in model.model_fields.items()]
