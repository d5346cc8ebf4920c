"""Facts about tiles and packages, as ledgers, records and results tell them."""

from dataclasses import dataclass
from typing import Annotated

from app.domain.avro_doc import Doc


@dataclass(frozen=True, slots=True)
class ZoomTiles:
    """How many tiles an export has at one zoom, as planned."""

    zoom: Annotated[int, Doc("Tile matrix identifier of WorldCRS84Quad, 0 to 22.")]
    tiles: Annotated[int, Doc("Tiles of the export at this zoom, count.")]


@dataclass(frozen=True, slots=True)
class ZoomCounts:
    """What became of the tiles of one zoom; expected = written + missing + skipped."""

    zoom: Annotated[int, Doc("Tile matrix identifier of WorldCRS84Quad, 0 to 22.")]
    expected: Annotated[int, Doc("Tiles that the export has at this zoom, count.")]
    written: Annotated[int, Doc("Tiles stored in the package, count.")]
    missing: Annotated[int, Doc("Tiles that the source does not have, count.")]
    skipped: Annotated[int, Doc("Unreadable tiles left out because onError is skip, count.")]
    tile_bytes: Annotated[int, Doc("Sum of the stored tiles' sizes, bytes.")]


@dataclass(frozen=True, slots=True)
class TileColumnRun:
    """A run of rows in one column of one zoom; limits are inclusive."""

    zoom: Annotated[int, Doc("Tile matrix identifier of WorldCRS84Quad, 0 to 22.")]
    column: Annotated[int, Doc("Tile column, counted eastwards from 180 degrees west.")]
    min_row: Annotated[int, Doc("First row, counted down from the north.")]
    max_row: Annotated[int, Doc("Last row, inclusive.")]


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """What is true of a finished package; written once, by the assembler."""

    package_name: Annotated[str, Doc("File name of the GeoPackage.")]
    metadata_name: Annotated[str, Doc("File name of the metadata beside it.")]
    file_bytes: Annotated[int, Doc("Size of the GeoPackage, bytes.")]
    sha256: Annotated[str, Doc("SHA-256 of the GeoPackage, 64 hexadecimal digits.")]
    finished_at_ms: Annotated[int, Doc("When the package was whole, ms since 1970 UTC.")]
    zooms: Annotated[tuple[ZoomCounts, ...], Doc("Counts by zoom, coarsest first.")]

    @property
    def expected(self) -> int:
        """Tiles of the export over all zooms."""
        return sum(counts.expected for counts in self.zooms)

    @property
    def written(self) -> int:
        """Tiles stored in the package."""
        return sum(counts.written for counts in self.zooms)

    @property
    def missing(self) -> int:
        """Tiles that are not in the package: the source lacks them, or they were skipped."""
        return sum(counts.missing + counts.skipped for counts in self.zooms)


@dataclass(frozen=True, slots=True)
class ZoomArea:
    """An area that is wanted at zooms of its own."""

    area_wkb: Annotated[bytes, Doc("The area, WKB, degrees, OGC:CRS84.")]
    min_zoom: Annotated[int, Doc("Its coarsest zoom.")]
    max_zoom: Annotated[int, Doc("Its finest zoom.")]


@dataclass(frozen=True, slots=True)
class PackagePlan:
    """Everything the assembler needs to know of an export, fixed when it started."""

    package_name: Annotated[str, Doc("File name of the GeoPackage to be published.")]
    table: Annotated[str, Doc("Tile pyramid user data table: the layer's productId.")]
    identifier: Annotated[str, Doc("gpkg_contents.identifier: product name and version.")]
    layer_json: Annotated[
        str, Doc("The layer's record as it was when the export started, JSON, without source.")
    ]
    area_wkb: Annotated[
        bytes, Doc("Area of the export, WKB, degrees, OGC:CRS84; empty where areas are given.")
    ]
    min_zoom: Annotated[int, Doc("Coarsest zoom of the export.")]
    max_zoom: Annotated[int, Doc("Finest zoom of the export.")]
    tiles_per_range: Annotated[int, Doc("Tiles in each range but the last, count.")]
    algorithm: Annotated[int, Doc("Version of the algorithm that cuts the area into ranges.")]
    on_error: Annotated[str, Doc("fail or skip: what an unreadable tile does.")]
    areas: Annotated[
        tuple[ZoomArea, ...],
        Doc("Areas with zooms of their own, one table for each finest zoom; empty: area_wkb."),
    ] = ()
