"""The shapes of all answers, for the OpenAPI document; tests hold the real answers to them."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from app.ingress.request_body import BBOX_SCHEMA, GOLDEN_BBOX

REQUEST_ID: Final = "3f0b8f0e-6a1c-4a53-9f0e-0d1a4c5b6e7f"
LAYER_ID: Final = "0c3e455f-4aeb-4258-982d-f7773469a92d"
EXPORT_ID: Final = "9a1f0c5e7d3b2a48" * 4
ATTEMPT: Final = "1795404000000-17"
NAME: Final = f"BLUE_MARBLE_1.0_z14_{EXPORT_ID[:12]}_{ATTEMPT}"
FILES: Final = f"http://127.0.0.1:8080/downloads/{EXPORT_ID}/{ATTEMPT}/{NAME}"
DOWNLOAD_EXAMPLE: Final = {
    "export_id": EXPORT_ID,
    "attempt": ATTEMPT,
    "name": f"{NAME}.gpkg",
}


def example(**fields: Any) -> ConfigDict:
    """Configure a model with one example, told in the names of the API."""
    return ConfigDict(
        strict=True,
        extra="forbid",
        alias_generator=to_camel,
        json_schema_extra={"examples": [fields]},
    )


class Message(BaseModel):
    """Every error."""

    model_config = example(
        message="client 'anna' has 8 exports that wait or run; max_live_exports_per_client is 8",
        requestId=REQUEST_ID,
    )

    message: Annotated[str, Field(description="Names field, value and limit, for people.")]
    request_id: Annotated[
        str,
        Field(
            description="Of a request that was taken in before it was refused: lists have it, and "
            "its webhooks are called."
        ),
    ] = ""


class Waiting(BaseModel):
    """The export is not finished; ask `/taskStatus/{requestId}`."""

    model_config = example(
        status="Pending",
        requestId=REQUEST_ID,
        id=REQUEST_ID,
        taskIds=[REQUEST_ID],
        isDuplicated=False,
        zoom=14,
    )

    status: Literal["Pending", "In-Progress"]
    request_id: Annotated[str, Field(description="The id to ask with.")]
    id: Annotated[str, Field(description="The same, by its old name.")]
    task_ids: Annotated[list[str], Field(description="The same, as older clients read it.")]
    is_duplicated: Annotated[bool, Field(description="It joined an export that is running.")]
    zoom: Annotated[int, Field(description="The finest zoom of the export.", ge=0, le=22)]


class Tiles(BaseModel):
    """Tile counts; expected = written + missing."""

    model_config = ConfigDict(strict=True, extra="forbid")

    expected: int
    written: int
    missing: int


class Result(BaseModel):
    """A finished export."""

    model_config = example(
        status="Completed",
        success=True,
        requestId=REQUEST_ID,
        id=REQUEST_ID,
        dbId=LAYER_ID,
        bbox=GOLDEN_BBOX,
        targetResolution=0.0000429153442382812,
        zoom=14,
        packageName=f"{NAME}.gpkg",
        fileUri=f"{FILES}.gpkg",
        metadataUri=f"{FILES}.json",
        fileSize=225280,
        sha256="5c" * 32,
        tiles={"expected": 18, "written": 18, "missing": 0},
        expirationTime="2026-12-23T03:30:00.000Z",
        finishedAt="2026-11-23T03:30:00.000Z",
    )

    status: Literal["Completed"]
    success: Literal[True]
    request_id: Annotated[str, Field(description="The request; the first one's for a repeat.")]
    id: Annotated[str, Field(description="The same, by its old name.")]
    db_id: Annotated[str, Field(description="The layer's catalogue record.")]
    bbox: Annotated[Any, WithJsonSchema(BBOX_SCHEMA)]
    target_resolution: Annotated[float, Field(description="As asked, or the layer's; deg/pixel.")]
    zoom: Annotated[int, Field(description="The finest zoom of the export.", ge=0, le=22)]
    package_name: Annotated[str, Field(description="File name of the GeoPackage.")]
    file_uri: Annotated[str, Field(description="Where the GeoPackage is.")]
    metadata_uri: Annotated[str, Field(description="Where its metadata is.")]
    file_size: Annotated[int, Field(description="Size of the GeoPackage, bytes.")]
    sha256: Annotated[str, Field(description="Of the GeoPackage, hexadecimal.")]
    tiles: Tiles
    expiration_time: Annotated[str, Field(description="When the package may go, ISO 8601 UTC.")]
    finished_at: Annotated[str, Field(description="When the export ended, ISO 8601 UTC.")]


class TaskStatusAnswer(BaseModel):
    """How far a request is."""

    model_config = example(
        percentage=42, status="Failed", errorReason="tile 5/40/12 cannot be read: it is cut short"
    )

    percentage: Annotated[
        int,
        Field(description="Tiles done of the whole export; 100: a whole package.", ge=0, le=100),
    ]
    status: Literal["Completed", "In-Progress", "Pending", "Failed", "Expired", "Aborted"]
    error_reason: Annotated[str, Field(description="Why, when it Failed or was Aborted.")] = ""


class Layer(BaseModel):
    """One layer's record, as the catalogue has it; more fields may be there."""

    model_config = ConfigDict(
        strict=True,
        extra="allow",
        alias_generator=to_camel,
        json_schema_extra={
            "examples": [
                {
                    "id": LAYER_ID,
                    "productId": "BLUE_MARBLE",
                    "productVersion": "1.0",
                    "maxResolutionDeg": 0.0000429153442382812,
                    "footprint": {
                        "type": "Polygon",
                        "coordinates": [[[34, 31], [36, 31], [36, 33], [34, 33], [34, 31]]],
                    },
                }
            ]
        },
    )

    id: str
    product_id: str
    product_version: str
    max_resolution_deg: float
    footprint: dict[str, Any]


class Health(BaseModel):
    """Whether the service lives, or can do its work."""

    model_config = example(status="ok", problems=[])

    status: Literal["ok"]
    problems: list[str]
