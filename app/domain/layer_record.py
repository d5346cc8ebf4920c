"""A layer's catalogue record, as far as an export relies on it; the rest passes through."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import orjson

from app.domain.errors import InvalidRequest

PRODUCT_ID = re.compile(r"(?!(?i:gpkg|sqlite|rtree)_)[A-Za-z][A-Za-z0-9_]*")
"""A table name; the three prefixes belong to GeoPackage and SQLite themselves."""

MAX_MEAN_TILE_BYTES = 10**12
"""Beyond this the record is wrong, and its number might be more than a record of ours can hold."""

NOT_IN_FILE_NAMES = re.compile(r"[^A-Za-z0-9.-]+")


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """The record of one raster layer, profile RECORD_RASTER of contract.md.

    Attributes:
        fields: The whole record, `source` too, as the catalogue has it.
    """

    fields: Mapping[str, Any]

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Take a record from its JSON text.

        Raises:
            InvalidRequest: The text is no JSON object.
        """
        try:
            fields = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise InvalidRequest(f"the layer record is no JSON: {error}") from error
        if not isinstance(fields, dict):
            raise InvalidRequest("the layer record is no JSON object")
        return cls(fields)

    def to_json(self) -> str:
        """The whole record as JSON text, keys sorted."""
        return orjson.dumps(dict(self.fields), option=orjson.OPT_SORT_KEYS).decode()

    @property
    def layer_id(self) -> str:
        """The record's uuid."""
        return str(self.fields["id"])

    @property
    def product_id(self) -> str:
        """Name of the product, which becomes the name of the tile table.

        Raises:
            InvalidRequest: It is no table name.
        """
        product_id = str(self.fields.get("productId", ""))
        if PRODUCT_ID.fullmatch(product_id) is None:
            raise InvalidRequest(
                f"layer {self.fields.get('id')}: productId {product_id!r} must match "
                f"{PRODUCT_ID.pattern}, because it names the tile table"
            )
        return product_id

    @property
    def version(self) -> str:
        """Version of the product; another version is another export."""
        return str(self.fields.get("productVersion", "1"))

    @property
    def identifier(self) -> str:
        """Name for people: product name and version."""
        return f"{self.fields.get('productName') or self.product_id} {self.version}"

    @property
    def mean_tile_bytes(self) -> int:
        """Mean tile size that the record names, bytes; 0: it names none that can be."""
        value = self.fields.get("meanTileBytes")
        if isinstance(value, bool) or not isinstance(value, int | float):
            return 0
        return int(value) if 0 < value <= MAX_MEAN_TILE_BYTES else 0

    @property
    def public_fields(self) -> dict[str, Any]:
        """The record without `source`, which is nobody's business outside."""
        return {name: value for name, value in self.fields.items() if name != "source"}

    @property
    def public_json(self) -> str:
        """The record without `source`, as JSON text, keys sorted."""
        return orjson.dumps(self.public_fields, option=orjson.OPT_SORT_KEYS).decode()

    @property
    def source_json(self) -> str:
        """Where the tiles are, as JSON text, keys sorted."""
        return orjson.dumps(self.fields.get("source"), option=orjson.OPT_SORT_KEYS).decode()

    def package_name_pattern(self, max_zoom: int, export_id: str) -> str:
        """File name of the package, with `{attempt}` where the attempt goes.

        >>> layer = LayerRecord({"productId": "blue_marble", "productVersion": "2.0 b"})
        >>> layer.package_name_pattern(5, "0123456789abcdef" * 4)
        'blue_marble_2.0-b_z5_0123456789ab_{attempt}.gpkg'
        """
        version = NOT_IN_FILE_NAMES.sub("-", self.version).strip(".-") or "1"
        return f"{self.product_id}_{version[:40]}_z{max_zoom}_{export_id[:12]}_{{attempt}}.gpkg"
