"""Areas on the globe, in degrees (OGC:CRS84, longitude first), and what two of them share.

An area is a shapely geometry: Polygon or MultiPolygon, or Point, LineString or their multi forms
for a box without area. Axis-aligned boxes keep their float coordinates untouched, because the tile
cover computes with exactly those numbers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from app.domain.errors import InvalidRecord, InvalidRequest

EDGE_DEG: Final = 1e-9
"""What two areas share and is not wider than this is an edge: about 0.1 mm of float noise."""

AUTHALIC_RADIUS_KM: Final = 6_371.0072
"""Radius of the sphere that has the surface of the Earth (WGS 84), km."""

MAX_BOX_PAIRS: Final = 10_000
"""Boxes against boxes are compared pair by pair up to here, and by shapely's index beyond."""


@dataclass(frozen=True, slots=True)
class BoundingBox:
    """An axis-aligned box in degrees, OGC:CRS84, west <= east and south <= north.

    A box may have no width, no height or neither: then it is a line or a point.
    """

    west: float
    south: float
    east: float
    north: float

    def as_list(self) -> list[float]:
        """The box as a request writes it: west, south, east, north."""
        return [self.west, self.south, self.east, self.north]

    def as_area(self) -> BaseGeometry:
        """The box as a Polygon, or as a LineString or Point when it has no area."""
        if self.west == self.east and self.south == self.north:
            return shapely.Point(self.west, self.south)
        if self.west == self.east or self.south == self.north:
            return shapely.LineString([(self.west, self.south), (self.east, self.north)])
        return shapely.box(self.west, self.south, self.east, self.north)

    @property
    def thickness_deg(self) -> float:
        """The shorter side."""
        return min(self.east - self.west, self.north - self.south)

    def intersection(self, other: "BoundingBox") -> "BoundingBox | None":
        """What both boxes cover, edges included, with untouched coordinates."""
        west, east = max(self.west, other.west), min(self.east, other.east)
        south, north = max(self.south, other.south), min(self.north, other.north)
        if west > east or south > north:
            return None
        return BoundingBox(west, south, east, north)


WORLD: Final = BoundingBox(-180, -90, 180, 90)


def area_to_wkb(area: BaseGeometry) -> bytes:
    """Well-known binary of an area: little-endian, two dimensions, every float as it is."""
    return bytes(shapely.to_wkb(area, byte_order=1, output_dimension=2))


def area_from_wkb(wkb: bytes) -> BaseGeometry:
    """Read what `area_to_wkb` wrote.

    Raises:
        InvalidRecord: The bytes are no geometry.
    """
    try:
        return shapely.from_wkb(wkb)
    except (shapely.errors.ShapelyError, TypeError) as error:
        raise InvalidRecord(f"area_wkb of {len(wkb)} bytes is no geometry: {error}") from error


def bounds_of(area: BaseGeometry) -> BoundingBox:
    """The smallest box around an area."""
    return BoundingBox(*(float(value) for value in shapely.bounds(area)))


def area_of_parts(parts: Iterable[BaseGeometry]) -> BaseGeometry:
    """Put parts of one dimension together, without dissolving what they share."""
    several = list(parts)
    if len(several) == 1:
        return several[0]
    kinds: dict[int, Any] = {
        0: shapely.MultiPoint,
        1: shapely.MultiLineString,
        2: shapely.MultiPolygon,
    }
    return kinds[shapely.get_dimensions(several[0])](several)


def as_box(part: BaseGeometry) -> BoundingBox | None:
    """The box that a single-part area is, or None when it has another shape.

    Each side may carry further vertices. A polygon whose every edge lies on one side of its
    bounding box is that box.
    """
    box = bounds_of(part)
    dimension = shapely.get_dimensions(part)
    if dimension < 2:
        return box if box.thickness_deg == 0 else None
    if shapely.get_num_interior_rings(part):
        return None
    lon, lat = shapely.get_coordinates(part).T
    sides = (lon == box.west, lon == box.east, lat == box.south, lat == box.north)
    on_a_side = np.logical_or.reduce([side[:-1] & side[1:] for side in sides])
    return box if bool(on_a_side.all()) else None


def boxes_of(area: BaseGeometry) -> list[BoundingBox] | None:
    """The parts of an area as boxes, or None when one of them has another shape."""
    boxes = []
    for part in shapely.get_parts(area):
        box = as_box(part)
        if box is None:
            return None
        boxes.append(box)
    return boxes


def parse_footprint(value: object, *, layer_id: str) -> BaseGeometry:
    """Read the footprint of a layer record, leniently: nobody who asks can repair it.

    Args:
        value: GeoJSON geometry or Feature. Crossing rings are repaired, lines and points beside
            the polygons dropped, and what lies outside the world is cut off.
        layer_id: For the message.

    Returns:
        A valid Polygon or MultiPolygon.

    Raises:
        InvalidRequest: Nothing with an area is left.
    """
    try:
        footprint = _repaired(value)
    except (shapely.errors.ShapelyError, ValueError, TypeError, LookupError, AttributeError) as e:
        raise InvalidRequest(f"layer {layer_id} has a footprint that cannot be read: {e}") from e
    if footprint is None:
        raise InvalidRequest(f"layer {layer_id} has a footprint without area")
    return footprint


def _repaired(value: object) -> BaseGeometry | None:
    if not isinstance(value, Mapping):
        raise TypeError(f"it is {value!r:.80}, not a GeoJSON object")
    geometry = value["geometry"] if value.get("type") == "Feature" else value
    area = shapely.force_2d(shapely.geometry.shape(geometry))
    if not shapely.is_valid(area):
        area = shapely.make_valid(area)
    polygons = _of_dimension(_simple_parts(area), 2)
    if polygons is None or WORLD.intersection(bounds_of(polygons)) == bounds_of(polygons):
        return polygons
    return _of_dimension(_simple_parts(shapely.intersection(polygons, WORLD.as_area())), 2)


def _simple_parts(area: BaseGeometry) -> list[BaseGeometry]:
    """Points, lines and polygons; make_valid nests multi geometries in collections."""
    return list(shapely.get_parts(shapely.get_parts(area)))


def export_area(
    requested: BaseGeometry | None, footprint: BaseGeometry, *, layer_id: str
) -> BaseGeometry:
    """The area an export covers: what the request and the layer's footprint share.

    Args:
        requested: What `parse_bbox` returned; None asks for the whole footprint.
        footprint: What `parse_footprint` returned.
        layer_id: For the message.

    Returns:
        Polygons, without the lines and points where both only touch. A request without area
        stays one, and may lie on the footprint's edge.

    Raises:
        InvalidRequest: They share nothing, or nothing wider than 1e-9 degrees.
    """
    if requested is None:
        return footprint
    shared = _shared_area(requested, footprint)
    if shared is None:
        raise InvalidRequest(
            f"bbox (bounds {bounds_of(requested).as_list()}) has nothing in common with the "
            f"footprint of layer {layer_id} (bounds {bounds_of(footprint).as_list()})"
        )
    return shared


def delivered_area(boxes: Sequence[BoundingBox], footprint: BaseGeometry) -> BaseGeometry:
    """What boxes of tiles and a layer's footprint share: polygons, without edges that only touch.

    Args:
        boxes: The bounds of tiles that were made for the footprint; one or more.
        footprint: What `parse_footprint` returned.

    Returns:
        Polygons where there are any, else lines or points, as of a request without area on the
        footprint's edge; never nothing.
    """
    bounds = shapely.union_all([box.as_area() for box in boxes])
    pieces = _simple_parts(shapely.intersection(bounds, footprint))
    return _of_dimension(pieces, 0) or bounds


def _shared_area(requested: BaseGeometry, footprint: BaseGeometry) -> BaseGeometry | None:
    asked, covered = boxes_of(requested), boxes_of(footprint)
    if asked and covered and len(asked) * len(covered) <= MAX_BOX_PAIRS:
        return _of_dimension(_shared_boxes(asked, covered), shapely.get_dimensions(requested))
    if not shapely.is_valid(requested):  # parts that share an edge or overlap
        requested = shapely.union_all(shapely.get_parts(requested))
    if shapely.covers(footprint, requested):
        return requested
    dimension = shapely.get_dimensions(requested)
    edge_deg = min(EDGE_DEG, _thickness_deg(requested) / 2) if dimension == 2 else 0
    pieces = _simple_parts(shapely.intersection(requested, footprint))
    return _of_dimension(
        [piece for piece in pieces if dimension < 2 or _thickness_deg(piece) > edge_deg], dimension
    )


def _shared_boxes(asked: list[BoundingBox], covered: list[BoundingBox]) -> list[BaseGeometry]:
    shared = []
    for mine in asked:
        # A request thinner than an edge is meant to be that thin.
        edge_deg = EDGE_DEG if mine.thickness_deg > EDGE_DEG else -1
        for other in covered:
            piece = mine.intersection(other)
            if piece is not None and piece.thickness_deg > edge_deg:
                shared.append(piece.as_area())
    return shared


def _of_dimension(pieces: Iterable[BaseGeometry], wanted: int) -> BaseGeometry | None:
    """The polygons among pieces when areas are wanted, else the lines, else the points."""
    solid = [piece for piece in pieces if not shapely.is_empty(piece)]
    highest = max((int(shapely.get_dimensions(piece)) for piece in solid), default=-1)
    if highest < 0 or (wanted == 2 and highest < 2):
        return None
    return area_of_parts(piece for piece in solid if shapely.get_dimensions(piece) == highest)


def _thickness_deg(polygon: BaseGeometry) -> float:
    """The width of a long strip with the polygon's area and edge length; exact for none."""
    length = float(shapely.length(polygon))
    return 2 * float(shapely.area(polygon)) / length if length else 0.0


def area_km2(area: BaseGeometry) -> float:
    """Measure an area on a sphere with the surface of the Earth, square kilometres.

    Exact for boxes: Lambert's cylindrical projection keeps areas. Slanting edges are taken as
    straight in that projection, which differs little for edges of a few degrees.

    >>> round(area_km2(shapely.box(-180, -90, 180, 90)))
    510065625
    """

    def project(positions: Any) -> Any:
        lon, lat = np.radians(positions[:, 0]), np.radians(positions[:, 1])
        return np.column_stack((lon, np.sin(lat))) * AUTHALIC_RADIUS_KM

    return float(shapely.transform(area, project).area)
