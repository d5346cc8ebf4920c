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

from app.domain.area import area_km2, area_to_wkb, export_area, parse_footprint
from app.domain.callback_target import Network, refused_url
from app.domain.errors import InvalidRequest, RequestTooLarge, told
from app.domain.export_cover import ExportCover
from app.domain.export_identity import export_id, request_digest
from app.domain.layer_zooms import LayerZooms
from app.domain.package_facts import ZoomArea, ZoomTiles
from app.domain.record_fields import MAX_CLIENT_CHARS
from app.domain.records import ExportRequested
from app.domain.requested_area import MAX_VERTICES, parse_bbox
from app.domain.requested_features import (
    COARSEST_PROPERTY,
    FINEST_PROPERTY,
    WantedAreas,
    feature_areas,
    parse_features,
)
from app.domain.tile_counting import count_tiles

MAX_REQUEST_ID_CHARS: Final = 100
"""Whoever sends to Kafka chooses the id; it is a key, and stands in addresses."""

CRS: Final = "EPSG:4326"
ON_ERROR: Final = ("fail", "skip")
FORMATS: Final = ("source",)

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_TRANSPORT: Final = frozenset(
    {"request_id", "at_ms", "via_http", "tries", "first_tried_at_ms", "seal"}
)


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """How much one request may ask for."""

    max_vertices: int = MAX_VERTICES
    """Positions of all rings of `bbox`."""
    max_tiles: int = 100_000_000
    """Tiles over all zooms; at 12,500 bytes each this is 1.25 TB."""
    max_area_km2: float | None = None
    """Area within the layer, square kilometres; None: any."""
    max_priority: int = 999_999_999
    """The most urgent priority."""
    max_description_chars: int = 1_000
    """Length of `description`."""
    max_callback_urls: int = 20
    """Webhooks of one request."""
    max_callback_url_chars: int = 2_048
    """Length of one webhook address, as browsers and proxies take it."""
    max_client_chars: int = MAX_CLIENT_CHARS
    """Length of the client's name."""
    callback_networks: tuple[Network, ...] = ()
    """Networks that webhooks may reach though they are not public."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a sound request means.

    Attributes:
        request_digest: SHA-256 over the caller's fields.
        export_id: SHA-256 over what decides the package, tiles included.
        area_wkb: Area asked for within the footprint; WKB, degrees, OGC:CRS84; empty where
            there are several.
        areas: Areas within the footprint that have zooms of their own, where there are several.
        min_zoom: Coarsest zoom.
        max_zoom: Finest zoom.
        target_resolution_deg: As asked, or the layer's own; degrees per pixel. The finest of
            several.
        tiles_by_zoom: Number of tiles of each zoom, coarsest first.
        tile_count: Tiles over all zooms.
    """

    request_digest: str
    export_id: str
    area_wkb: bytes
    areas: tuple[ZoomArea, ...]
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
    wanted = _wanted(request, layer, limits)
    cover = ExportCover.of(wanted.areas, max_tiles=limits.max_tiles)
    zoom_areas = tuple(ZoomArea(area_to_wkb(area), *zooms) for area, *zooms in wanted.areas)
    several = len(zoom_areas) > 1
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
        area_wkb=b"" if several else zoom_areas[0].area_wkb,
        areas=zoom_areas if several else (),
        min_zoom=min(area.min_zoom for area in zoom_areas),
        max_zoom=max(area.max_zoom for area in zoom_areas),
        target_resolution_deg=wanted.finest_deg,
        tiles_by_zoom=tuple(ZoomTiles(*pair) for pair in cover.tiles_by_zoom),
        tile_count=cover.tile_count,
    )


def count_wanted_tiles(
    request: ExportRequested, layer: Mapping[str, Any], limits: RequestLimits
) -> tuple[ZoomTiles, ...]:
    """Count the tiles that a request asks for, also where they are too many for an export.

    Returns:
        Tiles of each zoom, coarsest first; see `app.domain.tile_counting` for how exact.

    Raises:
        InvalidRequest: As `judge`, but not for the number of tiles.
    """
    check_plain_fields(request, limits)
    return count_tiles(_wanted(request, layer, limits).areas, max_tiles=limits.max_tiles)


def _wanted(
    request: ExportRequested, layer: Mapping[str, Any], limits: RequestLimits
) -> WantedAreas:
    """What the request wants of the layer: one area, or the areas of its features."""
    value = bbox_value(request.bbox_json)
    features = parse_features(value, max_vertices=limits.max_vertices)
    zooms = LayerZooms(request.layer_id, layer.get("maxResolutionDeg"))
    finest_deg, coarsest_deg = request.target_resolution_deg, request.min_resolution_deg
    if features is not None:
        for name, given in (("targetResolution", finest_deg), ("minResolution", coarsest_deg)):
            if given is not None:
                raise InvalidRequest(
                    f"{name} is {given}; the features of a FeatureCollection say theirs by "
                    f"{FINEST_PROPERTY} and {COARSEST_PROPERTY}"
                )
        footprint = parse_footprint(layer.get("footprint"), layer_id=request.layer_id)
        return _small_enough(feature_areas(features, zooms, footprint), limits)
    chosen = zooms.choose(finest_deg, coarsest_deg)
    requested = parse_bbox(value, max_vertices=limits.max_vertices)
    footprint = parse_footprint(layer.get("footprint"), layer_id=request.layer_id)
    area = export_area(requested, footprint, layer_id=request.layer_id)
    wanted = WantedAreas(((area, chosen.min_zoom, chosen.max_zoom),), chosen.finest_deg)
    return _small_enough(wanted, limits)


def _small_enough(wanted: WantedAreas, limits: RequestLimits) -> WantedAreas:
    """Refuse what covers more of the globe than the operator lets one export have.

    Raises:
        RequestTooLarge: It does; areas that overlap count once each.
    """
    if limits.max_area_km2 is not None:
        asked_km2 = sum(area_km2(area) for area, *_ in wanted.areas)
        if asked_km2 > limits.max_area_km2:
            raise RequestTooLarge(
                f"bbox has {asked_km2:,.1f} km2 within the layer, more than "
                f"{limits.max_area_km2:,.1f}"
            )
    return wanted


def caller_digest(request: ExportRequested) -> str:
    """Digest the caller's own fields, not what transport and retries add to them.

    It works for refused requests too.
    """
    fields = asdict(request)
    return request_digest({name: fields[name] for name in fields if name not in _TRANSPORT})


def bbox_value(bbox_json: str | None) -> object:
    """Read the JSON text of a `bbox`.

    Raises:
        InvalidRequest: The text is no JSON, has a name twice, or is nested too deep to be read.
    """
    if bbox_json is None:
        return None
    try:
        return json.loads(bbox_json, object_pairs_hook=without_duplicates)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"bbox is no JSON ({error}): {bbox_json:.80}") from error


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON, for `object_pairs_hook`.

    Raises:
        InvalidRequest: It has a name twice, and readers differ in which one they take.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(f"{told(twice)[1:-1]} is there more than once")
    return found


def check_plain_fields(request: ExportRequested, limits: RequestLimits) -> None:
    """Refuse what is wrong whatever the layer is.

    Raises:
        InvalidRequest: A field is beyond its limit.
    """
    if not _UUID.fullmatch(request.layer_id):
        raise InvalidRequest(f"dbId is {told(request.layer_id)}; it must be a uuid")
    for field, value, allowed in (
        ("crs", request.crs, (CRS,)),
        ("onError", request.on_error, ON_ERROR),
        ("format", request.format, FORMATS),
    ):
        if value not in allowed:
            raise InvalidRequest(f"{field} is {told(value)}; it must be {' or '.join(allowed)}")
    if len(request.client) > limits.max_client_chars:
        raise InvalidRequest(
            f"client has {len(request.client)} characters, more than {limits.max_client_chars}"
        )
    _check_priority(request.priority, limits.max_priority)
    _check_description(request.description, limits.max_description_chars)
    _check_callback_urls(request.callback_urls, limits)


def _check_priority(value: object, limit: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
        raise InvalidRequest(f"priority is {told(value)}; it must be an integer from 0 to {limit}")


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
        check_callback_url(field, url, limits)
        if (reason := refused_url(url, limits.callback_networks)) is not None:
            raise InvalidRequest(f"{field} is {told(url)}; {reason}")


def check_callback_url(field: str, url: str, limits: RequestLimits | None = None) -> None:
    """Refuse what cannot be the address of a webhook.

    Args:
        field: Where it stands, for the message.
        url: As the caller wrote it.
        limits: None: the limits of the contract.

    Raises:
        InvalidRequest: It is too long, or no http or https URL.
    """
    longest = (limits or RequestLimits()).max_callback_url_chars
    if len(url) > longest:
        raise InvalidRequest(f"{field} has {len(url)} characters, more than {longest}")
    if not _is_web_address(url):
        raise InvalidRequest(f"{field} is {told(url)}; it must be an http or https URL")


def _is_web_address(url: str) -> bool:
    if not url.isprintable() or " " in url:  # urlsplit would drop line breaks silently
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
