"""From an order to a published package: what the plan says, worked out for app.package."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import shapely

from app.domain.area import area_from_wkb, parse_footprint
from app.domain.package_facts import PackageFacts, PackagePlan
from app.domain.records import AssemblePackage, RangeSpan
from app.domain.tile_cover import TileCover
from app.package.assemble import AssemblyTask, MissingRanges, assemble


def make_package(
    folder: Path, order: AssemblePackage, owner: str, now_ms: Callable[[], int]
) -> PackageFacts | Sequence[RangeSpan]:
    """Assemble the shards of a folder; runs in a thread, CPU and disk and all.

    Returns:
        The facts of the published package, or the ranges that the ledgers lack.

    Raises:
        ExportServiceError: The package cannot be made; see `app.package.assemble`.
    """
    plan = order.package
    cover = TileCover.of(
        area_from_wkb(plan.area_wkb),
        plan.min_zoom,
        plan.max_zoom,
        # Admission has judged the size; it is not judged again.
        max_tiles=order.range_count * plan.tiles_per_range,
    )
    task = AssemblyTask(
        plan=plan,
        export_id=order.export_id,
        attempt=order.attempt,
        range_count=order.range_count,
        tiles_by_zoom=cover.tiles_by_zoom,
        finest_bounds=cover.finest_bounds,
        footprint=delivered_footprint(plan, cover),
    )
    # The beats of an assembly come from the event loop, which is free meanwhile.
    outcome = assemble(folder, task, owner=owner, now_ms=now_ms, beat=lambda: None)
    if isinstance(outcome, MissingRanges):
        return [RangeSpan(first, last) for first, last in outcome.spans]
    return outcome


def delivered_footprint(plan: PackagePlan, cover: TileCover) -> dict[str, Any]:
    """The bounds of the finest tiles within the layer's footprint.

    It follows from the tile set alone, so it is the same for every caller of the export.
    """
    layer = orjson.loads(plan.layer_json)
    bounds = shapely.box(*cover.finest_bounds.as_list())
    footprint = parse_footprint(layer.get("footprint"), layer_id=str(layer.get("id")))
    shared = shapely.to_geojson(shapely.intersection(bounds, footprint))
    geojson: dict[str, Any] = orjson.loads(shared)
    return geojson
