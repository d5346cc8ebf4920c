"""The endpoints about space, and the shapes of their answers, for the OpenAPI document."""

from typing import Annotated, Final, Literal

from openapi_pydantic import Response
from pydantic import BaseModel, Field

from app.ingress.answers import example
from app.ingress.endpoint import Endpoint, json_content
from app.ingress.layer_memory import Basis
from app.ingress.request_body import CreateRequest

_ZOOMS: Final = [
    *({"zoom": zoom, "tiles": 1, "bytes": 12_500} for zoom in range(14)),
    {"zoom": 14, "tiles": 4, "bytes": 50_000},
]
_LIMITS: Final = [
    {"limit": "tiles", "value": 50_000_000, "actual": 18},
    {"limit": "bytes", "value": 1_000_000_000_000, "actual": 225_000},
    {"limit": "space", "value": 79_946_312_909, "actual": 225_000},
]


class ZoomSize(BaseModel):
    """What one zoom would take."""

    model_config = example(**_ZOOMS[-1])

    zoom: Annotated[int, Field(ge=0, le=22)]
    tiles: Annotated[
        int,
        Field(
            description="Exact as long as all tiles together are within the limit; a zoom beyond "
            "it counts as four times the one before, which is never too few."
        ),
    ]
    bytes: Annotated[int, Field(description="By the mean size of this layer's tiles.")]


class SizeLimit(BaseModel):
    """One limit; the export fits when no `actual` is more than its `value`."""

    model_config = example(**_LIMITS[0])

    limit: Annotated[
        Literal["tiles", "bytes", "space"],
        Field(
            description="Tiles that an export may have; bytes that it may have, where the "
            "operator set that; bytes for which there is space now."
        ),
    ]
    value: Annotated[int, Field(description="The most that an export may have now.")]
    actual: Annotated[int, Field(description="What this one would have.")]


class Estimate(BaseModel):
    """What an export would be; nothing has been started."""

    model_config = example(
        zoom=14,
        tiles=18,
        bytes=225_000,
        seconds=1,
        secondsBasis="layer",
        fits=True,
        suggestedZoom=14,
        tilesByZoom=_ZOOMS,
        freeBytes=100_000_000_000,
        reservedBytes=0,
        limits=_LIMITS,
    )

    zoom: Annotated[int, Field(description="The finest zoom asked for.", ge=0, le=22)]
    tiles: Annotated[int, Field(description="Tiles over all zooms.")]
    bytes: Annotated[int, Field(description="Size of the package, about.")]
    seconds: Annotated[
        int, Field(description="How long it takes once it runs, about; waiting comes on top.")
    ]
    seconds_basis: Annotated[
        Basis,
        Field(
            description="Where `seconds` comes from: measured at an export of this `layer`, at "
            "one of another layer of this `service`, or `assumed`, since none has run yet."
        ),
    ]
    fits: Annotated[bool, Field(description="Whether it is within all limits.")]
    suggested_zoom: Annotated[
        int | None, Field(description="The finest zoom that fits; null: none does.")
    ]
    tiles_by_zoom: Annotated[list[ZoomSize], Field(description="Coarsest zoom first.")]
    free_bytes: int
    reserved_bytes: Annotated[int, Field(description="What running exports may still need.")]
    limits: list[SizeLimit]


class Storage(BaseModel):
    """Space of the service, bytes."""

    model_config = example(
        totalBytes=500_000_000_000,
        freeBytes=100_000_000_000,
        reservedBytes=2_500_000_000,
        availableBytes=97_432_891_136,
    )

    total_bytes: int
    free_bytes: int
    reserved_bytes: Annotated[int, Field(description="What running exports may still need.")]
    available_bytes: Annotated[
        int, Field(description="What a new export may reserve: 1.25 times its estimated size.")
    ]


SPACE_ENDPOINTS: Final = (
    Endpoint(
        "post",
        "/estimate",
        "estimateExport",
        "What an export would be, and whether it fits; nothing is started",
        Response(description="The estimate.", content=json_content(Estimate)),
        (400, 404, 413, 503),
        body=CreateRequest,
    ),
    Endpoint(
        "get",
        "/storage",
        "storage",
        "How much space there is, and how much of it is reserved",
        Response(description="The space.", content=json_content(Storage)),
        (503,),
    ),
)
