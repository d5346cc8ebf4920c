"""A service with keys, its clients, and layers that are made up for it."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import aiohttp

from app.domain.world_crs84_quad import resolution_deg
from app.sources.synthetic import MEAN_TILE_BYTES
from tests.end_to_end.conftest import Service, running_service
from tests.token_issuer import Issuer

WORLD = {
    "type": "Polygon",
    "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]],
}
ISSUER = Issuer()


@dataclass(frozen=True)
class Told:
    """One answer."""

    status: int
    headers: Any
    body: Any


@dataclass
class Caller:
    """One client of a service that wants tokens."""

    service: Service
    http: aiohttp.ClientSession
    name: str
    role: str | None = None
    d: str = "raster"

    @cached_property
    def token(self) -> str:
        """One that is good for ten minutes, longer than any test."""
        return ISSUER.token(sub=self.name, role=self.role, d=self.d)

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Told:
        """Ask; a path, or a whole address."""
        url = path if path.startswith("http") else f"{self.service.url}{path}"
        options = {"json": body} if body is not None else {}
        async with self.http.request(
            method, url, headers={"x-api-key": self.token, **headers}, **options
        ) as answer:
            is_json = answer.content_type == "application/json"
            return Told(
                answer.status,
                answer.headers,
                await (answer.json() if is_json else answer.read()),
            )

    async def create(self, layer_id: str, bbox: Any = None, **fields: Any) -> str:
        """Ask for an export; its request id."""
        told = await self("POST", "/create", {"dbId": layer_id, "bbox": bbox, **fields})
        assert told.status == 200, told
        return str(told.body["requestId"])

    async def export(self, request_id: str) -> dict[str, Any]:
        """All that is told of an export."""
        told = await self("GET", f"/exports/{request_id}")
        assert told.status == 200, told
        return dict(told.body)


@contextmanager
def guarded_service(folder: Path, **environment: str) -> Iterator[Service]:
    """Run a service that takes the tokens of ISSUER alone."""
    keys = folder / "jwks.json"
    keys.write_bytes(ISSUER.jwks())
    with running_service(folder / "data", EXPORT_JWKS_FILE=str(keys), **environment) as service:
        yield service


def put_layer(service: Service, name: str, zoom: int, **changes: Any) -> str:
    """Put a record into the catalogue, of tiles made up in memory; its id."""
    layer_id = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
    record = {
        "id": layer_id,
        "productId": name,
        "productName": name,
        "productVersion": "1.0",
        "maxResolutionDeg": resolution_deg(zoom),
        "footprint": WORLD,
        "meanTileBytes": MEAN_TILE_BYTES,
        "source": {"type": "synthetic"},
    }
    path = service.data_dir / "catalogue" / f"{name}.json"
    making = path.with_suffix(".making")
    making.write_text(json.dumps(record | changes))
    making.rename(path)
    return layer_id


def put_stuck_layer(service: Service) -> str:
    """A layer whose exports cannot end for more than a minute: its tiles are broken; its id."""
    for column in ("0", "1"):
        broken = service.data_dir / "layers" / "stuck" / "0" / column / "0.jpeg"
        broken.parent.mkdir(parents=True)
        broken.write_bytes(b"\xff\xd8\xff cut short")
    source = {"type": "folder", "path": "stuck", "rows": "xyz", "extension": "jpeg"}
    return put_layer(service, "stuck", 0, source=source)
