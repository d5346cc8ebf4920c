"""What the callers of the simulation ask for: a few small exports, judged once by the real code."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from app.admission.admit import _admitted
from app.domain.area import area_from_wkb
from app.domain.errors import InvalidRequest
from app.domain.export_cover import ExportCover
from app.domain.judgement import Judgement, RequestLimits, caller_digest, judge
from app.domain.layer_record import LayerRecord
from app.domain.package_facts import ZoomArea, ZoomCounts
from app.domain.records import ExportRequested, ExportStarted, RequestAdmitted, TileRunOrdered
from app.domain.tile_range import TileRange
from app.domain.tile_tables import TileTables
from app.planning.owner import Covers

LAYER_ID = "11111111-1111-4111-8111-111111111111"
LAYER = LayerRecord(
    {
        "id": LAYER_ID,
        "productId": "relief",
        "productName": "Relief",
        "productVersion": "2.0",
        "maxResolutionDeg": 0.703125 / 2**8,
        "source": {"type": "folder", "path": "relief"},
        "footprint": {
            "type": "Polygon",
            "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]],
        },
    }
)

ONE_RANGE, TWO_RANGES, SEVEN_RANGES, ALL_MISSING, REFUSED = range(5)
"""Areas by name; the third has two tile tables, the last is no area: its request is refused."""

_RING = [[-60, -60], [-30, -60], [-30, -30], [-60, -30], [-60, -60]]
_TWO_TABLES = json.dumps(
    {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [_RING]},
                "properties": {
                    "maxResolutionDeg": 0.703125 / 2**finest,
                    "minResolutionDeg": 0.703125 / 2**coarsest,
                },
            }
            for coarsest, finest in ((0, 3), (4, 4))
        ],
    }
)

BOXES = (
    ("[1,1,2,2]", 3),
    ("[10,10,20,20]", 4),
    (_TWO_TABLES, None),
    ("[100,40,101,41]", 3),
    ("[50,50,40,200]", 3),
)

RANGE_BYTES = 50_000
"""Four tiles of unknown size, five of those that the source really has."""

TILE_BYTES = 9_000


def requested(request_id: str, area: int, **changes: Any) -> ExportRequested:
    """A caller's request for one of the areas."""
    bbox_json, zoom = BOXES[area]
    record = ExportRequested(
        request_id, LAYER_ID, bbox_json=bbox_json, target_resolution_deg=_deg(zoom)
    )
    return replace(record, **changes)


def _deg(zoom: int | None) -> float | None:
    """The resolution of a zoom; features say their own."""
    return None if zoom is None else 0.703125 / 2**zoom


def admitted(record: ExportRequested) -> RequestAdmitted:
    """What admission makes of a request, without time and disk; raises InvalidRequest."""
    judgement = replace(_judged(record.bbox_json, record.target_resolution_deg), request_digest="")
    return replace(_admitted(record, LAYER, judgement), request_digest=digest(record))


def digest(record: ExportRequested) -> str:
    """The digest of the caller's fields."""
    return _digest(
        replace(record, request_id="", at_ms=0, via_http=False, tries=0, first_tried_at_ms=0)
    )


@cache
def _digest(record: ExportRequested) -> str:
    return caller_digest(record)


@cache
def _judged(bbox_json: str | None, target_deg: float | None) -> Judgement:
    record = ExportRequested("", LAYER_ID, bbox_json=bbox_json, target_resolution_deg=target_deg)
    return judge(record, LAYER.fields, RequestLimits())


@cache
def refusal(area: int) -> InvalidRequest | None:
    """Why an area is refused; None: it is not."""
    try:
        _judged(BOXES[area][0], _deg(BOXES[area][1]))
    except InvalidRequest as error:
        return error
    return None


@dataclass(slots=True, eq=False)
class CutCover:
    """The tile cover of an export, its ranges computed once for all seeds."""

    cover: ExportCover
    all_missing: bool
    cut: dict[tuple[int, int], TileRange] = field(default_factory=dict)
    ordered: dict[int, tuple[tuple[TileRunOrdered, ...], ...]] = field(default_factory=dict)
    counted: dict[tuple[TileRunOrdered, ...], tuple[ZoomCounts, ...]] = field(default_factory=dict)

    def range_count(self, tiles_per_range: int) -> int:
        """As ExportCover has it."""
        return self.cover.range_count(tiles_per_range)

    def range_at(self, number: int, tiles_per_range: int) -> TileRange:
        """As ExportCover has it."""
        found = self.cut.get((number, tiles_per_range))
        if found is None:
            found = self.cut[number, tiles_per_range] = self.cover.range_at(number, tiles_per_range)
        return found

    def tile_tables(self, name: str, tiles_per_range: int) -> TileTables:
        """As ExportCover has it."""
        return self.cover.tile_tables(name, tiles_per_range)

    def runs(self, tiles_per_range: int) -> tuple[tuple[TileRunOrdered, ...], ...]:
        """The runs that each range must hold; checked once to hold every tile once."""
        found = self.ordered.get(tiles_per_range)
        if found is None:
            ranges = [
                self.range_at(number, tiles_per_range)
                for number in range(self.range_count(tiles_per_range))
            ]
            tables = self.tile_tables("t", tiles_per_range)
            tiles = [
                (tables.index_of_range(tile_range.number), *tile)
                for tile_range in ranges
                for tile in tile_range.tiles()
            ]
            assert tiles == sorted(set(tiles))
            assert len(tiles) == self.cover.tile_count
            found = self.ordered[tiles_per_range] = tuple(map(_ordered, ranges))
        return found

    def counts_of(self, runs: tuple[TileRunOrdered, ...]) -> tuple[ZoomCounts, ...]:
        """What the source has of some tiles, found by the runs that a worker was given."""
        found = self.counted.get(runs)
        if found is None:
            by_zoom: dict[int, list[bool]] = {}
            finest = self.cover.tables[-1].max_zoom
            for run in runs:
                for col in range(run.min_col, run.max_col + 1):
                    for row in range(run.min_row, run.max_row + 1):
                        lacks = run.zoom == finest and (col + row) % 5 == 0
                        by_zoom.setdefault(run.zoom, []).append(lacks or self.all_missing)
            found = self.counted[runs] = tuple(
                _counts(zoom, lacks) for zoom, lacks in sorted(by_zoom.items())
            )
        return found


def _counts(zoom: int, lacks: list[bool]) -> ZoomCounts:
    written = len(lacks) - sum(lacks)
    return ZoomCounts(zoom, len(lacks), written, sum(lacks), 0, written * TILE_BYTES)


def _ordered(tile_range: TileRange) -> tuple[TileRunOrdered, ...]:
    return tuple(
        TileRunOrdered(run.zoom, run.min_col, run.max_col, run.min_row, run.max_row)
        for run in tile_range.runs
    )


def total(counts: Iterator[tuple[ZoomCounts, ...]]) -> tuple[ZoomCounts, ...]:
    """Counts of several ranges, added up by zoom."""
    by_zoom: dict[int, ZoomCounts] = {}
    for zooms in counts:
        for one in zooms:
            had = by_zoom.get(one.zoom, ZoomCounts(one.zoom, 0, 0, 0, 0, 0))
            by_zoom[one.zoom] = ZoomCounts(
                one.zoom,
                had.expected + one.expected,
                had.written + one.written,
                had.missing + one.missing,
                had.skipped + one.skipped,
                had.tile_bytes + one.tile_bytes,
            )
    return tuple(by_zoom[zoom] for zoom in sorted(by_zoom))


@cache
def cut_covers() -> dict[str, CutCover]:
    """The covers of all areas, by export id."""
    covers = {}
    for area in range(len(BOXES)):
        if refusal(area) is not None:
            continue
        judgement = _judged(BOXES[area][0], _deg(BOXES[area][1]))
        areas = judgement.areas or (ZoomArea(judgement.area_wkb, 0, judgement.max_zoom),)
        cover = ExportCover.of(
            [(area_from_wkb(one.area_wkb), one.min_zoom, one.max_zoom) for one in areas],
            max_tiles=judgement.tile_count,
        )
        covers[judgement.export_id] = CutCover(cover, area == ALL_MISSING)
    return covers


class ReadyCovers(Covers):
    """The planner's covers, computed before the first seed."""

    def has(self, started: ExportStarted) -> bool:
        return started.export_id in cut_covers()

    def of(self, started: ExportStarted) -> Any:
        return cut_covers()[started.export_id]
