"""`GET /exports/{id}/tiles/...`: what is in a package, without downloading it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from app.domain.errors import StorageUnavailable
from app.ingress.exports import ExportReader
from app.ingress.ports import PackageFiles
from app.ingress.refusals import NothingToDo
from app.ingress.tile_answer import TILE_PATH, NoSuchTile, Tile, tile_of, tile_response

MAX_READS: Final = 8
"""Tiles read side by side: a disk that hangs holds so many threads, not all of them."""
READ_TIMEOUT_S: Final = 10.0
"""How long a caller waits for its turn and its tile together."""
MAX_AGE_S: Final = 24 * 3_600
"""The package of a finished request never changes."""

GROWING_MAX_AGE_S: Final = 60
"""What a running export has stored of a tile does not change, but its address will be another's."""

ReadTile = Callable[[Path, Tile], bytes | None]
ReadUnfinished = Callable[[Sequence[Path], Tile], bytes | None]


@dataclass(slots=True)
class PackageTiles:
    """Shows packages, and what running exports have stored so far, to who may see the export.

    Attributes:
        reader: Finds exports.
        files: Finds packages.
        read_tile: Reads one tile of a package; it blocks.
        read_unfinished: Reads one tile of those stored so far; it blocks.
    """

    reader: ExportReader
    files: PackageFiles
    read_tile: ReadTile
    read_unfinished: ReadUnfinished
    _reads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_READS))

    def routes(self) -> list[web.RouteDef]:
        """The route that this answers."""
        return [web.get(f"/exports/{{id}}/tiles/{TILE_PATH}", self.tile)]

    async def tile(self, request: web.Request) -> web.Response:
        """`GET /exports/{id}/tiles/{zoom}/{column}/{row}`: one tile of the package."""
        tile = tile_of(request)
        request_id = await self.reader.find(request)
        read, max_age_s = self._source(request_id)
        try:
            async with asyncio.timeout(READ_TIMEOUT_S), self._reads:
                reading = asyncio.ensure_future(asyncio.to_thread(read, tile))
                try:
                    image = await asyncio.shield(reading)
                except asyncio.CancelledError:
                    # The thread goes on; its place is given away when it has ended.
                    await asyncio.wait([reading])
                    raise
        except TimeoutError as error:
            raise StorageUnavailable(
                f"the package of export {request_id} gave no tile within {READ_TIMEOUT_S:g} s"
            ) from error
        if image is None:
            raise NoSuchTile(f"the package holds no tile {'/'.join(map(str, tile))}")
        return tile_response(request, image, max_age_s=max_age_s)

    def _source(self, request_id: str) -> tuple[Callable[[Tile], bytes | None], int]:
        """Where tiles of a request come from now, and how long a browser may keep them, s.

        Raises:
            NothingToDo: It has no package and is not running.
        """
        view = self.reader.desk.view
        result = view.result(request_id)
        if result is not None and result.success:
            export_id, attempt, name = urlsplit(result.file_uri).path.split("/")[-3:]
            return partial(self._read, (export_id, attempt, name)), MAX_AGE_S
        seen = view.verdict(request_id)
        export = view.export(seen.export_id) if seen is not None and result is None else None
        if export is None or export.state != "In-Progress" or not export.attempt:
            raise NothingToDo(f"export {request_id} has no package and is not running")
        growing = (export.export_id, export.attempt)
        return partial(self._read_growing, growing), GROWING_MAX_AGE_S

    def _read(self, where: tuple[str, str, str], tile: Tile) -> bytes | None:
        path = self.files.package_path(*where)
        if path is None:
            raise NoSuchTile(f"the package {where[2]} is not there any more")
        return self.read_tile(path, tile)

    def _read_growing(self, where: tuple[str, str], tile: Tile) -> bytes | None:
        return self.read_unfinished(self.files.shard_paths(*where), tile)
