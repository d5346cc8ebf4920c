"""A catalogue that is a folder of layer records, one JSON file a layer."""

import asyncio
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import structlog

from app.catalogue.layer_record import MAX_RECORD_BYTES, parse_layer_record
from app.catalogue.port import LayerFields
from app.domain.errors import CatalogueUnavailable, InvalidRecord

log = structlog.get_logger(__name__)

_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _File:
    """What a file held when it had this stamp; no record: it was broken, or nobody knows."""

    stamp: _Stamp
    record: LayerFields | None


_UNREADABLE = _File((0, 0, 0), None)
"""A file that the disk does not give, and never gave: it may hold any layer."""


class FolderCatalogue:
    """Layer records of `<folder>/*.json`.

    Every look-up compares the files' times and sizes with what was read, so a file that is put
    there, replaced or removed counts at once. A broken file is skipped and logged once. One that
    cannot be read counts as it was read last; before that it may hold any layer, so of a layer that
    no other file holds nothing can be said. Where two files hold the same id, the first by name
    counts.
    """

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is read yet."""
        self._folder = folder
        self._files: dict[str, _File] = {}
        self._layers: dict[str, LayerFields] = {}
        self._reading: asyncio.Task[None] | None = None

    async def find(self, layer_id: str) -> LayerFields | None:
        """Find one layer; see `Catalogue.find`."""
        await self._fresh()
        found = self._layers.get(layer_id.lower())
        if found is None and (name := self._unreadable()) is not None:
            raise CatalogueUnavailable(
                f"no layer {layer_id.lower()} is known, and {self._folder / name} cannot be read"
            )
        return found

    async def all(self) -> list[LayerFields]:
        """All layers; see `Catalogue.all`."""
        await self._fresh()
        return [self._layers[layer_id] for layer_id in sorted(self._layers)]

    def _unreadable(self) -> str | None:
        """A file that may hold any layer, if there is one."""
        return next((name for name, file in self._files.items() if file is _UNREADABLE), None)

    async def _fresh(self) -> None:
        """Read what has changed, once for all who ask while it is being read.

        A folder on a disk that hangs then holds one thread, however many ask.
        """
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="catalogue folder")
            self._reading.add_done_callback(self._read_ended)
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        try:
            files = await asyncio.to_thread(_read_changed, self._folder, self._files)
        except OSError as error:
            raise CatalogueUnavailable(
                f"catalogue folder {self._folder} cannot be read: {error}"
            ) from error
        if _stamps(files) != _stamps(self._files):
            self._layers = _by_id(files)
        self._files = files

    def _read_ended(self, task: asyncio.Task[None]) -> None:
        self._reading = None
        if not task.cancelled():
            task.exception()  # read, so that asyncio does not complain when every caller has left


def _read_changed(folder: Path, known: dict[str, _File]) -> dict[str, _File]:
    files: dict[str, _File] = {}
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if _is_record_name(entry.name))
    for name in names:
        path, before = folder / name, known.get(name)
        try:
            stamp = _stamp_of(path)
            files[name] = before if before and before.stamp == stamp else _read_file(path, stamp)
        except (FileNotFoundError, InvalidRecord) as error:
            # Gone since the folder was listed, or no file: the others still count.
            log.warning("layer_record_unreadable", file=str(path), reason=str(error))
        except OSError as error:
            # A disk that fails, too many open files, not ours to read: it may pass.
            files[name] = before if before and before.record is not None else _UNREADABLE
            log.warning("layer_record_unreadable", file=str(path), reason=str(error))
    return files


def _stamp_of(path: Path) -> _Stamp:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe would hang whoever opens it
        raise InvalidRecord(f"{path} is no file")
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _is_record_name(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")


def _read_file(path: Path, stamp: _Stamp) -> _File:
    try:
        with path.open("rb") as file:
            return _File(stamp, parse_layer_record(file.read(MAX_RECORD_BYTES + 1)))
    except InvalidRecord as error:
        log.warning("layer_record_broken", file=str(path), reason=str(error))
        return _File(stamp, None)


def _stamps(files: dict[str, _File]) -> dict[str, _Stamp]:
    return {name: file.stamp for name, file in files.items()}


def _by_id(files: dict[str, _File]) -> dict[str, LayerFields]:
    layers: dict[str, LayerFields] = {}
    for name, file in files.items():
        if file.record is None:
            continue
        layer_id = file.record["id"]
        if layers.setdefault(layer_id, file.record) is not file.record:
            log.warning("layer_record_twice", file=name, layer_id=layer_id)
    return layers
