"""From an order to a published package: what the plan says, worked out for app.package."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import shapely

from app.domain.area import delivered_area, parse_footprint
from app.domain.export_cover import ExportCover
from app.domain.package_facts import PackageFacts, PackagePlan
from app.domain.records import AssemblePackage, RangeSpan
from app.package.assemble import AssemblyTask, MissingRanges, assemble
from app.package.table_plan import TablePlan


def make_package(
    folder: Path,
    order: AssemblePackage,
    owner: str,
    now_ms: Callable[[], int],
    beat: Callable[[], None],
) -> PackageFacts | Sequence[RangeSpan]:
    """Assemble the shards of a folder; runs in a thread, CPU and disk and all.

    `beat` is called often; what it raises ends the work where it is.

    Returns:
        The facts of the published package, or the ranges that the ledgers lack.

    Raises:
        ExportServiceError: The package cannot be made; see `app.package.assemble`.
    """
    plan = order.package
    # Admission has judged the size; it is not judged again.
    cover = ExportCover.of_plan(plan, max_tiles=order.range_count * plan.tiles_per_range)
    task = AssemblyTask(
        plan=plan,
        export_id=order.export_id,
        attempt=order.attempt,
        range_count=order.range_count,
        tables=table_plans(plan, cover),
        footprint=delivered_footprint(plan, cover),
    )
    outcome = assemble(folder, task, owner=owner, now_ms=now_ms, beat=beat)
    if isinstance(outcome, MissingRanges):
        return [RangeSpan(first, last) for first, last in outcome.spans]
    return outcome


def table_plans(plan: PackagePlan, cover: ExportCover) -> tuple[TablePlan, ...]:
    """What each tile table is to hold, by ascending first range."""
    tables = cover.tile_tables(plan.table, plan.tiles_per_range).tables
    several = len(tables) > 1
    return tuple(
        TablePlan(
            name=table.name,
            identifier=f"{plan.identifier} zoom {tiles.max_zoom}" if several else plan.identifier,
            first_range=table.first_range,
            tiles_by_zoom=tiles.tiles_by_zoom,
            finest_bounds=tiles.finest_bounds,
        )
        for table, tiles in zip(tables, cover.tables, strict=True)
    )


def delivered_footprint(plan: PackagePlan, cover: ExportCover) -> dict[str, Any]:
    """The bounds of the tables' finest tiles within the layer's footprint.

    It follows from the tile set alone, so it is the same for every caller of the export.
    """
    layer = orjson.loads(plan.layer_json)
    footprint = parse_footprint(layer.get("footprint"), layer_id=str(layer.get("id")))
    shared = delivered_area([tiles.finest_bounds for tiles in cover.tables], footprint)
    geojson: dict[str, Any] = orjson.loads(shapely.to_geojson(shared))
    return geojson
