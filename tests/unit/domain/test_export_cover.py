"""The tiles of areas with zooms of their own: one table for each finest zoom, ranges across all."""

import itertools
import tracemalloc
from hashlib import sha256

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.area import BoundingBox, area_to_wkb
from app.domain.errors import RequestTooLarge
from app.domain.export_cover import ExportCover
from app.domain.package_facts import PackagePlan, ZoomArea
from app.domain.tile_cover import TileCover

GOLDEN = BoundingBox(34.811938017107494, 31.95475033759175, 34.82237261707599, 31.96426962177354)
COUNTRY = BoundingBox(34, 29, 36, 34)
HARBOUR = shapely.Point(34.9, 32.8).buffer(0.05)


def cover_of(*areas, **limits):
    return ExportCover.of(areas, **{"max_tiles": 10**6} | limits)


def tiles_of(tables):
    return [
        {(run.zoom, col, row) for z, _ in table.tiles_by_zoom for run in table.runs(z)
         for _, col, row in run.tiles()}
        for table in tables
    ]  # fmt: skip


def digest_of(cover):
    digest = sha256()
    cover.digest_into(digest)
    return digest.hexdigest()


def test_one_area_is_cut_and_counted_as_it_always_was():
    alone = TileCover.of(GOLDEN.as_area(), 0, 14, max_tiles=99)
    cover = cover_of((GOLDEN.as_area(), 0, 14))
    assert (cover.tile_count, cover.tiles_by_zoom) == (18, alone.tiles_by_zoom)
    assert [cover.range_at(n, 4) for n in range(cover.range_count(4))] == [
        alone.range_at(n, 4) for n in range(alone.range_count(4))
    ]
    assert digest_of(cover) == alone.digest
    assert cover.tile_tables("ORTHO", 4).names == ("ORTHO",)


def test_each_finest_zoom_has_a_table_with_the_whole_pyramid_above_it():
    cover = cover_of((HARBOUR, 0, 15), (COUNTRY.as_area(), 0, 9), (GOLDEN.as_area(), 0, 15))
    country, finest = cover.tables
    assert [zoom for zoom, _ in country.tiles_by_zoom] == list(range(10))
    assert [zoom for zoom, _ in finest.tiles_by_zoom] == list(range(16))
    assert cover.tile_tables("ORTHO", 100).names == ("ORTHO_z9", "ORTHO_z15")
    assert dict(cover.tiles_by_zoom)[0] == 2  # one for each table


def test_areas_that_share_a_table_share_its_tiles():
    west, east = BoundingBox(34, 31, 35.5, 32), BoundingBox(34.5, 31, 36, 32)
    both = cover_of((west.as_area(), 4, 12), (east.as_area(), 0, 12))
    (table,) = both.tables
    for zoom in range(13):
        area = [east, BoundingBox(34, 31, 36, 32)][zoom >= 4].as_area()
        assert table.runs(zoom) == TileCover.of(area, zoom, zoom, max_tiles=10**6).runs(zoom)


def test_a_range_holds_tiles_of_one_table_and_every_tile_is_in_one_range():
    cover = cover_of((COUNTRY.as_area(), 3, 8), (HARBOUR, 0, 13), (GOLDEN.as_area(), 0, 14))
    for size in (1, 3, 7, 1000):
        tables = cover.tile_tables("t", size)
        found = [[] for _ in cover.tables]
        for number in range(cover.range_count(size)):
            tile_range = cover.range_at(number, size)
            assert tile_range.number == number
            assert 0 < tile_range.tile_count <= size
            found[tables.index_of_range(number)] += tile_range.tiles()
        assert [sorted(tiles) for tiles in found] == found
        assert [set(tiles) for tiles in found] == tiles_of(cover.tables)
        assert sum(map(len, found)) == cover.tile_count
        with pytest.raises(IndexError):
            cover.range_at(cover.range_count(size), size)


AREAS = st.tuples(
    st.integers(-170, 160), st.integers(-80, 70), st.integers(1, 9), st.integers(0, 5),
    st.integers(0, 2),
)  # fmt: skip


@given(areas=st.lists(AREAS, min_size=1, max_size=6), size=st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_every_tile_that_is_asked_for_is_in_exactly_one_range_of_its_table(areas, size):
    asked, wanted = [], {}
    for west, south, width, max_zoom, less in areas:
        area = BoundingBox(west, south, west + width, south + width).as_area()
        min_zoom = max(0, max_zoom - less)
        asked.append((area, min_zoom, max_zoom))
        for zoom in range(min_zoom, max_zoom + 1):
            runs = TileCover.of(area, zoom, zoom, max_tiles=10**6).runs(zoom)
            wanted.setdefault(max_zoom, set()).update(t for run in runs for t in run.tiles())
    cover = cover_of(*asked)
    assert tiles_of(cover.tables) == [wanted[zoom] for zoom in sorted(wanted)]
    tables = cover.tile_tables("t", size)
    cut = [cover.range_at(number, size) for number in range(cover.range_count(size))]
    keys = [(tables.of_range(r.number), tile) for r in cut for tile in r.tiles()]
    assert len(keys) == len(set(keys)) == cover.tile_count


def test_the_order_of_the_areas_does_not_matter():
    areas = [(COUNTRY.as_area(), 3, 8), (HARBOUR, 0, 13), (GOLDEN.as_area(), 0, 13)]
    digests = {digest_of(cover_of(*order)) for order in itertools.permutations(areas)}
    assert len(digests) == 1


def test_the_same_tiles_in_other_tables_are_another_export():
    box = GOLDEN.as_area()
    digests = {
        digest_of(cover_of((box, 0, 14))),
        digest_of(cover_of((box, 0, 5), (box, 6, 14))),
        digest_of(cover_of((box, 0, 6), (box, 7, 14))),
        digest_of(cover_of((box, 0, 5), (box, 6, 10), (box, 11, 14))),
    }
    assert len(digests) == 4


def test_the_tiles_of_all_tables_together_are_limited():
    box = GOLDEN.as_area()
    assert cover_of((box, 0, 13), (box, 0, 14), max_tiles=32).tile_count == 32
    with pytest.raises(RequestTooLarge, match="makes 32 tiles, more than 31"):
        cover_of((box, 0, 13), (box, 0, 14), max_tiles=31)


def test_many_areas_may_cost_no_more_than_one():
    """The limit on work is divided: a hundred intricate areas are refused before they are cut."""
    star = shapely.Point(0, 0).buffer(60, quad_segs=2000)
    pairs = [(star, low, high) for high in range(12, 22) for low in range(10)]
    with pytest.raises(RequestTooLarge):
        cover_of(*pairs, max_tiles=10**12)


def test_ten_million_tiles_take_as_much_memory_as_ten():
    tracemalloc.start()
    try:
        cover = cover_of(
            (BoundingBox(-179, -89, 179, 89).as_area(), 0, 11),
            (BoundingBox(0, 0, 90, 45).as_area(), 0, 13),
            max_tiles=10**9,
        )
        assert cover.tile_count > 10**7
        last = cover.range_count(5_000) - 1
        assert cover.range_at(last, 5_000).tile_count <= 5_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


def test_a_plan_means_the_same_tiles_as_what_was_judged():
    areas = [(COUNTRY.as_area(), 3, 8), (HARBOUR, 0, 13)]
    wkb = tuple(ZoomArea(area_to_wkb(area), low, high) for area, low, high in areas)
    plan = PackagePlan("p", "t", "i", "{}", b"", 0, 13, 9, 1, "fail", wkb)
    assert digest_of(ExportCover.of_plan(plan, max_tiles=10**6)) == digest_of(cover_of(*areas))
