"""What a request and a footprint share, and areas as bytes."""

import pytest
import shapely

from app.domain.area import (
    BoundingBox,
    area_from_wkb,
    area_to_wkb,
    as_box,
    delivered_area,
    export_area,
    parse_footprint,
)
from app.domain.errors import InvalidRecord, InvalidRequest
from app.domain.requested_area import parse_bbox

BOX = shapely.box(0, 0, 10, 10)
DIAMOND = shapely.Polygon([(0, 0), (5, -5), (10, 0), (5, 5)])


def shared(bbox, footprint):
    return export_area(parse_bbox(bbox), footprint, layer_id="L")


def test_without_a_bbox_the_footprint_is_exported():
    assert shared(None, DIAMOND) is DIAMOND


def test_two_boxes_share_a_box_with_untouched_coordinates():
    area = shared([0.1 + 0.2, -3, 1 / 3, 0.7], BOX)
    assert as_box(area) == BoundingBox(0.1 + 0.2, 0.0, 1 / 3, 0.7)


def test_a_box_within_a_polygon_footprint_stays_untouched():
    assert as_box(shared([4.1, -0.1, 1 / 3 + 5, 0.1], DIAMOND)) == BoundingBox(
        4.1, -0.1, 1 / 3 + 5, 0.1
    )


def test_a_polygon_is_cut_at_the_footprint():
    assert shared([0, -5, 5, 5], DIAMOND).area == pytest.approx(25)


@pytest.mark.parametrize("footprint", [BOX, shapely.Polygon([(0, 0), (10, 0), (10, 10)])])
@pytest.mark.parametrize(
    "bbox",
    [
        pytest.param([20, 20, 21, 21], id="elsewhere"),
        pytest.param([10, 0, 11, 10], id="an edge"),
        pytest.param([10, 10, 11, 11], id="a corner"),
        pytest.param([10 - 1e-13, 0, 11, 10], id="an edge with float noise"),
        pytest.param([20, 20, 20, 20], id="a point elsewhere"),
    ],
)
def test_nothing_in_common_is_refused_with_the_layer(bbox, footprint):
    with pytest.raises(InvalidRequest, match=r"^bbox .*nothing in common .* layer L"):
        shared(bbox, footprint)


@pytest.mark.parametrize("footprint", [BOX, shapely.Polygon([(0, 0), (10, 0), (10, 10)])])
def test_a_point_or_a_line_may_lie_on_the_edge(footprint):
    assert shared([10, 10, 10, 10], footprint) == shapely.Point(10, 10)
    assert shared([10, 2, 10, 3], footprint).length == 1
    assert shared([10, 0, 12, 0], footprint) == shapely.Point(10, 0)


def test_lines_and_points_beside_shared_polygons_are_dropped():
    stairs = shapely.Polygon([(0, 0), (4, 0), (4, 1), (2, 1), (2, 3), (4, 3), (4, 4), (0, 4)])
    area = shared([2, 0.5, 6, 2], stairs)
    assert area.geom_type == "Polygon"
    assert area.equals(shapely.box(2, 0.5, 4, 1))


def test_boxes_that_overlap_meet_a_polygon_footprint_as_one():
    parts = [[[[0, 0], [6, 0], [6, 1], [0, 1], [0, 0]]], [[[4, 0], [9, 0], [9, 1], [4, 1], [4, 0]]]]
    area = shared({"type": "MultiPolygon", "coordinates": parts}, DIAMOND)
    assert area.is_valid
    assert area.area == pytest.approx(shapely.box(0, 0, 9, 1).intersection(DIAMOND).area)


def test_a_box_over_the_antimeridian_keeps_both_parts():
    area = shared([170, 0, -170, 10], shapely.box(-180, -90, 180, 90))
    assert [as_box(part).west for part in area.geoms] == [170, -180]


def test_a_thin_request_is_meant_to_be_thin():
    assert shared([1, 1, 1 + 1e-10, 2], BOX).bounds[2] == 1 + 1e-10


def test_a_rectangle_with_more_vertices_is_a_box_and_an_l_is_none():
    more = shapely.Polygon([(0, 0), (1, 0), (3, 0), (3, 2), (0, 2), (0, 1)])
    assert as_box(more) == BoundingBox(0, 0, 3, 2)
    corner = shapely.Polygon([(0, 0), (3, 0), (3, 1), (1, 1), (1, 2), (0, 2)])
    assert as_box(corner) is None
    assert as_box(DIAMOND) is None
    assert as_box(BOX.difference(shapely.box(1, 1, 2, 2))) is None


def test_a_bad_footprint_is_repaired():
    bow_tie = {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}
    footprint = parse_footprint(bow_tie, layer_id="L")
    assert footprint.is_valid
    assert footprint.area == pytest.approx(2)


def test_a_footprint_is_cut_at_the_edge_of_the_world():
    wide = shapely.geometry.mapping(shapely.box(-190, -95, 0, 0))
    assert parse_footprint(wide, layer_id="L").bounds == (-180, -90, 0, 0)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "POLYGON",
        {},
        {"type": "Feature"},
        {"type": "Point", "coordinates": [1, 1]},
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [[1, 2]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 2], [0, 0]]]},
        {"type": "Nonsense", "coordinates": []},
        {"type": "Polygon", "coordinates": [[["a", 0], [1, 1], [2, 0], ["a", 0]]]},
        {"type": "Polygon", "coordinates": [[[float("nan"), 0], [1, 1], [2, 0], [0, 0]]]},
    ],
)
def test_a_footprint_without_area_is_refused_with_the_layer(value):
    with pytest.raises(InvalidRequest, match="layer L has a footprint"):
        parse_footprint(value, layer_id="L")


@pytest.mark.parametrize(
    "area", [BOX, DIAMOND, shapely.Point(1, 1 / 3), parse_bbox([170, 0, -170, 1])]
)
def test_an_area_comes_back_from_its_bytes_as_it_was(area):
    assert area_from_wkb(area_to_wkb(area)).equals_exact(area, 0)


@pytest.mark.parametrize("wkb", [b"", b"nonsense", area_to_wkb(BOX)[:-3]])
def test_bytes_that_are_no_area_are_an_invalid_record(wkb):
    with pytest.raises(InvalidRecord, match="no geometry"):
        area_from_wkb(wkb)


def test_what_is_delivered_is_polygons_although_another_part_of_the_footprint_touches_them():
    """A footprint on grid lines: the finest tiles reach up to its second part's edge."""
    footprint = shapely.MultiPolygon([shapely.box(0, 0, 22.5, 45), shapely.box(45, 0, 67.5, 45)])
    delivered = delivered_area([BoundingBox(0, 0, 45, 45)], footprint)
    assert shapely.equals(delivered, shapely.box(0, 0, 22.5, 45))
    assert delivered.geom_type == "Polygon"


def test_what_is_delivered_of_two_areas_has_the_footprints_parts_in_both():
    boxes = [BoundingBox(0, 0, 1, 1), BoundingBox(5, 0, 6, 1)]
    delivered = delivered_area(boxes, shapely.box(0.5, 0, 5.5, 9))
    assert delivered.geom_type == "MultiPolygon"
    assert delivered.bounds == (0.5, 0, 5.5, 1)


def test_a_point_on_the_edge_delivers_the_edge_of_its_tile():
    delivered = delivered_area([BoundingBox(10, 0, 20, 10)], shapely.box(0, 0, 10, 5))
    assert shapely.equals(delivered, shapely.LineString([(10, 0), (10, 5)]))


def test_tiles_that_miss_the_footprint_by_a_hair_are_delivered_as_they_are():
    delivered = delivered_area([BoundingBox(10, 0, 20, 10)], shapely.box(0, 0, 10 - 1e-10, 5))
    assert delivered.bounds == (10, 0, 20, 10)
