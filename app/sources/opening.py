"""From a layer record's `source` to the adapter that reads it."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from app.domain.errors import InvalidRequest
from app.sources.folder import FolderTileSource
from app.sources.synthetic import SyntheticTileSource
from app.sources.tile_source import TileSource

EXTENSION: Final = re.compile(r"[A-Za-z0-9]{1,8}")


def open_source(source: Mapping[str, Any], allowed_roots: Sequence[Path]) -> TileSource:
    """Build the adapter that a layer record's `source` names.

    Args:
        source: `{"type": "folder", "path": ..., "rows": "xyz" or "tms", "extension": "jpeg"}`;
            a relative path starts at the first allowed root. Or `{"type": "synthetic"}`: tiles
            made up in memory.
        allowed_roots: Folders that tiles may come from.

    Returns:
        A source that any thread may read.

    Raises:
        InvalidRequest: The type is unknown, a member is wrong, or the path, its symbolic links
            followed, lies outside every allowed root.
    """
    kind = source.get("type")
    if kind == "folder":
        return _folder_source(source, allowed_roots)
    if kind == "synthetic":
        return SyntheticTileSource()
    raise InvalidRequest(f"source.type is {kind!r}; this service reads 'folder' and 'synthetic'")


def _folder_source(source: Mapping[str, Any], allowed_roots: Sequence[Path]) -> TileSource:
    rows = source.get("rows", "xyz")
    if rows not in ("xyz", "tms"):
        raise InvalidRequest(f"source.rows is {rows!r}; it must be 'xyz' or 'tms'")
    extension = source.get("extension", "jpeg")
    if not isinstance(extension, str) or EXTENSION.fullmatch(extension) is None:
        raise InvalidRequest(
            f"source.extension is {extension!r}; it must match {EXTENSION.pattern}"
        )
    root = _allowed_folder(source.get("path"), allowed_roots)
    return FolderTileSource(root, rows=rows, extension=extension)


def _allowed_folder(path: object, allowed_roots: Sequence[Path]) -> Path:
    if not isinstance(path, str) or not path or "\0" in path:
        raise InvalidRequest(f"source.path is {path!r}; it must be the path of a folder")
    if not allowed_roots:
        raise InvalidRequest("no folder is allowed as a source of tiles")
    try:
        folder = (allowed_roots[0] / path).resolve()
        roots = [root.resolve() for root in allowed_roots]
        _follow(folder)
    except (OSError, RuntimeError) as error:  # a ring of symbolic links
        raise InvalidRequest(f"source.path {path!r} cannot be resolved: {error}") from error
    if not any(folder.is_relative_to(root) for root in roots):
        raise InvalidRequest(f"source.path {path!r} lies outside the allowed folders")
    return folder


def _follow(folder: Path) -> None:
    """Follow a folder's links to their end; it need not be there yet.

    From Python 3.13 on `resolve` leaves a ring of links as it is, and only a look finds it.
    """
    with contextlib.suppress(FileNotFoundError):
        folder.stat()
