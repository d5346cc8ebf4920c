"""Results, their delivery, and what the API tells meanwhile."""

from dataclasses import dataclass
from typing import Annotated

from app.domain.avro_doc import Doc
from app.domain.package_facts import PackageFacts, ZoomCounts
from app.domain.record_fields import (
    AtMs,
    Attempt,
    BboxJson,
    CallbackUrls,
    Client,
    ExportId,
    LayerId,
    Priority,
    RequestId,
)


@dataclass(frozen=True, slots=True)
class RequestSettled:
    """The registrar has decided the result of a request."""

    request_id: RequestId
    at_ms: AtMs
    status: Annotated[str, Doc("Completed, Failed or Aborted.")]
    reason: Annotated[str | None, Doc("Why it failed; null on success.")]
    layer_id: LayerId
    bbox_json: BboxJson
    target_resolution_deg: Annotated[float | None, Doc("As asked, degrees per pixel.")]
    callback_urls: CallbackUrls
    file_uri: Annotated[str, Doc("Download address of the package; empty on failure.")]
    metadata_uri: Annotated[str, Doc("Download address of the metadata; empty on failure.")]
    expires_at_ms: Annotated[int, Doc("When the package may go, ms since 1970 UTC; 0 on failure.")]
    finished_at_ms: Annotated[int, Doc("When the export ended, ms since 1970 UTC.")]
    facts: Annotated[PackageFacts | None, Doc("The package; null on failure.")]


@dataclass(frozen=True, slots=True)
class RequestConfirmed:
    """The result of a request stands in `export-finished`."""

    request_id: RequestId
    at_ms: AtMs


@dataclass(frozen=True, slots=True)
class RequestExpiring:
    """The package of a request goes soon."""

    request_id: RequestId
    at_ms: AtMs
    expires_at_ms: Annotated[int, Doc("When it goes, ms since 1970 UTC.")]


@dataclass(frozen=True, slots=True)
class RequestForgotten:
    """The registrar forgets a request: its package is gone, and so may its result."""

    request_id: RequestId
    at_ms: AtMs


@dataclass(frozen=True, slots=True)
class DeliveryTried:
    """A webhook was called, and what came of it."""

    request_id: RequestId
    at_ms: AtMs
    delivery_id: Annotated[str, Doc("The delivery: the same on every try.")]
    trial: Annotated[int, Doc("Which try it was, from 1.")]
    http_status: Annotated[int, Doc("Answer of the receiver; 0: none.")]
    error: Annotated[str | None, Doc("Why there was no answer.")]
    retry_at_ms: Annotated[
        int, Doc("From when it may be called again, by Retry-After, ms since 1970 UTC; 0: unsaid.")
    ] = 0


@dataclass(frozen=True, slots=True)
class RedeliveryAsked:
    """A result is to be sent to an address, again or for the first time."""

    request_id: RequestId
    at_ms: AtMs
    url: Annotated[str, Doc("Webhook address, http or https.")]
    again: Annotated[bool, Doc("Call it though it was called before.")] = False


@dataclass(frozen=True, slots=True)
class TilesTold:
    """Tile counts of a result."""

    expected: Annotated[int, Doc("Tiles of the export, count.")]
    written: Annotated[int, Doc("Tiles in the package, count.")]
    missing: Annotated[int, Doc("Tiles that are not in it, count.")]


@dataclass(frozen=True, slots=True)
class ExportFinished:
    """The one result of a request: the public record of `export-finished`."""

    request_id: Annotated[str, Doc("The request, uuid.", name="requestId")]
    layer_id: Annotated[str, Doc("The layer's catalogue record, uuid.", name="dbId")]
    success: Annotated[bool, Doc("Whether there is a package.", name="success")]
    status: Annotated[str, Doc("Completed, Failed or Aborted.", name="status")]
    error_reason: Annotated[str | None, Doc("Why it failed; null on success.", name="errorReason")]
    bbox_json: Annotated[
        str | None,
        Doc("The area as this caller sent it, JSON text; null: the footprint.", name="bbox"),
    ]
    target_resolution_deg: Annotated[
        float | None, Doc("Degrees per pixel, as this caller sent it.", name="targetResolution")
    ]
    package_name: Annotated[
        str, Doc("File name of the GeoPackage; empty on failure.", name="packageName")
    ]
    file_uri: Annotated[
        str, Doc("Download address of the package; empty on failure.", name="fileUri")
    ]
    metadata_uri: Annotated[
        str, Doc("Download address of the metadata; empty on failure.", name="metadataUri")
    ]
    file_bytes: Annotated[int, Doc("Size of the package, bytes; 0 on failure.", name="fileSize")]
    sha256: Annotated[
        str, Doc("SHA-256 of the package, hexadecimal; empty on failure.", name="sha256")
    ]
    tiles: Annotated[TilesTold, Doc("Tile counts; all 0 on failure.", name="tiles")]
    expiration_time: Annotated[
        str, Doc("When the package may go, ISO 8601 UTC; empty on failure.", name="expirationTime")
    ]
    finished_at: Annotated[str, Doc("When the export ended, ISO 8601 UTC.", name="finishedAt")]


@dataclass(frozen=True, slots=True)
class RequestProgress:
    """What the API tells of a request until it has a result."""

    request_id: RequestId
    at_ms: AtMs
    client: Client
    layer_id: LayerId
    bbox_json: BboxJson
    target_resolution_deg: Annotated[float | None, Doc("As asked, degrees per pixel.")]
    accepted_at_ms: Annotated[int, Doc("When the registrar first saw it, ms since 1970 UTC.")]
    verdict: Annotated[str, Doc("Accepted, Joined, Repeated, Cached, Refused or Cancelled.")]
    http_status: Annotated[int, Doc("Status that the API answers with.")]
    reason: Annotated[str | None, Doc("Why it was refused.")]
    export_id: Annotated[str | None, Doc("The export that it belongs to; null when refused.")]
    repeats: Annotated[str | None, Doc("The earlier request that answers for this one.")]
    description: Annotated[str | None, Doc("Free text of the caller.")] = None
    priority: Annotated[int, Doc("0 to 999999999; larger is more urgent.")] = 1000
    on_error: Annotated[str, Doc("fail or skip: what an unreadable tile does.")] = "fail"
    min_zoom: Annotated[int, Doc("Coarsest zoom wanted.")] = 0
    max_zoom: Annotated[int, Doc("Finest zoom wanted.")] = 0
    callback_urls: Annotated[tuple[str, ...], Doc("Webhook addresses.")] = ()
    retry_of: Annotated[str | None, Doc("The failed request that this one tries again.")] = None
    deleted: Annotated[bool, Doc("Its caller wants the package no more: it is not offered.")] = (
        False
    )
    area_omitted: Annotated[
        bool, Doc("The area was too large to be told again: bbox_json lacks it.")
    ] = False
    pinned: Annotated[bool, Doc("Its caller keeps the package beyond its expiry.")] = False


@dataclass(frozen=True, slots=True)
class ProgressChange:
    """One change in the life of an export."""

    at_ms: Annotated[int, Doc("When, ms since 1970 UTC.")]
    state: Annotated[str, Doc("The state it changed to.")]


@dataclass(frozen=True, slots=True)
class ExportProgress:
    """What the API tells of an export."""

    export_id: ExportId
    at_ms: AtMs
    attempt: Attempt
    state: Annotated[str, Doc("Pending, In-Progress, Completed, Failed, Aborted or Expired.")]
    layer_id: LayerId
    priority: Priority
    tiles_expected: Annotated[int, Doc("Tiles of the export, count.")]
    tiles_done: Annotated[int, Doc("Tiles that are done, missing ones too, count.")]
    tiles_missing: Annotated[int, Doc("Missing tiles among them, count.")]
    bytes_written: Annotated[int, Doc("Bytes of the tiles written, bytes.")]
    tiles_per_s: Annotated[float, Doc("Rate between the last two beats, tiles per second.")]
    estimated_bytes: Annotated[int, Doc("Size expected at the start, bytes.")]
    expires_at_ms: Annotated[
        int, Doc("When the package may go, ms since 1970 UTC; 0: not finished.")
    ]
    pinned: Annotated[bool, Doc("Kept beyond its expiry.")]
    reason: Annotated[str | None, Doc("Why it failed.")]
    changes: Annotated[tuple[ProgressChange, ...], Doc("The last 20 changes, oldest first.")]
    learned: Annotated[tuple[ZoomCounts, ...], Doc("Counts by zoom of the finished package.")]
    client: Annotated[str, Doc("Whose turn it takes: the client of its first request.")] = ""
    queued_at_ms: Annotated[int, Doc("When it began to wait, ms since 1970 UTC.")] = 0
    started_at_ms: Annotated[
        int, Doc("When the attempt started, ms since 1970 UTC; 0: not yet.")
    ] = 0
    finished_at_ms: Annotated[int, Doc("When it ended, ms since 1970 UTC; 0: not yet.")] = 0
    phase: Annotated[str, Doc("What runs now: writing or assembling; empty: nothing.")] = ""
    min_zoom: Annotated[int, Doc("Coarsest zoom of the export.")] = 0
    max_zoom: Annotated[int, Doc("Finest zoom of the export.")] = 0
    package_name: Annotated[str, Doc("File name of the finished package; empty: none.")] = ""
    file_bytes: Annotated[int, Doc("Size of the finished package, bytes; 0: none.")] = 0
