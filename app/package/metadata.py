"""The metadata file that stands beside a package: same name, suffix `.json`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from app.domain.iso_time import iso_time, ms_of
from app.domain.package_facts import PackageFacts, PackagePlan, ZoomCounts
from app.domain.world_crs84_quad import resolution_deg, resolution_m
from app.package.table_plan import TablePlan
from app.package.totals import TableTotals, TileList, Totals

_OPTIONS: Final = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS


@dataclass(frozen=True, slots=True)
class Published:
    """What is known of a package when its metadata is written.

    Attributes:
        export_id: Of the export.
        attempt: Of the export.
        sha256: Of the package file, 64 hexadecimal digits.
        file_bytes: Size of the package file.
        finished_at_ms: When its last row was written, ms since 1970 UTC.
        totals: What became of its tiles.
    """

    export_id: str
    attempt: str
    sha256: str
    file_bytes: int
    finished_at_ms: int
    totals: Totals


def metadata_name(package_name: str) -> str:
    """The name of a package's metadata file.

    >>> metadata_name("BlueMarble_1.0_z4_0123456789ab_7.gpkg")
    'BlueMarble_1.0_z4_0123456789ab_7.json'
    """
    return package_name.removesuffix(".gpkg") + ".json"


def metadata_bytes(
    plan: PackagePlan,
    tables: Sequence[TablePlan],
    footprint: Mapping[str, Any],
    published: Published,
) -> bytes:
    """The layer's record as it was when the export started, and what is true of the package.

    Fields of the record that we do not know pass through; ours replace fields of the same name.

    Args:
        plan: Of the export.
        tables: Of the export.
        footprint: GeoJSON, the bounds of the finest tiles within the layer's footprint.
        published: The finished package.

    Returns:
        JSON, the same bytes for the same arguments, so two assemblers write the same file.
    """
    record: dict[str, Any] = orjson.loads(plan.layer_json)
    record.pop("source", None)
    totals = published.totals
    record |= {
        "footprint": footprint,
        "productBoundingBox": _bounding_box(footprint),
        "maxResolutionDeg": resolution_deg(plan.max_zoom),
        "maxResolutionMeter": resolution_m(plan.max_zoom),
        "exportId": published.export_id,
        "attempt": published.attempt,
        "packageName": plan.package_name,
        "fileSize": published.file_bytes,
        "sha256": published.sha256,
        "finishedAt": iso_time(published.finished_at_ms),
        "tiles": [_counts(counts) for counts in totals.zooms],
        "tileTables": [
            _table(table, found) for table, found in zip(tables, totals.tables, strict=True)
        ],
        "missingTiles": _tile_list(totals.missing),
        "skippedTiles": _tile_list(totals.skipped),
    }
    return orjson.dumps(record, option=_OPTIONS)


def facts_of(metadata: Mapping[str, Any]) -> PackageFacts:
    """Read a package's facts back from its metadata.

    Raises:
        KeyError, TypeError, ValueError: The metadata is not of our making.
    """
    package_name = metadata["packageName"]
    return PackageFacts(
        package_name=package_name,
        metadata_name=metadata_name(package_name),
        file_bytes=metadata["fileSize"],
        sha256=metadata["sha256"],
        finished_at_ms=ms_of(metadata["finishedAt"]),
        zooms=tuple(
            ZoomCounts(
                zoom=counts["zoom"],
                expected=counts["expected"],
                written=counts["written"],
                missing=counts["missing"],
                skipped=counts["skipped"],
                tile_bytes=counts["tileBytes"],
            )
            for counts in metadata["tiles"]
        ),
    )


def _table(table: TablePlan, found: TableTotals) -> dict[str, Any]:
    return {
        "table": table.name,
        "identifier": table.identifier,
        "minZoom": table.min_zoom,
        "maxZoom": table.max_zoom,
        "maxResolutionDeg": resolution_deg(table.max_zoom),
        "bounds": table.finest_bounds.as_list(),
        "tiles": [_counts(counts) for counts in found.zooms],
    }


def _counts(counts: ZoomCounts) -> dict[str, int]:
    return {
        "zoom": counts.zoom,
        "expected": counts.expected,
        "written": counts.written,
        "missing": counts.missing,
        "skipped": counts.skipped,
        "tileBytes": counts.tile_bytes,
    }


def _tile_list(tiles: TileList) -> dict[str, Any]:
    by_zoom: dict[int, list[dict[str, int]]] = {}
    for run in tiles.runs:
        by_zoom.setdefault(run.zoom, []).append(
            {"column": run.column, "minRow": run.min_row, "maxRow": run.max_row}
        )
    zooms = [{"zoom": zoom, "runs": runs} for zoom, runs in sorted(by_zoom.items())]
    return {"zooms": zooms, "more": tiles.more}


def _bounding_box(footprint: Mapping[str, Any]) -> str:
    lons, lats = zip(*_positions(footprint["coordinates"]), strict=True)
    return f"{min(lons)},{min(lats)},{max(lons)},{max(lats)}"


def _positions(coordinates: Sequence[Any]) -> Iterator[tuple[float, float]]:
    if isinstance(coordinates[0], (int, float)):
        yield coordinates[0], coordinates[1]
        return
    for part in coordinates:
        yield from _positions(part)
