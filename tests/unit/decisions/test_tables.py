"""An export with several tile tables: orders, assembly and adoption name the right ones."""

import pytest

from app.domain.area import BoundingBox, area_to_wkb
from app.domain.export_cover import ExportCover
from app.domain.package_facts import PackagePlan, ZoomArea, ZoomTiles
from app.domain.records import (
    AdoptShards,
    AssemblePackage,
    ExportStarted,
    RangeUnreadable,
    WriteRange,
)
from app.domain.tile_tables import TileTables

AREAS = (
    ZoomArea(area_to_wkb(BoundingBox(0, 0, 80, 40).as_area()), 0, 4),
    ZoomArea(area_to_wkb(BoundingBox(10, 10, 11, 11).as_area()), 2, 7),
)
PLAN = PackagePlan("p", "relief", "i", "{}", b"", 0, 7, 4, 1, "fail", AREAS)


def ask(pipeline, request_id, **changes):
    cover = ExportCover.of_plan(PLAN, max_tiles=1000)
    tiles_by_zoom = tuple(ZoomTiles(*pair) for pair in cover.tiles_by_zoom)
    return pipeline.ask(
        request_id,
        export_id="ab" * 32,
        area_wkb=b"",
        areas=AREAS,
        max_zoom=7,
        tiles_by_zoom=tiles_by_zoom,
        **changes,
    )


@pytest.fixture
def several(pipeline):
    """Four tiles a range."""
    pipeline.range_bytes = 50_000
    pipeline.start()
    return pipeline


def tiles_of(order):
    return [
        (run.zoom, col, row)
        for run in order.runs
        for col in range(run.min_col, run.max_col + 1)
        for row in range(run.min_row, run.max_row + 1)
    ]


def test_every_tile_is_ordered_once_into_its_own_table_and_then_the_package(several):
    ask(several, "r1")
    ordered = {}
    for order in several.orders:
        if isinstance(order, WriteRange):
            assert order.table == TileTables(order.tables).of_range(order.range_number)
            ordered.setdefault(order.table, []).extend(tiles_of(order))
    cover = ExportCover.of_plan(PLAN, max_tiles=1000)
    for table, cut in zip(("relief_z4", "relief_z7"), cover.tables, strict=True):
        assert ordered[table] == sorted(set(ordered[table]))
        assert len(ordered[table]) == cut.tile_count
    (assembly,) = (order for order in several.orders if isinstance(order, AssemblePackage))
    assert assembly.package.areas == AREAS
    assert assembly.range_count == cover.range_count(4)
    assert several.results["r1"].success


def test_the_package_is_named_for_its_finest_zoom_and_all_tables_count_as_one_export(several):
    ask(several, "r1")
    (started,) = several.records(ExportStarted)
    assert "_z7_" in started.package.package_name
    assert started.tile_count == ExportCover.of_plan(PLAN, max_tiles=1000).tile_count


def test_two_tables_of_one_range_each_are_not_assembled_with_the_first(several):
    several.range_bytes = 10**9
    several.start()
    ask(several, "r1")
    writes = [order for order in several.orders if isinstance(order, WriteRange)]
    assert [order.table for order in writes] == ["relief_z4", "relief_z7"]
    assert [order.then_assemble for order in writes] == [None, None]
    assert several.results["r1"].success


def test_a_retry_adopts_the_shards_with_all_their_tables(several):
    several.answers = False
    ask(several, "r1")
    (first, *_) = (order for order in several.orders if isinstance(order, WriteRange))
    for trial in range(6):
        failure = (first.export_id, first.attempt, several.now_ms, 0, trial, False, "timeout")
        several.feed("export-plans", first.export_id, RangeUnreadable(*failure))
    assert not several.results["r1"].success
    ask(several, "r2")
    (adopt,) = (order for order in several.orders if isinstance(order, AdoptShards))
    assert adopt.continues == first.attempt
    assert adopt.tables == first.tables
