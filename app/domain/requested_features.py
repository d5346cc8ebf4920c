"""A FeatureCollection as the `bbox` of a request: polygons that say their own resolutions.

Read as strictly as other areas, and refused with the place in the caller's JSON. Members that
programs write into features, such as ids and names, are passed over.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from app.domain.area import export_area
from app.domain.errors import InvalidRequest, told
from app.domain.export_cover import AreaZooms
from app.domain.layer_zooms import LayerZooms
from app.domain.requested_area import check_vertex_count, geojson_area, united_area

FINEST_PROPERTY: Final = "maxResolutionDeg"
COARSEST_PROPERTY: Final = "minResolutionDeg"

_SLIP: Final = re.compile(r"(max|min|target)_?resolution", re.IGNORECASE)
_FORMS: Final = "Polygon or MultiPolygon"
_COLLECTION_MEMBERS: Final = frozenset({"type", "features", "bbox", "name", "crs"})
_FEATURE_MEMBERS: Final = frozenset({"type", "geometry", "properties", "id", "bbox"})
_CRS_NAMES: Final = ("urn:ogc:def:crs:OGC:1.3:CRS84", "urn:ogc:def:crs:OGC::CRS84", "OGC:CRS84")
"""What GDAL and QGIS write; it is what GeoJSON means anyway."""


@dataclass(frozen=True, slots=True)
class RequestedFeature:
    """One feature as the caller wrote it.

    Attributes:
        field: Its place in the caller's JSON.
        area: Its polygons, degrees, OGC:CRS84.
        finest_deg: Its `maxResolutionDeg`, unchecked; None: the layer's.
        coarsest_deg: Its `minResolutionDeg`, unchecked; None: zoom 0.
    """

    field: str
    area: BaseGeometry
    finest_deg: Any
    coarsest_deg: Any


@dataclass(frozen=True, slots=True)
class WantedAreas:
    """What a request wants of a layer.

    Attributes:
        areas: One or more, no two with the same zooms.
        finest_deg: The finest resolution asked for, degrees per pixel.
    """

    areas: tuple[AreaZooms, ...]
    finest_deg: float


def says_own_resolutions(value: object) -> bool:
    """Whether a `bbox` is a FeatureCollection, beside which no resolution may stand."""
    return isinstance(value, Mapping) and value.get("type") == "FeatureCollection"


def parse_features(value: object, *, max_vertices: int) -> tuple[RequestedFeature, ...] | None:
    """Read a FeatureCollection.

    Args:
        value: The JSON value of `bbox`.
        max_vertices: Limit on the positions of all features together.

    Returns:
        The features, one or more; None: the value is no FeatureCollection.

    Raises:
        InvalidRequest: A feature is no area on the globe; the message names the place.

    Source:
        RFC 7946, sections 3.2 and 3.3.
    """
    if not isinstance(value, Mapping) or not says_own_resolutions(value):
        return None
    _check_members(value, "bbox", _COLLECTION_MEMBERS)
    _check_crs(value)
    features = value.get("features")
    if not isinstance(features, list | tuple):
        raise InvalidRequest(f"bbox.features is {told(features)}; it must be an array")
    if not features:
        raise InvalidRequest("bbox.features is empty")
    geometries = [_geometry(feature, f"bbox.features[{i}]") for i, feature in enumerate(features)]
    check_vertex_count(geometries, max_vertices)
    return tuple(
        _feature(feature, geometry, f"bbox.features[{i}]")
        for i, (feature, geometry) in enumerate(zip(features, geometries, strict=True))
    )


def feature_areas(
    features: Sequence[RequestedFeature], zooms: LayerZooms, footprint: BaseGeometry
) -> WantedAreas:
    """Put together the features that want the same zooms, within the layer's footprint.

    Args:
        features: What `parse_features` returned.
        zooms: Those that the layer has.
        footprint: What `parse_footprint` returned.

    Raises:
        InvalidRequest: A resolution is wrong for the layer, or a feature has nothing in common
            with the footprint.
    """
    _check_within_reach(features, footprint, zooms.layer_id)
    parts: dict[tuple[int, int], list[BaseGeometry]] = {}
    finest_deg = float("inf")
    for feature in features:
        chosen = zooms.choose(
            feature.finest_deg,
            feature.coarsest_deg,
            finest_field=f"{feature.field}.properties.{FINEST_PROPERTY}",
            coarsest_field=f"{feature.field}.properties.{COARSEST_PROPERTY}",
        )
        finest_deg = min(finest_deg, chosen.finest_deg)
        own = parts.setdefault((chosen.max_zoom, chosen.min_zoom), [])
        own.extend(shapely.get_parts(feature.area))
    return WantedAreas(
        areas=tuple(
            (
                export_area(united_area(own), footprint, layer_id=zooms.layer_id),
                min_zoom,
                max_zoom,
            )
            for (max_zoom, min_zoom), own in sorted(parts.items())
        ),
        finest_deg=finest_deg,
    )


def _check_within_reach(
    features: Sequence[RequestedFeature], footprint: BaseGeometry, layer_id: str
) -> None:
    """Refuse a feature that would be left out silently."""
    areas = np.array([feature.area for feature in features])
    # A MultiPolygon of boxes may overlap itself; its parts are asked one by one then.
    parts, owners = shapely.get_parts(areas, return_index=True)
    shapely.prepare(footprint)
    shares = shapely.intersects(footprint, parts) & ~shapely.touches(footprint, parts)
    lost = np.setdiff1d(np.arange(len(features)), owners[shares])
    if len(lost):
        raise InvalidRequest(
            f"{features[lost[0]].field} has nothing in common with the footprint of layer "
            f"{layer_id}"
        )


def _geometry(feature: object, field: str) -> Mapping[str, Any]:
    if not isinstance(feature, Mapping):
        raise InvalidRequest(f"{field} is {told(feature)}; it must be a GeoJSON Feature")
    if feature.get("type") != "Feature":
        raise InvalidRequest(f"{field}.type is {told(feature.get('type'))}; it must be Feature")
    _check_members(feature, field, _FEATURE_MEMBERS)
    geometry = feature.get("geometry")
    if not isinstance(geometry, Mapping):
        raise InvalidRequest(f"{field}.geometry is {told(geometry)}; it must be a {_FORMS}")
    return geometry


def _feature(
    feature: Mapping[str, Any], geometry: Mapping[str, Any], field: str
) -> RequestedFeature:
    properties = feature.get("properties")
    if properties is None:
        properties = {}
    if not isinstance(properties, Mapping):
        raise InvalidRequest(f"{field}.properties is {told(properties)}; it must be an object")
    for name in properties:
        # Anything else is the caller's own; a slip in these would cost an export.
        if _SLIP.match(name) and name not in (FINEST_PROPERTY, COARSEST_PROPERTY):
            raise InvalidRequest(
                f"{field}.properties.{name:.80} is unknown; a feature says its resolutions by "
                f"{FINEST_PROPERTY} and {COARSEST_PROPERTY}"
            )
    return RequestedFeature(
        field=field,
        area=geojson_area(geometry, f"{field}.geometry", forms=_FORMS),
        finest_deg=properties.get(FINEST_PROPERTY),
        coarsest_deg=properties.get(COARSEST_PROPERTY),
    )


def _check_members(value: Mapping[str, Any], field: str, known: frozenset[str]) -> None:
    for member in value:
        if member not in known:
            raise InvalidRequest(
                f"{field}.{member:.80} is unknown; a {value['type']} has {', '.join(sorted(known))}"
            )


def _check_crs(value: Mapping[str, Any]) -> None:
    crs = value.get("crs")
    if crs is None:
        return
    properties = crs.get("properties") if isinstance(crs, Mapping) else None
    name = properties.get("name") if isinstance(properties, Mapping) else None
    if name not in _CRS_NAMES:
        raise InvalidRequest(f"bbox.crs is {told(crs)}; it must be left out or be {_CRS_NAMES[0]}")
