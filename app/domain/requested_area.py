"""The `bbox` of a request: a box, a GeoJSON Polygon or MultiPolygon, read strictly.

Features with zooms of their own are read by `requested_features`.

Every refusal names the place in the caller's JSON, its value and the limit, for example
`bbox.coordinates[0][3][1] is 91.5; a latitude lies between -90 and 90 degrees`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import shapely
from shapely.geometry.base import BaseGeometry

from app.domain.area import BoundingBox, area_of_parts, boxes_of
from app.domain.errors import InvalidRequest, told

MAX_VERTICES: Final = 20_000
MAX_CROSSING_WIDTH_DEG: Final = 180

_NUMBERS: Final = (float, int)  # exact types: a bool is an int to isinstance
_SIDES: Final = (("longitude", 180), ("latitude", 90))
_MEMBERS: Final = frozenset({"type", "coordinates", "bbox"})
_FORMS: Final = "Polygon, MultiPolygon or FeatureCollection"
_ALL_FORMS: Final = f"[west, south, east, north] or a GeoJSON {_FORMS}"
_PLACE: Final = re.compile(r"(?P<what>.*)\[(?P<lon>\S+) (?P<lat>\S+)\]")


def parse_bbox(value: object, *, max_vertices: int = MAX_VERTICES) -> BaseGeometry | None:
    """Read a caller's `bbox` as exactly the area that was asked for.

    A box with west > east crosses the antimeridian (RFC 7946) and becomes two parts. Polygons are
    taken as written; winding does not matter, a third coordinate is dropped, and parts of a
    MultiPolygon may share edges or overlap.

    Args:
        value: The JSON value; None asks for the layer's footprint.
        max_vertices: Limit on the positions of all rings together.

    Returns:
        None for the footprint; else Polygon or MultiPolygon, or a Point, a LineString or their
        multi form for a box without area. Rectangles of a MultiPolygon stay separate parts.

    Raises:
        InvalidRequest: The value is no area on the globe; the message names the place.

    Source:
        RFC 7946, sections 3.1.6, 3.1.7 and 5.2.

    >>> parse_bbox([170, -10, -170, 10]).wkt
    'MULTIPOLYGON (((180 -10, 180 10, 170 10, 170 -10, 180 -10)),
    ((-170 -10, -170 10, -180 10, -180 -10, -170 -10)))'
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        check_vertex_count([value], max_vertices)
        return geojson_area(value, "bbox", forms=_FORMS)
    if isinstance(value, list | tuple):
        return _box_area(value)
    raise InvalidRequest(f"bbox is {told(value)}; it must be {_ALL_FORMS}")


def _box_area(value: Sequence[object]) -> BaseGeometry:
    if len(value) != 4:
        raise InvalidRequest(f"bbox has {len(value)} values; it must be {_ALL_FORMS}")
    west, south, east, north = (
        _coordinate(number, f"bbox[{index}]", index % 2) for index, number in enumerate(value)
    )
    if south > north:
        raise InvalidRequest(f"bbox has south {south} > north {north}; were the two swapped?")
    if west <= east:
        return BoundingBox(west, south, east, north).as_area()
    width_deg = east - west + 360
    if width_deg > MAX_CROSSING_WIDTH_DEG:
        raise InvalidRequest(
            f"bbox has west {west} > east {east}: it would cross the antimeridian and be "
            f"{width_deg} degrees wide, more than {MAX_CROSSING_WIDTH_DEG}; were the two swapped?"
        )
    # A side on the antimeridian belongs to the part that has a width, or to the east of it.
    parts = [BoundingBox(west, south, 180, north)] if west < 180 else []
    if east > -180 or not parts:
        parts.append(BoundingBox(-180, south, east, north))
    return area_of_parts(part.as_area() for part in parts)


def geojson_area(value: Mapping[str, Any], field: str, *, forms: str) -> BaseGeometry:
    """Read a GeoJSON Polygon or MultiPolygon as `parse_bbox` does.

    Args:
        value: The geometry.
        field: Its place in the caller's JSON, for messages.
        forms: What may stand there, for messages.

    Raises:
        InvalidRequest: It is no area on the globe.
    """
    kind = value.get("type")
    if kind not in ("Polygon", "MultiPolygon"):
        raise InvalidRequest(f"{field}.type is {told(kind)}; it must be {forms}")
    for member in value:
        if member not in _MEMBERS:
            raise InvalidRequest(
                f"{field}.{member:.80} is unknown; a {kind} has type and coordinates"
            )
    coordinates = _array(value.get("coordinates"), f"{field}.coordinates")
    if kind == "Polygon":
        return _polygon(coordinates, f"{field}.coordinates")
    return united_area(
        [_polygon(part, f"{field}.coordinates[{i}]") for i, part in enumerate(coordinates)]
    )


def united_area(parts: Sequence[BaseGeometry]) -> BaseGeometry:
    """Put polygons together that may share edges or overlap.

    Boxes stay as they are written: the tile cover counts them exactly, one by one.
    """
    area = area_of_parts(parts)
    if boxes_of(area) is None and not shapely.is_valid(area):
        area = shapely.union_all(shapely.get_parts(area))
    return area


def check_vertex_count(geometries: Iterable[Mapping[str, Any]], limit: int) -> None:
    """Count before anything is built; whatever is no array is found later, with its place.

    Raises:
        InvalidRequest: All geometries together have more positions than the limit.
    """
    count = sum(
        len(ring)
        for geometry in geometries
        for polygon in _polygons(geometry)
        if isinstance(polygon, list | tuple)
        for ring in polygon
        if isinstance(ring, list | tuple)
    )
    if count > limit:
        raise InvalidRequest(f"bbox has {count} vertices, more than {limit}")


def _polygons(geometry: Mapping[str, Any]) -> Sequence[Any]:
    coordinates = geometry.get("coordinates")
    if not isinstance(coordinates, list | tuple):
        return ()
    return coordinates if geometry.get("type") == "MultiPolygon" else [coordinates]


def _polygon(value: object, field: str) -> BaseGeometry:
    rings = [_ring(ring, f"{field}[{i}]") for i, ring in enumerate(_array(value, field))]
    polygon = shapely.Polygon(rings[0], rings[1:])
    if not shapely.is_valid(polygon):
        raise InvalidRequest(f"{field} is no valid polygon: {_defect(polygon)}")
    return polygon


def _defect(polygon: BaseGeometry) -> str:
    reason = str(shapely.is_valid_reason(polygon))
    place = _PLACE.fullmatch(reason)
    if place is None:
        return reason
    return f"{place['what']} at longitude {place['lon']}, latitude {place['lat']}"


def _ring(value: object, field: str) -> list[tuple[float, float]]:
    positions = _array(value, field)
    if len(positions) < 4:
        raise InvalidRequest(f"{field} has {len(positions)} positions; a closed ring has 4 or more")
    ring = [_position(position, field, index) for index, position in enumerate(positions)]
    if ring[0] != ring[-1]:
        raise InvalidRequest(
            f"{field} is not closed: it starts at {list(ring[0])} and ends at {list(ring[-1])}"
        )
    return ring


def _position(value: object, ring_field: str, index: int) -> tuple[float, float]:
    # The good case first and alone: 20,000 of these are read while a caller waits.
    if isinstance(value, list | tuple) and len(value) in (2, 3):
        lon, lat = value[0], value[1]
        if (
            type(lon) in _NUMBERS
            and type(lat) in _NUMBERS
            and -180 <= lon <= 180
            and -90 <= lat <= 90
            and (len(value) == 2 or type(value[2]) in _NUMBERS)
        ):
            return float(lon), float(lat)
    return _position_by_axis(value, f"{ring_field}[{index}]")


def _position_by_axis(value: object, field: str) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) not in (2, 3):
        raise InvalidRequest(f"{field} is {told(value)}; a position is [longitude, latitude]")
    lon, lat = (_coordinate(value[axis], f"{field}[{axis}]", axis) for axis in (0, 1))
    if len(value) == 3 and type(value[2]) not in _NUMBERS:
        raise InvalidRequest(f"{field}[2] is {told(value[2])}; it must be a number")
    return lon, lat


def _coordinate(value: object, field: str, axis: int) -> float:
    name, limit = _SIDES[axis]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidRequest(f"{field} is {told(value)}; it must be a number, a {name} in degrees")
    if not -limit <= value <= limit:  # NaN fails every comparison
        raise InvalidRequest(
            f"{field} is {told(value)}; a {name} lies between -{limit} and {limit} degrees"
        )
    return float(value)


def _array(value: object, field: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise InvalidRequest(f"{field} is {told(value)}; it must be an array")
    if not value:
        raise InvalidRequest(f"{field} is empty")
    return value
