"""Reads the polygons of a file that somebody brought: a process of its own, with limits.

`python -m app.ingress.area_reader FILE KIND` writes a GeoJSON geometry to its output. Its exit
status is 0, or REFUSED with a message for people as the output. A library of many formats reads a
stranger's bytes here: whatever it does, this process ends, and the service goes on.
"""

import json
import resource
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

REFUSED: Final = 3
MEMORY_BYTES: Final = 1 << 30
CPU_S: Final = 10
WRITTEN_BYTES: Final = 1 << 20
"""Reading writes nothing; a driver that tries is stopped."""
MAX_UNPACKED_BYTES: Final = 200_000_000
MAX_FEATURES: Final = 100_000
DECIMALS: Final = 7
MAX_LONGITUDE_DEG: Final = 540
"""Desktop GIS writes 170 to 190 of what lies over the antimeridian; the page cuts it there."""
DRIVERS: Final = {
    ".shp": "ESRI Shapefile",
    ".gpkg": "GPKG",
    ".kml": "KML",
    ".geojson": "GeoJSON",
    ".json": "GeoJSON",
}


class NoArea(Exception):
    """There is no area in the file; the message says why."""


def set_limits() -> None:
    """Limit this process before it reads anything; where a system knows no such limit, go on."""
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_FSIZE, WRITTEN_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (value, value))


def read_area(path: Path, kind: str) -> dict[str, Any]:
    """Read all polygons of a file.

    Args:
        path: The file.
        kind: `zip`, or a suffix of DRIVERS.

    Returns:
        A GeoJSON Polygon or MultiPolygon, longitude and latitude in degrees; longitudes may lie
        beyond 180, as the file has them.

    Raises:
        NoArea: It cannot be read, or holds no polygon.
    """
    files, suffix = _in_zip(path) if kind == "zip" else ([str(path)], kind)
    parts: list[Any] = []
    for where in files:
        for layer in _layers(where, suffix):
            parts += _polygons(where, suffix, layer)
    if not parts:
        raise NoArea("it holds no polygon")
    coordinates = [
        [[_position(corner) for corner in ring.coords] for ring in (part.exterior, *part.interiors)]
        for part in parts
    ]
    if len(coordinates) == 1:
        return {"type": "Polygon", "coordinates": coordinates[0]}
    return {"type": "MultiPolygon", "coordinates": coordinates}


def _position(corner: tuple[float, ...]) -> list[float]:
    lon, lat = round(corner[0], DECIMALS), round(corner[1], DECIMALS)
    if not (-MAX_LONGITUDE_DEG <= lon <= MAX_LONGITUDE_DEG and -90 <= lat <= 90):
        raise NoArea(f"it has a corner at {lon:g}, {lat:g}, which is not on the globe")
    return [lon, lat]


def _in_zip(path: Path) -> tuple[list[str], str]:
    """Find the files to read in an archive, all of one kind; their addresses, and their suffix."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise NoArea(f"it is a broken zip file: {error}") from error
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MAX_UNPACKED_BYTES:
        raise NoArea(f"it unpacks to {unpacked} bytes, more than {MAX_UNPACKED_BYTES}")
    for suffix in DRIVERS:
        names = [entry.filename for entry in entries if entry.filename.lower().endswith(suffix)]
        # macOS puts a shadow beside each file.
        names = [
            name
            for name in names
            if not name.startswith("__MACOSX/") and ".." not in Path(name).parts
        ]
        if names:
            return [f"/vsizip/{{{path}}}/{name}" for name in names], suffix
    raise NoArea(f"it holds no {', '.join(DRIVERS)}")


def _layers(where: str, suffix: str) -> list[str]:
    from pyogrio import list_layers  # noqa: PLC0415 - after the limits are set
    from pyogrio.errors import DataSourceError  # noqa: PLC0415 - same

    try:
        return [str(name) for name, _ in list_layers(where)]
    except DataSourceError as error:
        raise NoArea(f"it cannot be read as {DRIVERS[suffix]}") from error


def _polygons(where: str, suffix: str, layer: str) -> list[Any]:
    import shapely  # noqa: PLC0415 - after the limits are set
    from pyogrio import raw  # noqa: PLC0415 - same
    from pyogrio.errors import DataLayerError, DataSourceError  # noqa: PLC0415 - same

    try:
        told, _, wkb, _ = raw.read(
            where, layer=layer, columns=[], force_2d=True, max_features=MAX_FEATURES + 1
        )
    except (DataSourceError, DataLayerError, ValueError) as error:
        raise NoArea(f"its layer {layer!r:.80} cannot be read as {DRIVERS[suffix]}") from error
    if wkb is None:
        return []
    if len(wkb) > MAX_FEATURES:
        raise NoArea(f"it has more than {MAX_FEATURES} features")
    geometries = shapely.from_wkb([one for one in wkb if one is not None])
    parts = [
        part
        for part in shapely.get_parts(shapely.get_parts(geometries))
        if part.geom_type == "Polygon" and not part.is_empty
    ]
    return _in_degrees(parts, told.get("crs"))


def _in_degrees(parts: list[Any], crs: str | None) -> list[Any]:
    """Bring polygons to longitude and latitude; without a system they are taken for that."""
    if not parts or crs is None or crs == "EPSG:4326":
        return parts
    import numpy as np  # noqa: PLC0415 - after the limits are set
    import shapely  # noqa: PLC0415 - same
    from pyproj import Transformer  # noqa: PLC0415 - same
    from pyproj.exceptions import ProjError  # noqa: PLC0415 - same

    try:
        transformer = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    except ProjError as error:
        raise NoArea(f"its coordinate system {crs!r:.80} is not known") from error

    def to_degrees(corners: Any) -> Any:
        return np.column_stack(transformer.transform(corners[:, 0], corners[:, 1]))

    return list(shapely.transform(parts, to_degrees))


def main() -> int:
    """Read the file that the arguments name."""
    set_limits()
    try:
        sys.stdout.write(json.dumps(read_area(Path(sys.argv[1]), sys.argv[2])))
    except NoArea as error:
        sys.stdout.write(str(error))
        return REFUSED
    except MemoryError:
        sys.stdout.write(f"it needs more than {MEMORY_BYTES >> 20} MB of memory")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
