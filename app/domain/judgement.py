"""The judgement of a request against its layer: pure, and shared by ingress and admission.

Both judge alike, so whatever the body and the layer record decide is refused before anything
is published, and a request that came past the ingress is refused for the same reason.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from app.domain.area import area_to_wkb, export_area, parse_footprint
from app.domain.errors import InvalidRequest
from app.domain.export_identity import export_id, request_digest
from app.domain.package_facts import ZoomTiles
from app.domain.records import ExportRequested
from app.domain.requested_area import MAX_VERTICES, parse_bbox
from app.domain.tile_cover import TileCover
from app.domain.world_crs84_quad import MIN_ZOOM, zoom_of_resolution

CRS: Final = "EPSG:4326"
ON_ERROR: Final = ("fail", "skip")
FORMATS: Final = ("source",)

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_TRANSPORT: Final = frozenset({"request_id", "at_ms", "via_http", "tries", "first_tried_at_ms"})


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """How much one request may ask for."""

    max_vertices: int = MAX_VERTICES
    """Positions of all rings of `bbox`."""
    max_tiles: int = 100_000_000
    """Tiles over all zooms; at 12,500 bytes each this is 1.25 TB."""
    max_priority: int = 999_999_999
    """The most urgent priority."""
    max_description_chars: int = 1_000
    """Length of `description`."""
    max_callback_urls: int = 20
    """Webhooks of one request."""
    max_callback_url_chars: int = 2_048
    """Length of one webhook address, as browsers and proxies take it."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a sound request means.

    Attributes:
        request_digest: SHA-256 over the caller's fields.
        export_id: SHA-256 over what decides the package, tiles included.
        area_wkb: Area asked for within the footprint; WKB, degrees, OGC:CRS84.
        min_zoom: Coarsest zoom.
        max_zoom: Finest zoom.
        target_resolution_deg: As asked, or the layer's own; degrees per pixel.
        tiles_by_zoom: Number of tiles of each zoom, coarsest first.
        tile_count: Tiles over all zooms.
    """

    request_digest: str
    export_id: str
    area_wkb: bytes
    min_zoom: int
    max_zoom: int
    target_resolution_deg: float
    tiles_by_zoom: tuple[ZoomTiles, ...]
    tile_count: int


def judge(
    request: ExportRequested, layer: Mapping[str, Any], limits: RequestLimits | None = None
) -> Judgement:
    """Decide whether a request can be done, and what it means exactly.

    Args:
        request: As the caller sent it, with defaults for what is absent.
        layer: The layer's catalogue record.
        limits: None: the limits of the contract.

    Raises:
        InvalidRequest: A field is wrong by itself or for this layer; the message names the
            field, its value and the limit.
    """
    limits = limits or RequestLimits()
    check_plain_fields(request, limits)
    target_deg, min_zoom, max_zoom = _zooms(request, layer)
    requested = parse_bbox(bbox_value(request.bbox_json), max_vertices=limits.max_vertices)
    footprint = parse_footprint(layer.get("footprint"), layer_id=request.layer_id)
    area = export_area(requested, footprint, layer_id=request.layer_id)
    cover = TileCover.of(area, min_zoom, max_zoom, max_tiles=limits.max_tiles)
    return Judgement(
        request_digest=caller_digest(request),
        export_id=export_id(
            str(layer.get("id", request.layer_id)),
            str(layer.get("productVersion", "")),
            cover,
            on_error=request.on_error,
            tile_format=request.format,
            crs=request.crs,
        ),
        area_wkb=area_to_wkb(area),
        min_zoom=min_zoom,
        max_zoom=max_zoom,
        target_resolution_deg=target_deg,
        tiles_by_zoom=tuple(ZoomTiles(*pair) for pair in cover.tiles_by_zoom),
        tile_count=cover.tile_count,
    )


def caller_digest(request: ExportRequested) -> str:
    """Digest the caller's own fields, not what transport and retries add to them.

    It works for refused requests too.
    """
    fields = asdict(request)
    return request_digest({name: fields[name] for name in fields if name not in _TRANSPORT})


def bbox_value(bbox_json: str | None) -> object:
    """Read the JSON text of a `bbox`.

    Raises:
        InvalidRequest: The text is no JSON, or nested too deep to be read.
    """
    if bbox_json is None:
        return None
    try:
        return json.loads(bbox_json)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"bbox is no JSON ({error}): {bbox_json:.80}") from error


def check_plain_fields(request: ExportRequested, limits: RequestLimits) -> None:
    """Refuse what is wrong whatever the layer is.

    Raises:
        InvalidRequest: A field is beyond its limit.
    """
    if not _UUID.fullmatch(request.layer_id):
        raise InvalidRequest(f"dbId is {request.layer_id!r:.80}; it must be a uuid")
    for field, value, allowed in (
        ("crs", request.crs, (CRS,)),
        ("onError", request.on_error, ON_ERROR),
        ("format", request.format, FORMATS),
    ):
        if value not in allowed:
            raise InvalidRequest(f"{field} is {value!r:.80}; it must be {' or '.join(allowed)}")
    _check_priority(request.priority, limits.max_priority)
    _check_description(request.description, limits.max_description_chars)
    _check_callback_urls(request.callback_urls, limits)


def _zooms(request: ExportRequested, layer: Mapping[str, Any]) -> tuple[float, int, int]:
    """The target resolution, the coarsest and the finest zoom."""
    layer_deg = layer.get("maxResolutionDeg")
    layer_zoom = zoom_of_resolution(
        layer_deg, field=f"maxResolutionDeg of layer {request.layer_id}"
    )
    asked = request.target_resolution_deg
    target_deg: Any = layer_deg if asked is None else asked
    max_zoom = zoom_of_resolution(target_deg, field="targetResolution")
    if max_zoom > layer_zoom:
        raise InvalidRequest(
            f"targetResolution is {asked} (zoom {max_zoom}), finer than layer "
            f"{request.layer_id} has: {layer_deg} (zoom {layer_zoom})"
        )
    coarsest = request.min_resolution_deg
    if coarsest is None:
        return float(target_deg), MIN_ZOOM, max_zoom
    min_zoom = zoom_of_resolution(coarsest, field="minResolution")
    if min_zoom > max_zoom:
        raise InvalidRequest(
            f"minResolution is {coarsest} (zoom {min_zoom}), finer than targetResolution "
            f"{target_deg} (zoom {max_zoom}); it names the coarsest resolution wanted"
        )
    return float(target_deg), min_zoom, max_zoom


def _check_priority(value: object, limit: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
        raise InvalidRequest(f"priority is {value!r:.80}; it must be an integer from 0 to {limit}")


def _check_description(value: str | None, limit: int) -> None:
    if value is not None and len(value) > limit:
        raise InvalidRequest(f"description has {len(value)} characters, more than {limit}")


def _check_callback_urls(urls: tuple[str, ...], limits: RequestLimits) -> None:
    if len(urls) > limits.max_callback_urls:
        raise InvalidRequest(
            f"callbackURLs has {len(urls)} addresses, more than {limits.max_callback_urls}"
        )
    for index, url in enumerate(urls):
        field = f"callbackURLs[{index}]"
        if len(url) > limits.max_callback_url_chars:
            raise InvalidRequest(
                f"{field} has {len(url)} characters, more than {limits.max_callback_url_chars}"
            )
        if not _is_web_address(url):
            raise InvalidRequest(f"{field} is {url!r:.80}; it must be an http or https URL")


def _is_web_address(url: str) -> bool:
    if not url.isprintable() or " " in url:  # urlsplit would drop line breaks silently
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
