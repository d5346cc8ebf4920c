"""Which tiles an area touches, against exact fractions, morecantile and brute force."""

import math
import time
import tracemalloc
from fractions import Fraction

import morecantile
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.domain.area import BoundingBox
from app.domain.errors import RequestTooLarge
from app.domain.requested_area import parse_bbox
from app.domain.tile_cover import TileCover
from app.domain.tile_range import TileRun
from app.domain.world_crs84_quad import tile_bounds, tile_size_deg

GOLDEN = [34.811938017107494, 31.95475033759175, 34.82237261707599, 31.96426962177354]
WORLD = [-180, -90, 180, 90]
EDGE = Fraction(1, 10**9)
ORACLE = morecantile.tms.get("WorldCRS84Quad")
ZOOMS = st.integers(0, 22)


def cover(area, min_zoom, max_zoom, max_tiles=10**15):
    geometry = parse_bbox(area) if isinstance(area, list) else area
    return TileCover.of(geometry, min_zoom, max_zoom, max_tiles=max_tiles)


def only_run(area, zoom):
    (run,) = cover(area, zoom, zoom).runs(zoom)
    return (run.min_col, run.max_col), (run.min_row, run.max_row)


def tiles_at(area, zoom):
    return {(col, row) for run in cover(area, zoom, zoom).runs(zoom) for _, col, row in run.tiles()}


# The contract's golden numbers


def test_the_golden_vector():
    golden = cover(GOLDEN, 0, 14)
    assert golden.tile_count == 18
    assert golden.tiles_by_zoom == (*((zoom, 1) for zoom in range(14)), (14, 4))
    assert golden.runs(14) == (TileRun(14, 19552, 19553, 5282, 5283),)
    assert golden.finest_bounds == BoundingBox(
        34.8046875, 31.9482421875, 34.82666015625, 31.97021484375
    )


def test_float_noise_on_the_edges_pulls_in_no_tile():
    snapped = [34.8046875, 31.9482421875, 34.82666015625, 31.97021484375]
    noise = 1e-13
    noisy = [snapped[0] - noise, snapped[1] - noise, snapped[2] + noise, snapped[3] + noise]
    assert noisy != snapped
    assert only_run(noisy, 14) == only_run(snapped, 14) == ((19552, 19553), (5282, 5283))
    # The same as a polygon that is no box.
    w, s, e, n = noisy
    cut = shapely.Polygon([(w, s), (e, s), (e, n), (w + 1e-3, n), (w, n - 1e-3)])
    assert len(tiles_at(cut, 14)) == 4


def test_the_whole_world_is_one_run_at_every_zoom():
    world = cover(WORLD, 0, 22)
    assert world.tile_count == sum(2 * 4**zoom for zoom in range(23))
    for zoom in range(23):
        assert world.runs(zoom) == (TileRun(zoom, 0, 2 ** (zoom + 1) - 1, 0, 2**zoom - 1),)


# Points and lines


def test_a_point_touches_exactly_one_tile():
    assert tiles_at([34.8, 31.9, 34.8, 31.9], 10) == {
        tuple(ORACLE.tile(34.8, 31.9, 10)[:2]),
    }


def test_a_point_on_grid_lines_touches_the_south_eastern_tile():
    assert tiles_at([0, 0, 0, 0], 1) == {(2, 1)}
    assert tiles_at([0, 0, 0, 0], 22) == {(2**22, 2**21)}


@pytest.mark.parametrize(
    ("lon", "lat", "col", "row"),
    [(180, -90, 7, 3), (-180, 90, 0, 0), (180, 90, 7, 0), (-180, -90, 0, 3)],
)
def test_points_at_the_corners_of_the_world_stay_within_it(lon, lat, col, row):
    assert tiles_at([lon, lat, lon, lat], 2) == {(col, row)}


def test_a_line_on_a_grid_line_touches_one_column():
    assert only_run([45, -45, 45, 45], 2) == ((5, 5), (1, 2))
    assert only_run([-45, 45, 45, 45], 2) == ((3, 4), (1, 1))


def test_a_strip_across_a_grid_line_as_thin_as_an_edge_is_a_point_at_its_middle():
    assert only_run([-1.5e-9, 1, 0.3e-9, 2], 3)[0] == (7, 7)
    assert only_run([-0.3e-9, 1, 1.5e-9, 2], 3)[0] == (8, 8)


# The antimeridian


def test_a_box_over_the_antimeridian_has_tiles_on_both_sides():
    crossing = cover([170, -10, -170, 10], 0, 4)
    assert crossing.runs(4) == (TileRun(4, 0, 0, 7, 8), TileRun(4, 31, 31, 7, 8))
    assert crossing.tiles_by_zoom[:2] == ((0, 2), (1, 4))
    assert crossing.finest_bounds == BoundingBox(-180, -11.25, 180, 11.25)


# Boxes against exact fractions, on and beside grid lines


def touched(start, end, tile):
    """Tiles along an axis that share more than the edge with a stretch; exact."""
    if end - start <= 2 * EDGE:
        return [math.floor((start + end) / 2 / tile)]
    first, last = math.floor(start / tile) - 2, math.floor(end / tile) + 2
    return [
        index
        for index in range(first, last + 1)
        if min(end, (index + 1) * tile) - max(start, index * tile) > EDGE
    ]


NUDGES = st.sampled_from([0, 1e-13, 5e-10, 9.99e-10, 1e-9, 1.001e-9, 1.9e-9, 2.1e-9, 1e-7])


@st.composite
def sides(draw, world):
    """A zoom and two coordinates within the world, each on or next to a grid line."""
    zoom = draw(ZOOMS)
    size = tile_size_deg(zoom)
    count = round(2 * world / size)
    first = draw(st.integers(0, count))
    lines = first, min(first + draw(st.integers(0, 6)), count)
    nudged = [line * size - world + draw(NUDGES) * draw(st.sampled_from([-1, 1])) for line in lines]
    return zoom, *sorted(min(max(value, -world), world) for value in nudged)


@settings(max_examples=400)
@given(sides(180))
def test_columns_on_grid_lines_are_exact(case):
    zoom, west, east = case
    (first, last), _ = only_run(BoundingBox(west, 1.1, east, 1.1).as_area(), zoom)
    tile = Fraction(180, 2**zoom)
    expected = touched(Fraction(west) + 180, Fraction(east) + 180, tile)
    final = 2 ** (zoom + 1) - 1
    assert (first, last) == (min(expected[0], final), min(expected[-1], final))


@settings(max_examples=400)
@given(sides(90))
def test_rows_on_grid_lines_are_exact(case):
    zoom, south, north = case
    _, (first, last) = only_run(BoundingBox(1.1, south, 1.1, north).as_area(), zoom)
    tile = Fraction(180, 2**zoom)
    expected = touched(90 - Fraction(north), 90 - Fraction(south), tile)
    final = 2**zoom - 1
    assert (first, last) == (min(expected[0], final), min(expected[-1], final))


@given(
    st.floats(-179.9, 179.9), st.floats(-89.9, 89.9), st.floats(1e-6, 5), st.floats(1e-6, 5), ZOOMS
)
def test_boxes_away_from_grid_lines_agree_with_morecantile(west, south, width, height, zoom):
    east, north = min(west + width, 179.95), min(south + height, 89.95)
    assume(east - west > 1e-7 and north - south > 1e-7)
    size = tile_size_deg(zoom)
    for place in (west + 180, east + 180, north + 90, south + 90):
        assume(1e-8 < place % size < size - 1e-8)
    upper, lower = ORACLE.tile(west, north, zoom), ORACLE.tile(east, south, zoom)
    assert only_run([west, south, east, north], zoom) == ((upper.x, lower.x), (upper.y, lower.y))


# Polygons against brute force


def brute_force(area, zoom):
    """Every tile whose inner part, 1e-9 in from its edges, shares an area or a length."""
    dimension = shapely.get_dimensions(area)
    found = set()
    for col in range(2 ** (zoom + 1)):
        for row in range(2**zoom):
            west, south, east, north = tile_bounds(zoom, col, row).as_list()
            body = shapely.box(west + 1e-9, south + 1e-9, east - 1e-9, north - 1e-9)
            shared = body.intersection(area)
            if (shared.area if dimension == 2 else shared.length) > 0:
                found.add((col, row))
    return found


SHAPES = {
    "triangle": shapely.Polygon([(-100, -50), (80, -20), (10, 70)]),
    "concave": shapely.Polygon([(0, 0), (90, 0), (90, 80), (45, 10), (0, 80)]),
    "hole": shapely.box(-120, -60, 120, 60).difference(shapely.box(-70, -40, 70, 40)),
    "hole on grid lines": shapely.box(-90, -45, 90, 45).difference(shapely.box(-45, 0, 45, 22.5)),
    "two parts": shapely.MultiPolygon(
        [shapely.Point(-90, 10).buffer(30), shapely.Point(100, -30).buffer(12)]
    ),
    "box and circle": shapely.MultiPolygon(
        [shapely.box(-90, 0, -45, 45), shapely.Point(100, -30).buffer(12)]
    ),
    "overlapping boxes": shapely.MultiPolygon(
        [shapely.box(-90, 0, 10, 45), shapely.box(-20, 20, 60, 70)]
    ),
    "thin diagonal": shapely.Polygon([(-170, -80), (170, 80), (170, 80.01)]),
    "staircase": shapely.Polygon([(0, 0), (45, 0), (45, 45), (90, 45), (90, 90), (0, 90)]),
    "diamond with corners on grid lines": shapely.Polygon([(0, -45), (45, 0), (0, 45), (-45, 0)]),
    "over both poles": shapely.Polygon([(-180, -90), (180, -90), (20, 0), (180, 90), (-180, 90)]),
}


@pytest.mark.parametrize("zoom", [0, 1, 3, 5])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_polygons_touch_the_tiles_they_share_an_interior_with(shape, zoom):
    valid = shape if shape.is_valid else shapely.union_all(shape.geoms)
    assert tiles_at(shape, zoom) == brute_force(valid, zoom)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(0.05, 1), min_size=3, max_size=12), st.floats(-90, 90), st.floats(-30, 30)
)
def test_star_shaped_polygons_agree_with_brute_force(radii, lon, lat):
    turns = [2 * math.pi * index / len(radii) for index in range(len(radii))]
    star = shapely.Polygon(
        [
            (lon + 80 * r * math.cos(turn), lat + 55 * r * math.sin(turn))
            for r, turn in zip(radii, turns, strict=True)
        ]
    )
    assume(star.is_valid)
    assert tiles_at(star, 4) == brute_force(star, 4)


@pytest.mark.parametrize("zoom", [0, 9, 22])
def test_a_sliver_between_all_tiles_still_touches_one(zoom):
    sliver = shapely.Polygon([(0, 10), (1e-10, 10), (0, 10 + 1e-10)])
    assert len(tiles_at(sliver, zoom)) == 1


# Limits


def test_too_many_tiles_are_refused_with_the_limit_and_the_count():
    with pytest.raises(RequestTooLarge, match="makes 18 tiles, more than 17"):
        cover(GOLDEN, 0, 14, max_tiles=17)
    assert cover(GOLDEN, 0, 14, max_tiles=18).tile_count == 18


def test_a_huge_polygon_is_refused_before_any_work():
    started = time.process_time()
    with pytest.raises(RequestTooLarge, match=r"at least \d+ tiles, more than 10000000"):
        cover(shapely.Point(0, 0).buffer(80), 0, 22, max_tiles=10**7)
    assert time.process_time() - started < 0.1


def test_a_boundary_through_too_many_tiles_is_refused():
    with pytest.raises(RequestTooLarge, match=r"boundary through \d+ tiles at .* more than 61 "):
        TileCover.of(SHAPES["thin diagonal"], 0, 22, max_tiles=10**15, max_runs=500)


def test_an_intricate_boundary_is_refused_sooner():
    teeth = [(30 + i * 1e-3, 31 if i % 4 in (1, 2) else 30) for i in range(4_000)]
    comb = shapely.Polygon([(30, 29), *teeth, (teeth[-1][0], 29)])
    assert comb.is_valid
    with pytest.raises(RequestTooLarge, match=r"more than \d{3} for one as intricate as this"):
        TileCover.of(comb, 0, 22, max_tiles=10**15, max_runs=20_000)


def test_a_cover_needs_an_area_and_zooms_in_order():
    for area, zooms in ((shapely.Polygon(), (0, 1)), (shapely.Point(0, 0), (3, 2))):
        with pytest.raises(ValueError, match="no cover of"):
            cover(area, *zooms)
    with pytest.raises(ValueError, match="no area and no box"):
        cover(shapely.LineString([(0, 0), (1, 1)]), 0, 1)
    with pytest.raises(KeyError):
        cover(GOLDEN, 3, 4).runs(2)


# Ranges


def all_tiles(tile_cover):
    return [
        tile
        for zoom, _ in tile_cover.tiles_by_zoom
        for run in tile_cover.runs(zoom)
        for tile in run.tiles()
    ]


@pytest.mark.parametrize("tiles_per_range", [1, 2, 3, 7, 16, 100, 1_000, 10**9])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_ranges_divide_the_cover_in_export_order(shape, tiles_per_range):
    whole = cover(shape, 1, 4)
    ranges = [
        whole.range_at(number, tiles_per_range)
        for number in range(whole.range_count(tiles_per_range))
    ]
    tiles = [tile for part in ranges for tile in part.tiles()]
    assert tiles == all_tiles(whole) == sorted(set(tiles))
    assert len(tiles) == whole.tile_count
    assert {part.tile_count for part in ranges[:-1]} <= {tiles_per_range}
    assert [part.number for part in ranges] == list(range(len(ranges)))


@given(st.integers(1, 500), st.data())
def test_the_runs_of_a_range_are_merged_as_far_as_export_order_allows(tiles_per_range, data):
    whole = cover(SHAPES["hole"], 2, 5)
    number = data.draw(st.integers(0, whole.range_count(tiles_per_range) - 1))
    columns = {}
    for zoom, col, row in whole.range_at(number, tiles_per_range).tiles():
        columns.setdefault((zoom, col), []).append(row)
    expected = []
    for (zoom, col), rows in columns.items():
        cuts = [i for i in range(1, len(rows)) if rows[i] != rows[i - 1] + 1]
        pairs = zip([0, *cuts], [*cuts, len(rows)], strict=True)
        stretches = [(rows[i], rows[j - 1]) for i, j in pairs]
        last = expected[-1] if expected else None
        if (
            last
            and last[:1] == (zoom,)
            and last[2] == col - 1
            and last[3:] == (stretches,)
            and (len(stretches) == 1)
        ):
            expected[-1] = (zoom, last[1], col, stretches)
        else:
            expected.append((zoom, col, col, stretches))
    assert whole.range_at(number, tiles_per_range).runs == tuple(
        TileRun(zoom, first, last, *rows)
        for zoom, first, last, stretches in expected
        for rows in stretches
    )


def test_there_is_no_range_beyond_the_last():
    golden = cover(GOLDEN, 0, 14)
    assert golden.range_count(5) == 4
    assert golden.range_at(3, 5).tile_count == 3
    for number in (-1, 4):
        with pytest.raises(IndexError, match=f"no range {number} of 4"):
            golden.range_at(number, 5)


# Speed and memory


def test_ten_million_tiles_take_neither_time_nor_memory():
    tracemalloc.start()
    try:
        world = cover(WORLD, 0, 11)
        numbers = range(0, world.range_count(1_280), 43)
        started = time.process_time()
        counts = [world.range_at(number, 1_280).tile_count for number in numbers]
        per_range_s = (time.process_time() - started) / len(numbers)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert world.tile_count == 11_184_810
    assert set(counts) == {1_280}
    assert per_range_s < 0.001
    assert peak_bytes < 1_000_000


def test_a_large_polygon_costs_as_much_as_its_boundary():
    country = shapely.Point(35, 32).buffer(1.5, quad_segs=200)
    started = time.process_time()
    assert 4_500_000 < cover(country, 0, 17).tile_count < 5_500_000
    assert time.process_time() - started < 3
