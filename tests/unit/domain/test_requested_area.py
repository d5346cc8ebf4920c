"""What a caller's bbox may be, and how each wrong one is refused."""

import math
import time

import pytest
import shapely

from app.domain.errors import InvalidRequest
from app.domain.requested_area import parse_bbox

SQUARE = [[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]
HOLE = [[0.5, 0.5], [1, 0.5], [1, 1], [0.5, 1], [0.5, 0.5]]


def polygon(*rings):
    return {"type": "Polygon", "coordinates": list(rings)}


def multipolygon(*polygons):
    return {"type": "MultiPolygon", "coordinates": list(polygons)}


def shifted(ring, lon):
    return [[x + lon, y] for x, y in ring]


def test_nothing_asks_for_the_footprint():
    assert parse_bbox(None) is None


def test_a_box_is_its_polygon_with_untouched_coordinates():
    box = [34.811938017107494, 31.95475033759175, 34.82237261707599, 31.96426962177354]
    assert list(shapely.bounds(parse_bbox(box))) == box


def test_a_box_without_area_is_a_point_or_a_line():
    assert parse_bbox([5, 6, 5, 6]) == shapely.Point(5, 6)
    assert parse_bbox([5, 6, 5, 8]) == shapely.LineString([(5, 6), (5, 8)])
    assert parse_bbox([5, 6, 9, 6]) == shapely.LineString([(5, 6), (9, 6)])


@pytest.mark.parametrize(
    ("box", "parts"),
    [
        ([170, -10, -170, 10], [(170, -10, 180, 10), (-180, -10, -170, 10)]),
        ([90, 0, -90, 1], [(90, 0, 180, 1), (-180, 0, -90, 1)]),
        ([180, 0, -170, 1], [(-180, 0, -170, 1)]),
        ([170, 0, -180, 1], [(170, 0, 180, 1)]),
        ([170, 5, -170, 5], [(170, 5, 180, 5), (-180, 5, -170, 5)]),
        ([180, 5, -180, 5], [(-180, 5, -180, 5)]),
    ],
)
def test_a_box_over_the_antimeridian_is_split(box, parts):
    found = [tuple(shapely.bounds(part)) for part in shapely.get_parts(parse_bbox(box))]
    assert found == parts


def test_polygons_and_multipolygons_are_taken_with_their_holes():
    assert parse_bbox(polygon(SQUARE, HOLE)).area == 3.75
    assert parse_bbox(multipolygon([SQUARE, HOLE], [shifted(SQUARE, 5)])).area == 7.75


def test_winding_does_not_matter_and_a_third_coordinate_is_dropped():
    flat = parse_bbox(polygon(SQUARE, HOLE))
    turned = parse_bbox(polygon([[*xy, 12.5] for xy in SQUARE[::-1]], HOLE[::-1]))
    assert turned.equals(flat)
    assert not turned.has_z


def test_a_polygon_wider_than_180_degrees_is_not_turned_inside_out():
    ring = [[-170, -10], [170, -10], [170, 10], [-170, 10], [-170, -10]]
    assert parse_bbox(polygon(ring)).area == 340 * 20


def test_parts_that_share_an_edge_or_overlap_are_accepted():
    beside = parse_bbox(multipolygon([SQUARE], [shifted(SQUARE, 2)]))
    assert beside.geom_type == "MultiPolygon"
    triangle = [[1, 0], [4, 0], [4, 3], [1, 0]]
    over = parse_bbox(multipolygon([SQUARE], [triangle]))
    assert over.is_valid
    assert over.area == pytest.approx(4 + 4.5 - 0.5)


REFUSED = [
    ([], "bbox has 0 values"),
    ({}, "bbox.type is null"),
    ([1, 2, 3], "bbox has 3 values"),
    ([1, 2, 3, 4, 5, 6], "bbox has 6 values"),
    ("1,2,3,4", 'bbox is "1,2,3,4"'),
    (True, "bbox is true"),
    (5, "bbox is 5"),
    ([0, 0, False, 1], r"bbox\[2\] is false"),
    ([0, 0, "1", 1], r'bbox\[2\] is "1"'),
    ([0, 0, None, 1], r"bbox\[2\] is null"),
    ([0, 0, math.nan, 1], r"bbox\[2\] is NaN; a longitude lies between -180 and 180"),
    ([0, 0, 1, math.inf], r"bbox\[3\] is Infinity; a latitude lies between -90 and 90"),
    ([0, 0, 10**400, 1], r"bbox\[2\] is 1000"),
    ([-180.001, 0, 1, 1], r"bbox\[0\] is -180.001; .*-180 and 180"),
    ([0, -91, 1, 1], r"bbox\[1\] is -91; .*-90 and 90"),
    ([0, 5, 1, 4], "south 5.0 > north 4.0"),
    ([10, 0, 9, 1], r"west 10.0 > east 9.0.*359.0 degrees wide, more than 180; were the two swap"),
    ({"type": "Point", "coordinates": [0, 0]}, 'bbox.type is "Point"'),
    ({"type": ["Polygon"], "coordinates": [SQUARE]}, "bbox.type is "),
    ({"type": "Polygon"}, "bbox.coordinates is null"),
    ({"type": "Polygon", "coordinates": [SQUARE], "crs": "x"}, "bbox.crs is unknown"),
    ({"type": "Polygon", "coordinates": []}, "bbox.coordinates is empty"),
    ({"type": "Polygon", "coordinates": [[]]}, r"bbox.coordinates\[0\] is empty"),
    ({"type": "MultiPolygon", "coordinates": []}, "bbox.coordinates is empty"),
    ({"type": "MultiPolygon", "coordinates": [5]}, r"bbox.coordinates\[0\] is 5"),
    (multipolygon([SQUARE], []), r"bbox.coordinates\[1\] is empty"),
    (polygon(SQUARE[:3]), r"bbox.coordinates\[0\] has 3 positions"),
    (polygon(SQUARE, HOLE[:-1]), r"bbox.coordinates\[1\] is not closed: .*\[0.5, 0.5\].*\[0.5, 1"),
    (polygon([*SQUARE[:3], [0, 95.5], [0, 0]]), r"bbox.coordinates\[0\]\[3\]\[1\] is 95.5"),
    (polygon([*SQUARE[:3], [False, 2], [0, 0]]), r"bbox.coordinates\[0\]\[3\]\[0\] is false"),
    (polygon([*SQUARE[:3], [0], [0, 0]]), r"bbox.coordinates\[0\]\[3\] is \[0\]"),
    (polygon([*SQUARE[:3], "ab", [0, 0]]), r'bbox.coordinates\[0\]\[3\] is "ab"'),
    (polygon([*SQUARE[:3], [0, 2, "h"], [0, 0]]), r'bbox.coordinates\[0\]\[3\]\[2\] is "h"'),
    (polygon([*SQUARE[:3], [0, math.nan], [0, 0]]), r"bbox.coordinates\[0\]\[3\]\[1\] is NaN"),
    (polygon([[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]), "ntersection at longitude 1, latitude 1"),
    (polygon([[0, 0], [1, 1], [2, 2], [0, 0]]), "bbox.coordinates is no valid polygon"),
    (polygon([[1, 1]] * 4), "no valid polygon"),
    (polygon(SQUARE, shifted(SQUARE, 5)), "no valid polygon: Hole lies outside"),
    (
        multipolygon([SQUARE], [[[9, 9], [11, 11], [11, 9], [9, 11], [9, 9]]]),
        r"coordinates\[1\] is",
    ),
]


@pytest.mark.parametrize(("value", "message"), REFUSED)
def test_a_wrong_bbox_is_refused_with_its_place(value, message):
    with pytest.raises(InvalidRequest, match=message):
        parse_bbox(value)


def circle(vertices):
    turn = [2 * math.pi * i / (vertices - 1) for i in range(vertices - 1)]
    ring = [[30 + math.cos(angle), 30 + math.sin(angle)] for angle in turn]
    return polygon([*ring, ring[0]])


def test_vertices_are_limited_and_the_limit_is_named():
    assert parse_bbox(circle(50), max_vertices=50).area > 3
    with pytest.raises(InvalidRequest, match="51 vertices, more than 50"):
        parse_bbox(circle(51), max_vertices=50)


def test_twenty_thousand_vertices_are_read_while_a_caller_waits():
    ring = circle(20_000)
    started = time.process_time()
    parse_bbox(ring)
    assert time.process_time() - started < 1
