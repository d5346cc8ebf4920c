"""Who is the same: exports that make the same package, and requests that say the same."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from app.domain.export_cover import ExportCover


def export_id(
    layer_id: str,
    layer_version: str,
    cover: ExportCover,
    *,
    on_error: str,
    tile_format: str = "source",
    crs: str = "EPSG:4326",
) -> str:
    """Name an export by all that decides what its package holds.

    Args:
        layer_id: The layer's catalogue record.
        layer_version: Its productVersion, so that a new version makes a new export.
        cover: The exact tiles, table by table. How the area was drawn does not matter.
        on_error: fail or skip.
        tile_format: The request's `format`.
        crs: The request's `crs`.

    Returns:
        SHA-256, 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for part in (layer_id, layer_version, crs, tile_format, on_error):
        text = part.encode()
        # With its length before it, no part can pass for the end of another.
        digest.update(len(text).to_bytes(8) + text)
    cover.digest_into(digest)
    return digest.hexdigest()


def request_digest(fields: Mapping[str, Any]) -> str:
    """Digest what a caller said, to tell a replay from another body under the same id.

    Args:
        fields: JSON values; the order of members does not matter, NaN is a value like others.

    Returns:
        SHA-256 over canonical JSON, 64 hexadecimal digits.
    """
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
