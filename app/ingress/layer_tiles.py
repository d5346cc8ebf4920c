"""`GET /layers/{id}/tiles/...`: what a layer looks like, from where its exports read."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from app.catalogue.port import Catalogue, LayerFields
from app.domain.errors import InvalidRequest, SourceUnavailable, UnknownLayer
from app.domain.world_crs84_quad import zoom_of_resolution
from app.ingress.request_body import UUID_FORM
from app.ingress.tile_answer import TILE_PATH, NoSuchTile, Tile, tile_of, tile_response
from app.sources.tile_source import TileSource

MAX_READS: Final = 8
"""Tiles read side by side: a source that hangs holds so many threads, not all of them."""
READ_TIMEOUT_S: Final = 10.0
"""How long a caller waits for its turn and its tile together."""
REMEMBERED_S: Final = 5.0
"""A map asks for dozens of tiles at once; the catalogue is asked once for them."""
MAX_AGE_S: Final = 3_600
"""A layer's version may be replaced in place; an hour later every browser has seen it."""


@dataclass(slots=True)
class LayerTiles:
    """Reads single tiles of layers for whoever looks at a map.

    Attributes:
        catalogue: Finds layers.
        open_source: From the source part of a record to its tiles; raises InvalidRequest.
        now_s: A clock that never goes back, s.
    """

    catalogue: Catalogue
    open_source: Callable[[Any], TileSource]
    now_s: Callable[[], float] = time.monotonic
    _reads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_READS))
    _known: dict[str, tuple[float, TileSource, int]] = field(default_factory=dict)

    def routes(self) -> list[web.RouteDef]:
        """The route that this answers."""
        return [web.get(f"/layers/{{id}}/tiles/{TILE_PATH}", self.tile)]

    async def tile(self, request: web.Request) -> web.Response:
        """`GET /layers/{id}/tiles/{zoom}/{column}/{row}`: one tile as its source has it."""
        layer_id = request.match_info["id"]
        if not UUID_FORM.fullmatch(layer_id):
            raise InvalidRequest(f"id is {layer_id!r:.80}; it must be a uuid")
        tile = tile_of(request)
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                image = await self._read(layer_id.lower(), tile)
        except TimeoutError as error:
            raise SourceUnavailable(
                f"layer {layer_id} gave no tile within {READ_TIMEOUT_S:g} s"
            ) from error
        return tile_response(request, image, max_age_s=MAX_AGE_S)

    async def _read(self, layer_id: str, tile: Tile) -> bytes:
        source, finest = await self._source(layer_id)
        where = "/".join(map(str, tile))
        if tile[0] > finest:
            raise NoSuchTile(f"tile is {where}; the finest zoom of layer {layer_id} is {finest}")
        async with self._reads:
            # Not cancelled with its caller: the thread would go on and its place be given away.
            reading = asyncio.ensure_future(asyncio.to_thread(source.read_many, [tile]))
            try:
                (image,) = await asyncio.shield(reading)
            except asyncio.CancelledError:
                await asyncio.wait([reading])
                raise
        if image is None:
            raise NoSuchTile(f"layer {layer_id} has no tile {where}")
        return image

    async def _source(self, layer_id: str) -> tuple[TileSource, int]:
        now_s = self.now_s()
        known = self._known.get(layer_id)
        if known is not None and now_s - known[0] < REMEMBERED_S:
            return known[1], known[2]
        record = await self.catalogue.find(layer_id)
        if record is None:
            raise UnknownLayer(layer_id)
        source = await asyncio.to_thread(self._open, record)
        finest = zoom_of_resolution(record["maxResolutionDeg"], field="maxResolutionDeg")
        for old in [key for key, (at_s, *_) in self._known.items() if now_s - at_s > REMEMBERED_S]:
            del self._known[old]
        self._known[layer_id] = (now_s, source, finest)
        return source, finest

    def _open(self, record: LayerFields) -> TileSource:
        try:
            return self.open_source(record["source"])
        except InvalidRequest as error:
            # What is wrong is in the catalogue, and tells of folders: nothing for a caller.
            raise SourceUnavailable(f"the tiles of layer {record['id']} cannot be read") from error
