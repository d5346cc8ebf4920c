"""The shapes of what is told of exports, for the OpenAPI document."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, WithJsonSchema

from app.ingress.answers import (
    ATTEMPT,
    EXPORT_ID,
    FILES,
    LAYER_ID,
    NAME,
    REQUEST_ID,
    example,
)
from app.ingress.request_body import BBOX_SCHEMA, EXAMPLE, GOLDEN_BBOX
from app.ingress.view import Status

Time = Annotated[str, Field(description="ISO 8601 UTC.")]
CURSOR_EXAMPLE: Final = "MTc5NTQwNDAwMDAwMDozZjBiOGYwZS02YTFjLTRhNTMtOWYwZS0wZDFhNGM1YjZlN2Y"

_COMMON: Final[dict[str, Any]] = {
    "requestId": REQUEST_ID,
    "client": "anonymous",
    "status": "Completed",
    "percentage": 100,
    "dbId": LAYER_ID,
    "bounds": GOLDEN_BBOX,
    "targetResolution": EXAMPLE["targetResolution"],
    "zoom": 14,
    "minZoom": 0,
    "description": EXAMPLE["description"],
    "priority": 1000,
    "onError": "fail",
    "acceptedAt": "2026-11-23T03:29:40.000Z",
    "startedAt": "2026-11-23T03:29:41.000Z",
    "finishedAt": "2026-11-23T03:30:00.000Z",
    "expirationTime": "2026-12-23T03:30:00.000Z",
    "pinned": False,
    "isDuplicated": False,
    "retryOf": None,
    "tiles": {"expected": 18, "written": 18, "missing": 0, "failed": 0},
    "bytes": {"written": 211000, "estimated": 225000},
    "tilesPerSecond": 0.0,
    "etaSeconds": None,
    "queuePosition": None,
    "phase": "",
    "errorReason": None,
    "exportId": EXPORT_ID,
    "attempt": ATTEMPT,
}
LISTED: Final[dict[str, Any]] = _COMMON | {
    "fileUri": f"{FILES}.gpkg",
    "metadataUri": f"{FILES}.json",
    "fileSize": 225280,
    "packageName": f"{NAME}.gpkg",
}
EXPORT: Final[dict[str, Any]] = _COMMON | {
    "bbox": GOLDEN_BBOX,
    "history": [
        {"at": "2026-11-23T03:29:40.000Z", "status": "Pending"},
        {"at": "2026-11-23T03:29:41.000Z", "status": "In-Progress"},
        {"at": "2026-11-23T03:30:00.000Z", "status": "Completed"},
    ],
    "result": {
        "requestId": REQUEST_ID,
        "status": "Completed",
        "success": True,
        "dbId": LAYER_ID,
        "bbox": GOLDEN_BBOX,
        "targetResolution": EXAMPLE["targetResolution"],
        "packageName": f"{NAME}.gpkg",
        "fileUri": f"{FILES}.gpkg",
        "metadataUri": f"{FILES}.json",
        "fileSize": 225280,
        "sha256": "5c" * 32,
        "tiles": {"expected": 18, "written": 18, "missing": 0},
        "expirationTime": "2026-12-23T03:30:00.000Z",
        "finishedAt": "2026-11-23T03:30:00.000Z",
    },
}


class TileCounts(BaseModel):
    """Tiles over all zooms; done are written + missing + failed. null: not known, or no more."""

    model_config = example(**_COMMON["tiles"])

    expected: Annotated[int | None, Field(description="Tiles of the export.")]
    written: Annotated[int | None, Field(description="Tiles that are in the package.")]
    missing: Annotated[
        int | None,
        Field(
            description="Tiles that the source does not have; while onError skip runs, unreadable "
            "ones too."
        ),
    ]
    failed: Annotated[
        int | None,
        Field(
            description="Unreadable tiles left out; null: it failed, or onError skip is not done."
        ),
    ]


class ByteCounts(BaseModel):
    """Sizes, bytes; null: not known any more."""

    model_config = example(**_COMMON["bytes"])

    written: Annotated[int | None, Field(description="Bytes of the tiles written so far.")]
    estimated: Annotated[int | None, Field(description="Size that was expected at the start.")]


class Change(BaseModel):
    """One change of status."""

    model_config = example(**EXPORT["history"][0])

    at: Time
    status: Status


class _Common(BaseModel):
    request_id: str
    client: Annotated[str, Field(description="Whose it is; `anonymous` without sign-in.")]
    status: Status
    percentage: Annotated[
        int, Field(description="Tiles done of the whole export; never goes back.", ge=0, le=100)
    ]
    db_id: Annotated[str, Field(description="The layer's catalogue record.")]
    bounds: Annotated[
        list[float] | None,
        Field(description="West, south, east, north of the area; null: the layer's footprint."),
    ]
    target_resolution: Annotated[float | None, Field(description="As asked; deg/pixel.")]
    zoom: Annotated[int | None, Field(description="Finest zoom; null: not known yet, or refused.")]
    min_zoom: Annotated[int | None, Field(description="Coarsest zoom; null as zoom.")]
    description: str | None
    priority: Annotated[int | None, Field(description="null: refused, and not kept.")]
    on_error: Annotated[str | None, Field(description="null: refused, and not kept.")]
    accepted_at: Time
    started_at: Time | None
    finished_at: Time | None
    expiration_time: Annotated[
        str | None,
        Field(description="When the package may go, or went, ISO 8601 UTC; null: no package."),
    ]
    pinned: Annotated[
        bool,
        Field(
            description="This export keeps the package beyond its expiry; so may others that share "
            "it."
        ),
    ]
    is_duplicated: Annotated[bool, Field(description="It joined an export that was running.")]
    retry_of: Annotated[str | None, Field(description="The request that it tries again.")]
    tiles: TileCounts
    bytes: ByteCounts
    tiles_per_second: float
    eta_seconds: Annotated[
        int | None, Field(description="What the tiles still take; null: unknown, or all there.")
    ]
    queue_position: Annotated[
        int | None, Field(description="1: starts next; null: it does not wait.")
    ]
    phase: Annotated[str, Field(description="writing or assembling; empty: nothing runs.")]
    error_reason: Annotated[str | None, Field(description="Why, when it Failed or was Aborted.")]
    export_id: Annotated[str | None, Field(description="The package that it shares with others.")]
    attempt: str | None


class Export(_Common):
    """Everything that is known of one export."""

    model_config = example(**EXPORT)

    bbox: Annotated[Any, WithJsonSchema(BBOX_SCHEMA)]
    history: Annotated[list[Change], Field(description="Changes of status, oldest first.")]
    result: Annotated[
        dict[str, Any] | None, Field(description="As webhooks get it; null: none yet.")
    ]


class ExportListed(_Common):
    """An export as lists and events tell it."""

    model_config = example(**LISTED)

    file_uri: Annotated[str | None, Field(description="Where the package is; null: none.")]
    metadata_uri: str | None
    file_size: Annotated[int | None, Field(description="Size of the package, bytes.")]
    package_name: str | None


class ExportPage(BaseModel):
    """One page of a list, newest first."""

    model_config = example(exports=[LISTED], next=CURSOR_EXAMPLE)

    exports: list[ExportListed]
    next: Annotated[
        str | None,
        Field(
            description="`cursor` of the next page; null: this was the last one. A page that is "
            "filtered may hold fewer than `limit`, even none, and still name a next one."
        ),
    ]
