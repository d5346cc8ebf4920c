"""The endpoints that the page needs besides, tiles and areas, for the OpenAPI document."""

from typing import Final

from openapi_pydantic import MediaType, Response, Schema

from app.ingress.answers import LAYER_ID
from app.ingress.endpoint import Endpoint, text_parameter
from app.ingress.export_endpoints import ID

_IMAGE: Final = Response(
    description="The image as the source has it.",
    content={
        kind: MediaType(media_type_schema=Schema(type="string", contentMediaType=kind))
        for kind in ("image/jpeg", "image/png", "image/webp")
    },
)
_BYTES: Final = "application/octet-stream"
_PLACE: Final = (
    text_parameter("zoom", "path", "Tile matrix of World CRS84 2x1.", "5"),
    text_parameter("column", "path", "Counted eastwards from 180° west.", "38"),
    text_parameter("row", "path", "Counted down from the north.", "10"),
)

TILE_ENDPOINTS: Final = (
    Endpoint(
        "get",
        "/layers/{id}/tiles/{zoom}/{column}/{row}",
        "layerTile",
        "One tile of a layer, to look at it on a map",
        _IMAGE,
        (400, 404, 503),
        (text_parameter("id", "path", "The layer's dbId.", LAYER_ID), *_PLACE),
        bare=(304,),
    ),
    Endpoint(
        "get",
        "/exports/{id}/tiles/{zoom}/{column}/{row}",
        "packageTile",
        "One tile of a package, or of what is written of it so far, to look at it",
        _IMAGE,
        (400, 404, 409, 503),
        (ID, *_PLACE),
        bare=(304,),
    ),
)

AREA_ENDPOINT: Final = Endpoint(
    "post",
    "/areas",
    "readArea",
    "The polygons of a KML, KMZ, GeoPackage, zipped shapefile or GeoJSON file, for a `bbox`",
    Response(
        description="A GeoJSON Polygon or MultiPolygon in degrees.",
        content={"application/geo+json": MediaType(media_type_schema=Schema(type="object"))},
    ),
    (400, 413, 415, 503),
    body_content={
        _BYTES: MediaType(media_type_schema=Schema(type="string", contentMediaType=_BYTES)),
    },
)
