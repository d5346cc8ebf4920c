"""The fields of a layer record that this service relies on; all others pass through."""

from types import MappingProxyType
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from app.catalogue.port import LayerFields
from app.domain.area import parse_footprint
from app.domain.errors import InvalidRecord, InvalidRequest
from app.domain.layer_record import PRODUCT_ID
from app.domain.world_crs84_quad import zoom_of_resolution

MAX_RECORD_BYTES: Final = 4_000_000
"""A footprint of 20,000 vertices takes about 0.8 MB; more is no layer record."""


def _a_uuid(value: str) -> str:
    UUID(value)
    return value


def _a_table_name(value: str) -> str:
    if PRODUCT_ID.fullmatch(value) is None:
        raise ValueError(f"it names the tile table and must match {PRODUCT_ID.pattern}")
    return value


def _a_zoom(value: float) -> float:
    try:
        zoom_of_resolution(value, field="maxResolutionDeg")
    except InvalidRequest as error:
        raise ValueError(str(error)) from error
    return value


def _an_area(value: dict[str, Any]) -> dict[str, Any]:
    try:
        parse_footprint(value, layer_id="of this record")
    except InvalidRequest as error:
        raise ValueError(str(error)) from error
    return value


class LayerSource(BaseModel):
    """Where a layer's tiles are; the tile source checks the rest."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: Annotated[str, Field(min_length=1)]


class ReliedFields(BaseModel):
    """What must be right before a layer can be exported, in the catalogue's words."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    id: Annotated[str, AfterValidator(_a_uuid)]
    product_id: Annotated[
        str, Field(alias="productId", max_length=100), AfterValidator(_a_table_name)
    ]
    product_version: Annotated[str, Field(alias="productVersion", min_length=1, max_length=100)]
    max_resolution_deg: Annotated[float, Field(alias="maxResolutionDeg"), AfterValidator(_a_zoom)]
    footprint: Annotated[dict[str, Any], AfterValidator(_an_area)]
    source: LayerSource


def parse_layer_record(raw: bytes) -> LayerFields:
    """Read one layer record.

    Args:
        raw: JSON text, UTF-8.

    Returns:
        The record as it was written, except that `id` is in lower case.

    Raises:
        InvalidRecord: No JSON object, or a field that exports rely on is missing or wrong; the
            message names all of them.
    """
    if len(raw) > MAX_RECORD_BYTES:
        raise InvalidRecord(f"{len(raw)} bytes, more than {MAX_RECORD_BYTES}")
    try:
        ReliedFields.model_validate_json(raw)
        record: dict[str, Any] = orjson.loads(raw)
    except ValidationError as error:
        raise InvalidRecord("; ".join(map(_defect, error.errors(include_url=False)))) from error
    except orjson.JSONDecodeError as error:
        raise InvalidRecord(f"no JSON: {error}") from error
    record["id"] = record["id"].lower()
    return MappingProxyType(record)


def _defect(error: Any) -> str:
    field = ".".join(map(str, error["loc"])) or "record"
    return f"{field}: {error['msg']} (it is {error['input']!r:.80})"
