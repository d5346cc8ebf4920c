"""Counting tiles of areas, within a limit exactly, beyond it quickly and never too few."""

import math
import time

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from app.domain.area import BoundingBox
from app.domain.export_cover import ExportCover
from app.domain.tile_counting import count_tiles
from app.domain.world_crs84_quad import MAX_ZOOM

WORLD = BoundingBox(-180, -90, 180, 90).as_area()
GOLDEN = BoundingBox(34.8119, 31.9547, 34.8224, 31.9643).as_area()


def counted(*areas, max_tiles: int) -> dict[int, int]:
    return {pair.zoom: pair.tiles for pair in count_tiles(areas, max_tiles=max_tiles)}


def exact(*areas) -> dict[int, int]:
    return dict(ExportCover.of(areas, max_tiles=1 << 60).tiles_by_zoom)


def test_within_the_limit_the_count_is_exact():
    assert counted((GOLDEN, 0, 14), max_tiles=18) == exact((GOLDEN, 0, 14))
    assert sum(counted((GOLDEN, 0, 14), max_tiles=18).values()) == 18


def test_beyond_the_limit_the_coarse_zooms_are_exact_and_the_fine_ones_by_fours():
    told = counted((GOLDEN, 0, 20), max_tiles=100)
    true = exact((GOLDEN, 0, 20))
    finest = max(zoom for zoom in true if sum(true[z] for z in range(zoom + 1)) <= 100)
    assert all(told[zoom] == true[zoom] for zoom in range(finest + 1))
    assert all(told[zoom] == 4 * told[zoom - 1] for zoom in range(finest + 1, 21))


def test_an_area_that_begins_beyond_the_limit_is_counted_from_its_first_zoom_on():
    told = counted((WORLD, 20, 22), max_tiles=10)
    assert told == {20: 2 * 4**20, 21: 2 * 4**21, 22: 2 * 4**22}


def test_a_limit_below_a_single_tile_is_counted_too():
    assert counted((WORLD, 0, 1), max_tiles=1) == {0: 2, 1: 8}


@given(
    st.floats(-179, 179), st.floats(-89, 89), st.floats(0.01, 60), st.floats(0.01, 30),
    st.integers(0, 9), st.integers(1, 500),
)  # fmt: skip
def test_never_too_few_are_counted(lon, lat, width, height, max_zoom, max_tiles):
    corners = [(lon, lat), (min(180, lon + width), lat), (lon, min(90, lat + height))]
    area = shapely.Polygon(corners)
    told, true = counted((area, 0, max_zoom), max_tiles=max_tiles), exact((area, 0, max_zoom))
    assert told.keys() == true.keys()
    assert all(told[zoom] >= true[zoom] for zoom in true)
    if sum(true.values()) <= max_tiles:
        assert told == true


@pytest.mark.parametrize("limit", [1_000, 50_000_000])
def test_a_continent_at_the_finest_zoom_is_counted_quickly(limit):
    area = shapely.Point(10, 10).buffer(40, quad_segs=4_000)
    begun_s = time.process_time()
    told = counted((area, 0, MAX_ZOOM), max_tiles=limit)
    assert sum(told.values()) > 10**12
    assert time.process_time() - begun_s < 5


def test_hundreds_of_areas_are_counted_about_as_quickly_as_one():
    """A FeatureCollection may have 276 pairs of zooms: each alone takes up to a second."""
    circle = shapely.Point(0, 0).buffer(60, quad_segs=20)
    pairs = [(circle, low, high) for high in range(MAX_ZOOM + 1) for low in range(high + 1)]
    started = time.process_time()
    counts = {pair.zoom: pair.tiles for pair in count_tiles(pairs, max_tiles=50_000_000)}
    assert time.process_time() - started < 20
    one = {pair.zoom: pair.tiles for pair in count_tiles(pairs[-1:], max_tiles=50_000_000)}
    assert counts[MAX_ZOOM] >= one[MAX_ZOOM]


def test_the_most_intricate_polygon_that_is_allowed_is_counted_within_seconds():
    count = 19_998
    angles = (2 * math.pi * number / count for number in range(count))
    corners = [
        ((40 - 20 * (number % 2)) * math.cos(angle), (40 - 20 * (number % 2)) * math.sin(angle))
        for number, angle in enumerate(angles)
    ]
    begun_s = time.process_time()
    told = counted((shapely.Polygon(corners), 0, MAX_ZOOM), max_tiles=50_000_000)
    assert sum(told.values()) > 10**12
    assert time.process_time() - begun_s < 15
