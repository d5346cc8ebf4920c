"""What callers ask, and what admission makes of it."""

from dataclasses import dataclass
from typing import Annotated

from app.domain.avro_doc import Doc
from app.domain.package_facts import ZoomArea, ZoomTiles
from app.domain.record_fields import (
    ANONYMOUS_CLIENT,
    AtMs,
    BboxJson,
    CallbackUrls,
    Client,
    ExportId,
    LayerId,
    Priority,
    RequestId,
)


@dataclass(frozen=True, slots=True)
class ExportRequested:
    """Somebody asks for an export: the public record of `export-requests`."""

    request_id: Annotated[
        str,
        Doc(
            "Chosen by the producer, uuid; the same id with the same content is a replay.",
            name="requestId",
        ),
    ]
    layer_id: Annotated[str, Doc("The layer's catalogue record, uuid.", name="dbId")]
    at_ms: Annotated[int, Doc("When the producer sent it, ms since 1970 UTC.", name="atMs")] = 0
    client: Annotated[str, Doc("Who asks.", name="client")] = ANONYMOUS_CLIENT
    bbox_json: Annotated[
        str | None,
        Doc(
            "JSON text: [west,south,east,north] in degrees, a GeoJSON Polygon, MultiPolygon or "
            "FeatureCollection; null: the footprint.",
            name="bbox",
        ),
    ] = None
    target_resolution_deg: Annotated[
        float | None,
        Doc(
            "Finest resolution wanted, degrees per pixel; null: the layer's own.",
            name="targetResolution",
        ),
    ] = None
    min_resolution_deg: Annotated[
        float | None,
        Doc("Coarsest resolution wanted, degrees per pixel; null: zoom 0.", name="minResolution"),
    ] = None
    callback_urls: Annotated[
        tuple[str, ...], Doc("Webhook addresses, http or https; may be empty.", name="callbackURLs")
    ] = ()
    crs: Annotated[str, Doc("EPSG:4326 only.", name="crs")] = "EPSG:4326"
    priority: Annotated[int, Doc("0 to 999999999; larger is more urgent.", name="priority")] = 1000
    description: Annotated[
        str | None, Doc("Free text, at most 1000 characters.", name="description")
    ] = None
    on_error: Annotated[str, Doc("fail or skip: what an unreadable tile does.", name="onError")] = (
        "fail"
    )
    format: Annotated[str, Doc("source: the bytes as they are.", name="format")] = "source"
    via_http: Annotated[
        bool,
        Doc(
            "Came through the ingress: a repeat is answered with the first request.", name="viaHttp"
        ),
    ] = False
    retry_of: Annotated[
        str | None, Doc("The failed request that this one tries again, uuid.", name="retryOf")
    ] = None
    tries: Annotated[
        int, Doc("How often admission has put it back, count; producers leave it 0.", name="tries")
    ] = 0
    first_tried_at_ms: Annotated[
        int,
        Doc(
            "When admission first put it back, ms since 1970 UTC; 0: never.", name="firstTriedAtMs"
        ),
    ] = 0
    seal: Annotated[
        str | None,
        Doc("Of the ingress, which verified the client; producers leave it null.", name="seal"),
    ] = None


@dataclass(frozen=True, slots=True)
class ExportCommanded:
    """Somebody cancels, extends, pins, deletes or redelivers."""

    request_id: RequestId
    at_ms: AtMs
    client: Client
    command: Annotated[str, Doc("cancel, extend, pin, unpin, delete or redeliver.")]
    argument: Annotated[
        str | None, Doc("What the command needs: an expiry in ms since 1970 UTC, or an address.")
    ] = None
    by_administrator: Annotated[
        bool, Doc("The client may command the requests of others; trusted as the settings say.")
    ] = False
    via_http: Annotated[bool, Doc("Came through the ingress, which knows its client.")] = False
    seal: Annotated[
        str | None, Doc("Of the ingress, which verified the client; producers leave it null.")
    ] = None


@dataclass(frozen=True, slots=True)
class RequestAdmitted:
    """A request is sound: what it means, and what admission saw on the disk."""

    request_id: RequestId
    at_ms: AtMs
    request_digest: Annotated[
        str, Doc("SHA-256 over the caller's fields: tells a replay from another body.")
    ]
    client: Client
    via_http: Annotated[bool, Doc("Came through the ingress.")]
    layer_id: LayerId
    layer_json: Annotated[str, Doc("The layer's record as captured, JSON, with its source.")]
    bbox_json: BboxJson
    target_resolution_deg: Annotated[
        float, Doc("Finest resolution as asked, degrees per pixel; the layer's own where absent.")
    ]
    callback_urls: CallbackUrls
    priority: Priority
    description: Annotated[str | None, Doc("Free text of the caller.")]
    on_error: Annotated[str, Doc("fail or skip.")]
    format: Annotated[str, Doc("source.")]
    export_id: ExportId
    area_wkb: Annotated[
        bytes,
        Doc(
            "Area asked for within the footprint, WKB, degrees, OGC:CRS84; empty where areas "
            "are given."
        ),
    ]
    min_zoom: Annotated[int, Doc("Coarsest zoom of the export.")]
    max_zoom: Annotated[int, Doc("Finest zoom of the export.")]
    tiles_by_zoom: Annotated[tuple[ZoomTiles, ...], Doc("Tiles of the export by zoom.")]
    mean_tile_bytes: Annotated[
        int, Doc("Mean tile size that the layer record names, bytes; 0: unknown.")
    ]
    free_bytes: Annotated[int, Doc("Free space of the artifact store, bytes.")]
    packages: Annotated[
        tuple[str, ...], Doc("Attempts of this export whose package stands whole on the disk.")
    ]
    looked_at_ms: Annotated[int, Doc("When admission looked for packages, ms since 1970 UTC.")]
    retry_of: Annotated[str | None, Doc("The failed request that this one tries again.")] = None
    areas: Annotated[
        tuple[ZoomArea, ...], Doc("Areas with zooms of their own; empty: area_wkb.")
    ] = ()


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """A request can never succeed, and why."""

    request_id: RequestId
    at_ms: AtMs
    request_digest: Annotated[str, Doc("SHA-256 over the caller's fields.")]
    client: Client
    layer_id: LayerId
    bbox_json: BboxJson
    target_resolution_deg: Annotated[float | None, Doc("As asked, degrees per pixel.")]
    callback_urls: CallbackUrls
    http_status: Annotated[int, Doc("Status that the API would answer with.")]
    reason: Annotated[str, Doc("Names field, value and limit, for people.")]
