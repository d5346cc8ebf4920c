import orjson
import pytest

from app.domain.area import BoundingBox
from app.domain.package_facts import PackagePlan, TileColumnRun, ZoomCounts
from app.domain.tile_tables import TileTables
from app.package import totals as totals_module
from app.package.checksum import RangeChecksum
from app.package.ledger import LedgerRow, column_runs
from app.package.metadata import Published, facts_of, metadata_bytes
from app.package.table_plan import TablePlan
from app.package.totals import SealedFacts, TableTotals, TileList, Totals, add_up

PLAN = PackagePlan(
    package_name="a_1_z5_0_0.gpkg",
    table="a",
    identifier="a 1",
    layer_json='{"id": "x", "source": {"path": "/secret"}, "tiles": "replaced", "new": [1]}',
    area_wkb=b"",
    min_zoom=0,
    max_zoom=5,
    tiles_per_range=9,
    algorithm=1,
    on_error="fail",
)
SINGLE = TileTables.single("a")
TABLE = TablePlan("a", "a 1", 0, ((5, 9),), BoundingBox(10, 1, 12, 3.5))
FOOTPRINT = {
    "type": "MultiPolygon",
    "coordinates": [
        [[[10, 1], [12, 1], [12, 3.5], [10, 1]]],
        [[[-170.25, -4], [-169, -4], [-169, 0], [-170.25, -4]]],
    ],
}


def row(number: int, *zooms: ZoomCounts, missing=(), webp: bool = False) -> LedgerRow:
    return LedgerRow(number, 1, 0, webp, zooms, tuple(missing), (), number + 1)


def test_counts_of_a_zoom_that_several_ranges_share_add_up():
    total = add_up(
        [
            row(0, ZoomCounts(4, 3, 3, 0, 0, 30), ZoomCounts(5, 2, 1, 1, 0, 10)),
            row(1, ZoomCounts(5, 7, 4, 2, 1, 50), webp=True),
        ],
        SINGLE,
    )
    assert total.zooms == (ZoomCounts(4, 3, 3, 0, 0, 30), ZoomCounts(5, 9, 5, 3, 1, 60))
    assert total.written == 8
    assert total.tables[0].has_webp


def test_runs_of_missing_tiles_are_joined_across_ranges():
    total = add_up(
        [
            row(0, missing=[TileColumnRun(5, 8, 1, 3)]),
            row(1, missing=[TileColumnRun(5, 8, 4, 9), TileColumnRun(5, 9, 0, 0)]),
        ],
        SINGLE,
    )
    assert total.missing == TileList((TileColumnRun(5, 8, 1, 9), TileColumnRun(5, 9, 0, 0)), 0)


def test_beyond_the_limit_tiles_are_counted_but_not_listed(monkeypatch):
    monkeypatch.setattr(totals_module, "MAX_LISTED_RUNS", 1)
    total = add_up([row(0, missing=[TileColumnRun(5, col, 1, 3) for col in range(4)])], SINGLE)
    assert total.missing == TileList((TileColumnRun(5, 0, 1, 3),), 9)


@pytest.mark.parametrize(
    ("tiles", "runs"),
    [
        ([], ()),
        ([(1, 0, 0), (1, 0, 2)], (TileColumnRun(1, 0, 0, 0), TileColumnRun(1, 0, 2, 2))),
        ([(1, 0, 0), (2, 0, 1)], (TileColumnRun(1, 0, 0, 0), TileColumnRun(2, 0, 1, 1))),
    ],
)
def test_only_neighbours_in_one_column_form_a_run(tiles, runs):
    assert column_runs(tiles) == runs


def test_sealed_facts_survive_their_file(tmp_path):
    totals = Totals(
        tables=(
            TableTotals((ZoomCounts(5, 9, 5, 3, 1, 60),), has_webp=True),
            TableTotals((), has_webp=False),
        ),
        missing=TileList((TileColumnRun(5, 8, 1, 3),), 0),
        skipped=TileList((TileColumnRun(5, 9, 1, 1),), 4),
    )
    facts = SealedFacts.now(totals, 77, [row(0, ZoomCounts(5, 9, 9, 0, 0, 60)), row(1)])
    facts.write(tmp_path / "facts", owner="w1")
    assert SealedFacts.read(tmp_path / "facts") == facts
    assert [path.name for path in tmp_path.iterdir()] == ["facts"]


def test_facts_that_are_not_there_are_none(tmp_path):
    assert SealedFacts.read(tmp_path / "facts") is None


def test_metadata_keeps_what_it_does_not_know_and_gives_the_facts_back():
    totals = add_up([row(0, ZoomCounts(5, 9, 9, 0, 0, 60))], SINGLE)
    published = Published("e", "1-0", "ab" * 32, 4096, 1_700_000_000_999, totals)
    metadata = orjson.loads(metadata_bytes(PLAN, [TABLE], FOOTPRINT, published))
    assert "source" not in metadata
    assert metadata["new"] == [1]
    assert metadata["productBoundingBox"] == "-170.25,-4,12,3.5"
    facts = facts_of(metadata)
    assert facts.finished_at_ms == 1_700_000_000_999
    assert (facts.metadata_name, facts.file_bytes) == ("a_1_z5_0_0.json", 4096)
    assert facts.zooms == totals.zooms


def test_a_checksum_does_not_depend_on_how_often_it_was_asked_or_folded():
    tiles = [(7, col, row, b"%d/%d" % (col, row)) for col in range(50) for row in range(100)]
    at_once, in_parts = RangeChecksum(), RangeChecksum()
    for tile in tiles:
        at_once.add(*tile)
    for number, tile in enumerate(tiles):
        in_parts.add(*tile)
        if number % 7 == 0:
            in_parts.value()
    assert at_once.value() == in_parts.value()


@pytest.mark.parametrize(
    "changed",
    [
        [(7, 0, 0, b"ab"), (7, 0, 1, b"c")],
        [(7, 0, 1, b"a"), (7, 0, 0, b"bc")],
        [(7, 0, 0, b"a"), (7, 0, 2, b"bc")],
        [(7, 0, 0, b"bc"), (7, 0, 1, b"a")],
        [(7, 0, 0, b"a")],
        [],
    ],
)
def test_a_checksum_tells_places_lengths_and_order(changed):
    first, second = RangeChecksum(), RangeChecksum()
    for tile in [(7, 0, 0, b"a"), (7, 0, 1, b"bc")]:
        first.add(*tile)
    for tile in changed:
        second.add(*tile)
    assert first.value() != second.value()
