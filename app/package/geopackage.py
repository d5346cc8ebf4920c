"""The tables of a GeoPackage with tile pyramids in WorldCRS84Quad.

Source:
    OGC 12-128r15 (GeoPackage 1.2); the numbers in brackets are its requirements.
"""

import re
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.area import BoundingBox
from app.domain.world_crs84_quad import (
    TILE_SIZE_PX,
    matrix_height,
    matrix_width,
    resolution_deg,
)

APPLICATION_ID: Final = 0x47504B47  # "GPKG" [2]
USER_VERSION: Final = 10200  # [2]
SRS_ID: Final = 4326

TABLE_NAME: Final = re.compile(r"(?!gpkg_|sqlite_|rtree_)[A-Za-z][A-Za-z0-9_]*", re.IGNORECASE)
"""Names that cannot clash with the tables of GeoPackage, SQLite or, having a letter first, ours."""

WGS84_WKT: Final = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,'
    'AUTHORITY["EPSG","7030"]],AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,'
    'AUTHORITY["EPSG","8901"]],UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],'
    'AXIS["Latitude",NORTH],AXIS["Longitude",EAST],AUTHORITY["EPSG","4326"]]'
)

_SPATIAL_REF_SYSTEMS: Final = (  # [10], [11]
    ("WGS 84 geodetic", 4326, "EPSG", 4326, WGS84_WKT, "longitude and latitude in degrees"),
    ("Undefined cartesian SRS", -1, "NONE", -1, "undefined", "undefined cartesian"),
    ("Undefined geographic SRS", 0, "NONE", 0, "undefined", "undefined geographic"),
)

_WEBP_EXTENSION: Final = (  # [91]
    "tile_data",
    "gpkg_webp",
    "http://www.geopackage.org/spec120/#extension_tiles_webp",
    "read-write",
)

_TABLES: Final = (
    """
    CREATE TABLE gpkg_spatial_ref_sys (
        srs_name TEXT NOT NULL,
        srs_id INTEGER NOT NULL PRIMARY KEY,
        organization TEXT NOT NULL,
        organization_coordsys_id INTEGER NOT NULL,
        definition TEXT NOT NULL,
        description TEXT
    )""",
    """
    CREATE TABLE gpkg_contents (
        table_name TEXT NOT NULL PRIMARY KEY,
        data_type TEXT NOT NULL,
        identifier TEXT UNIQUE,
        description TEXT DEFAULT '',
        last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
        min_x DOUBLE,
        min_y DOUBLE,
        max_x DOUBLE,
        max_y DOUBLE,
        srs_id INTEGER,
        CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id)
    )""",
    """
    CREATE TABLE gpkg_tile_matrix_set (
        table_name TEXT NOT NULL PRIMARY KEY,
        srs_id INTEGER NOT NULL,
        min_x DOUBLE NOT NULL,
        min_y DOUBLE NOT NULL,
        max_x DOUBLE NOT NULL,
        max_y DOUBLE NOT NULL,
        CONSTRAINT fk_gtms_table_name FOREIGN KEY (table_name)
            REFERENCES gpkg_contents(table_name),
        CONSTRAINT fk_gtms_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id)
    )""",
    """
    CREATE TABLE gpkg_tile_matrix (
        table_name TEXT NOT NULL,
        zoom_level INTEGER NOT NULL,
        matrix_width INTEGER NOT NULL,
        matrix_height INTEGER NOT NULL,
        tile_width INTEGER NOT NULL,
        tile_height INTEGER NOT NULL,
        pixel_x_size DOUBLE NOT NULL,
        pixel_y_size DOUBLE NOT NULL,
        CONSTRAINT pk_ttm PRIMARY KEY (table_name, zoom_level),
        CONSTRAINT fk_tmm_table_name FOREIGN KEY (table_name)
            REFERENCES gpkg_contents(table_name)
    )""",
)

_TILE_TABLE: Final = """
    CREATE TABLE "{table}" (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        zoom_level INTEGER NOT NULL,
        tile_column INTEGER NOT NULL,
        tile_row INTEGER NOT NULL,
        tile_data BLOB NOT NULL,
        UNIQUE (zoom_level, tile_column, tile_row)
    )"""  # [54]

_EXTENSIONS_TABLE: Final = """
    CREATE TABLE gpkg_extensions (
        table_name TEXT,
        column_name TEXT,
        extension_name TEXT NOT NULL,
        definition TEXT NOT NULL,
        scope TEXT NOT NULL,
        CONSTRAINT ge_tce UNIQUE (table_name, column_name, extension_name)
    )"""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a finished package says about the tiles of one table.

    Attributes:
        table: Tile pyramid user data table.
        identifier: Name for people.
        bounds: Of the finest zoom's tiles, degrees: GDAL takes the size of the raster from it.
        zooms: Those that hold tiles, ascending.
        last_change: ISO 8601, UTC, with milliseconds [15].
        has_webp: Some tile is WebP, which needs a row in gpkg_extensions.
    """

    table: str
    identifier: str
    bounds: BoundingBox
    zooms: Sequence[int]
    last_change: str
    has_webp: bool


def create_tables(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    """Create the tables of an empty GeoPackage; call it within a transaction.

    Raises:
        ValueError: One of `names` is no name that a tile table may have.
    """
    for statement in _TABLES:
        connection.execute(statement)
    connection.executemany(
        "INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, ?, ?, ?, ?)", _SPATIAL_REF_SYSTEMS
    )
    for name in names:
        create_tile_table(connection, name)


def create_tile_table(connection: sqlite3.Connection, name: str) -> None:
    """Create one tile table; call it within a transaction.

    Raises:
        ValueError: It is no name that a tile table may have.
    """
    if TABLE_NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} cannot name a tile table")
    connection.execute(_TILE_TABLE.format(table=name))


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether there is a table of that name."""
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return connection.execute(query, (name,)).fetchone() is not None


def describe_tiles(connection: sqlite3.Connection, tables: Sequence[Contents]) -> None:
    """Write the rows that tell readers what the tables hold; call it within a transaction."""
    if any(contents.has_webp for contents in tables):
        connection.execute(_EXTENSIONS_TABLE)
    for contents in tables:
        _describe_table(connection, contents)


def _describe_table(connection: sqlite3.Connection, contents: Contents) -> None:
    bounds = contents.bounds
    connection.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, last_change,"
        " min_x, min_y, max_x, max_y, srs_id) VALUES (?, 'tiles', ?, ?, ?, ?, ?, ?, ?)",
        (
            contents.table,
            contents.identifier,
            contents.last_change,
            bounds.west,
            bounds.south,
            bounds.east,
            bounds.north,
            SRS_ID,
        ),
    )
    connection.execute(
        "INSERT INTO gpkg_tile_matrix_set VALUES (?, ?, -180, -90, 180, 90)",
        (contents.table, SRS_ID),
    )
    connection.executemany(
        "INSERT INTO gpkg_tile_matrix VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                contents.table,
                zoom,
                matrix_width(zoom),
                matrix_height(zoom),
                TILE_SIZE_PX,
                TILE_SIZE_PX,
                resolution_deg(zoom),
                resolution_deg(zoom),
            )
            for zoom in contents.zooms
        ],
    )
    if contents.has_webp:
        connection.execute(
            "INSERT INTO gpkg_extensions VALUES (?, ?, ?, ?, ?)",
            (contents.table, *_WEBP_EXTENSION),
        )


def undescribe_tiles(connection: sqlite3.Connection) -> None:
    """Take back what `describe_tiles` wrote; call it within a transaction."""
    for table in ("gpkg_tile_matrix", "gpkg_tile_matrix_set", "gpkg_contents"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - constant names
    connection.execute("DROP TABLE IF EXISTS gpkg_extensions")
