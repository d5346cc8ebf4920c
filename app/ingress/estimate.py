"""`POST /estimate`: what an export would be, and whether it fits; nothing is started."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final
from uuid import uuid4

from aiohttp import web

from app.domain.errors import UnknownLayer
from app.domain.judgement import count_wanted_tiles
from app.domain.layer_record import LayerRecord
from app.domain.package_facts import ZoomTiles
from app.domain.space import UNKNOWN_TILE_BYTES, largest_estimate_bytes
from app.ingress.create_export import ExportDesk
from app.ingress.identity import identity_of
from app.ingress.json_answer import json_answer
from app.ingress.layer_memory import LayerMemory, Rate
from app.ingress.request_body import read_body
from app.ingress.storage import Space, StorageGauge

LEAST_S: Final = 1
"""What the smallest export takes, about: a start, a file, a hash, an end."""


@dataclass(frozen=True, slots=True)
class ZoomEstimate:
    """What one zoom would take.

    Attributes:
        zoom: Tile matrix identifier.
        tiles: Its tiles.
        size: Their size, bytes.
    """

    zoom: int
    tiles: int
    size: int


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit, and what the request would need of it."""

    name: str
    value: int
    actual: int

    @property
    def holds(self) -> bool:
        """Whether the request stays within it."""
        return self.actual <= self.value


def size_by_zoom(
    tiles_by_zoom: Sequence[ZoomTiles], layers: LayerMemory, layer: LayerRecord
) -> list[ZoomEstimate]:
    """Estimate the size of each zoom as the registrar does.

    Args:
        tiles_by_zoom: Coarsest zoom first.
        layers: Mean tile sizes of finished exports.
        layer: Its record may name a mean tile size, for zooms that nothing is known of.
    """
    zooms = [pair.zoom for pair in tiles_by_zoom]
    means = layers.mean_bytes(layer.layer_id, zooms, layer.mean_tile_bytes or UNKNOWN_TILE_BYTES)
    return [
        ZoomEstimate(pair.zoom, pair.tiles, pair.tiles * means[pair.zoom]) for pair in tiles_by_zoom
    ]


@dataclass(frozen=True, slots=True)
class Room:
    """How large an export may be.

    Attributes:
        max_tiles: Most tiles of one export.
        max_bytes: Largest estimate of one export, bytes; None: what fits the disk.
        space: Space of the artifact store.
    """

    max_tiles: int
    max_bytes: int | None
    space: Space

    def limits(self, zooms: Sequence[ZoomEstimate]) -> list[Limit]:
        """Compare an export of some zooms with every limit on its size."""
        tiles, size = sum(zoom.tiles for zoom in zooms), sum(zoom.size for zoom in zooms)
        found = [Limit("tiles", self.max_tiles, tiles)]
        if self.max_bytes is not None:
            found.append(Limit("bytes", self.max_bytes, size))
        return [*found, Limit("space", largest_estimate_bytes(self.space.available), size)]

    def fits(self, zooms: Sequence[ZoomEstimate]) -> bool:
        """Whether an export of some zooms is within every limit."""
        return all(limit.holds for limit in self.limits(zooms))

    def suggested_zoom(self, zooms: Sequence[ZoomEstimate]) -> int | None:
        """Find the finest zoom down to which everything fits; None: not even the coarsest does."""
        fitting = (count for count in range(len(zooms), 0, -1) if self.fits(zooms[:count]))
        count = next(fitting, 0)
        return zooms[count - 1].zoom if count else None


def estimate_body(zooms: Sequence[ZoomEstimate], rate: Rate, room: Room) -> dict[str, Any]:
    """Write an estimate in the words of the API: the model `Estimate`, ready for JSON."""
    tiles = sum(zoom.tiles for zoom in zooms)
    return {
        "zoom": zooms[-1].zoom,
        "tiles": tiles,
        "bytes": sum(zoom.size for zoom in zooms),
        "seconds": max(LEAST_S, ceil(tiles / rate.tiles_per_s)),
        "secondsBasis": rate.basis,
        "fits": room.fits(zooms),
        "suggestedZoom": room.suggested_zoom(zooms),
        "tilesByZoom": [
            {"zoom": zoom.zoom, "tiles": zoom.tiles, "bytes": zoom.size} for zoom in zooms
        ],
        "freeBytes": room.space.free,
        "reservedBytes": room.space.reserved,
        "limits": [
            {"limit": limit.name, "value": limit.value, "actual": limit.actual}
            for limit in room.limits(zooms)
        ],
    }


@dataclass(frozen=True, slots=True)
class Estimator:
    """Foretells what `POST /create` with the same body would begin.

    Attributes:
        desk: Reads bodies; holds catalogue, view and limits.
        gauge: How much space there is.
        max_body_bytes: Largest request body.
    """

    desk: ExportDesk
    gauge: StorageGauge
    max_body_bytes: int

    def routes(self) -> list[web.RouteDef]:
        """The route that this answers."""
        return [web.post("/estimate", self.answer)]

    async def answer(self, request: web.Request) -> web.Response:
        """`POST /estimate`: tiles, bytes and time, and whether that fits."""
        body = await read_body(request, max_bytes=self.max_body_bytes)
        client = identity_of(request).client
        asked = await asyncio.to_thread(self.desk.parse, body, str(uuid4()), client)
        layer = await self.desk.catalogue.find(asked.layer_id)
        if layer is None:
            raise UnknownLayer(asked.layer_id)
        limits = self.desk.limits
        max_bytes = self.desk.client_limits.max_export_bytes
        room = Room(limits.max_tiles, max_bytes, await self.gauge.space())
        counted = await asyncio.to_thread(count_wanted_tiles, asked, layer, limits)
        layers = self.desk.view.layers
        zooms = size_by_zoom(counted, layers, LayerRecord(layer))
        rate = layers.rate(str(layer["id"]))
        return json_answer(estimate_body(zooms, rate, room))
