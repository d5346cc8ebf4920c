"""A small export over zooms 0 to 14 (the golden box of contract.md), its tiles in a folder tree."""

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from PIL import Image, ImageDraw
from shapely.geometry import box, mapping

from app.assembly.make_package import delivered_footprint, table_plans
from app.domain.area import area_to_wkb
from app.domain.export_cover import ExportCover
from app.domain.package_facts import PackageFacts, PackagePlan, ZoomArea
from app.domain.tile_cover import TileCover
from app.domain.tile_range import TileRange
from app.package.assemble import AssemblyTask, MissingRanges, assemble
from app.package.shard import Shard
from app.package.table_plan import TablePlan
from app.sources.folder import FolderTileSource
from app.writing.write_range import write_range

GOLDEN_BOX = (34.811938017107494, 31.95475033759175, 34.82237261707599, 31.96426962177354)
COUNTRY_BOX = (34.2, 31.2, 35.6, 33.4)
TILES_PER_RANGE = 4
NOW_MS = 1_800_000_000_123


def tile_image(tile: tuple[int, int, int], image_format: str = "PNG") -> bytes:
    """An image that no other tile has, with a corner pixel that tells its place."""
    zoom, col, row = tile
    image = Image.new("RGB", (256, 256), (zoom * 8, col % 256, row % 256))
    ImageDraw.Draw(image).text((60, 120), f"{zoom}/{col}/{row}", fill="white")
    buffer = io.BytesIO()
    image.save(buffer, image_format)
    return buffer.getvalue()


@dataclass
class Export:
    """One attempt of an export, and the steps that services take with it."""

    folder: Path
    tree: Path
    task: AssemblyTask
    ranges: Sequence[TileRange]
    owners: Any

    @property
    def package(self) -> Path:
        return self.folder / self.task.plan.package_name

    @property
    def files(self) -> list[str]:
        return [path.name for path in self.folder.iterdir()]

    @property
    def metadata(self) -> dict[str, Any]:
        return orjson.loads(self.package.with_suffix(".json").read_bytes())

    @property
    def tiles(self) -> list[tuple[int, int, int]]:
        return [tile for tile_range in self.ranges for tile in tile_range.tiles()]

    @property
    def source(self) -> FolderTileSource:
        return FolderTileSource(self.tree, extension="png")

    def source_path(self, tile: tuple[int, int, int]) -> Path:
        zoom, col, row = tile
        return self.tree / str(zoom) / str(col) / f"{row}.png"

    def new_shard(self, owner: str | None = None) -> Shard:
        tables = self.task.tile_tables
        return Shard.create(self.folder, owner=owner or next(self.owners), tables=tables)

    def write(self, *numbers: int, on_error: str = "fail") -> None:
        """Write these ranges into a new shard."""
        shard = self.new_shard()
        for number in numbers:
            write_range(shard, self.ranges[number], self.source, on_error=on_error)
        shard.close()

    def write_all(self, on_error: str = "fail") -> None:
        self.write(*range(len(self.ranges)), on_error=on_error)

    def assemble(self) -> PackageFacts | MissingRanges:
        return assemble(
            self.folder,
            self.task,
            owner=next(self.owners),
            now_ms=lambda: NOW_MS,
            beat=lambda: None,
        )


@pytest.fixture
def export(tmp_path: Path) -> Export:
    area = box(*GOLDEN_BOX)
    cover = TileCover.of(area, 0, 14, max_tiles=1_000)
    count = cover.range_count(TILES_PER_RANGE)
    plan = PackagePlan(
        package_name="BlueMarble_1.0_z14_0123456789ab_1-0.gpkg",
        table="BlueMarble",
        identifier="Blue Marble 1.0",
        layer_json=orjson.dumps(
            {
                "id": "5b1c0e0e-8a9b-4c57-9b3c-2f1d3a4b5c6d",
                "productId": "BlueMarble",
                "maxResolutionDeg": 1.0,
                "unheardOf": {"kept": True},
                "source": {"type": "folder", "path": "/secret"},
                "attribution": "NASA",
            }
        ).decode(),
        area_wkb=area_to_wkb(area),
        min_zoom=0,
        max_zoom=14,
        tiles_per_range=TILES_PER_RANGE,
        algorithm=1,
        on_error="fail",
    )
    bounds = cover.finest_bounds
    task = AssemblyTask(
        plan=plan,
        export_id="0123456789ab",
        attempt="1-0",
        range_count=count,
        tables=(TablePlan("BlueMarble", "Blue Marble 1.0", 0, cover.tiles_by_zoom, bounds),),
        footprint=mapping(box(bounds.west, bounds.south, bounds.east, bounds.north)),
    )
    made = Export(
        folder=tmp_path / "exports" / "0123456789ab" / "1-0",
        tree=tmp_path / "tree",
        task=task,
        ranges=[cover.range_at(number, TILES_PER_RANGE) for number in range(count)],
        owners=(f"owner{number}" for number in itertools.count()),
    )
    for tile in made.tiles:
        path = made.source_path(tile)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tile_image(tile))
    return made


@pytest.fixture
def skipping(export: Export) -> Export:
    """The same export with onError: skip."""
    export.task = replace(export.task, plan=replace(export.task.plan, on_error="skip"))
    return export


@pytest.fixture
def several(export: Export) -> Export:
    """The country down to zoom 9, and the harbour from zoom 3 down to zoom 14."""
    areas = (
        ZoomArea(area_to_wkb(box(*COUNTRY_BOX)), 0, 9),
        ZoomArea(area_to_wkb(box(*GOLDEN_BOX)), 3, 14),
    )
    plan = replace(export.task.plan, area_wkb=b"", areas=areas)
    cover = ExportCover.of_plan(plan, max_tiles=1000)
    per_range = plan.tiles_per_range
    layer = '{"id": "x", "productId": "BlueMarble", "footprint": %s}'
    world = '{"type":"Polygon","coordinates":[[[0,0],[90,0],[90,90],[0,90],[0,0]]]}'
    plan = replace(plan, layer_json=layer % world)
    export.task = replace(
        export.task,
        plan=plan,
        range_count=cover.range_count(per_range),
        tables=table_plans(plan, cover),
        footprint=delivered_footprint(plan, cover),
    )
    export.ranges = [cover.range_at(n, per_range) for n in range(export.task.range_count)]
    for tile in set(export.tiles):
        path = export.source_path(tile)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            zoom, col, row = tile
            Image.new("RGB", (256, 256), (zoom * 8, col % 256, row % 256)).save(path, "PNG")
    return export
