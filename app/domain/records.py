"""The facts and orders that travel between the stages: one dataclass, one schema in schemas/.

Facts are in the past tense, orders in the imperative. `at_ms` is the sender's time. The
README's topic table says which topic carries which record.
"""

from dataclasses import dataclass
from typing import Annotated

from app.domain.avro_doc import Doc
from app.domain.package_facts import (
    PackageFacts,
    PackagePlan,
    ZoomCounts,
    ZoomTiles,
)

AtMs = Annotated[int, Doc("When the sender sent it, ms since 1970 UTC.")]
RequestId = Annotated[str, Doc("The request, a uuid chosen by ingress or producer.")]
ExportId = Annotated[
    str, Doc("The export: SHA-256 over layer and tile set, 64 hexadecimal digits.")
]
Attempt = Annotated[str, Doc("The run of the export, {ms}-{offset} of the record that started it.")]
Client = Annotated[str, Doc("Who asked; anonymous where nobody has to say.")]
LayerId = Annotated[str, Doc("The layer's catalogue record, uuid (dbId of the API).")]
BboxJson = Annotated[
    str | None, Doc("The area as the caller sent it, JSON text; null: the layer's footprint.")
]
Priority = Annotated[int, Doc("0 to 999999999; larger is more urgent.")]
CallbackUrls = Annotated[tuple[str, ...], Doc("Webhook addresses, http or https.")]
LeaseUntil = Annotated[
    int, Doc("Work begun later than this is dropped, ms since 1970 UTC; it is sent again.")
]


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
    client: Annotated[str, Doc("Who asks.", name="client")] = "anonymous"
    bbox_json: Annotated[
        str | None,
        Doc(
            "JSON text: [west,south,east,north] in degrees, a GeoJSON Polygon or "
            "MultiPolygon; null: the footprint.",
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
    area_wkb: Annotated[bytes, Doc("Area asked for within the footprint, WKB, degrees, OGC:CRS84.")]
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


@dataclass(frozen=True, slots=True)
class ExportBeat:
    """A running export says how far it is, every 5 s."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    phase: Annotated[str, Doc("writing or assembling.")]
    tiles_done: Annotated[int, Doc("Tiles of the ranges that are done, missing ones too, count.")]
    tiles_missing: Annotated[int, Doc("Missing tiles among them, count.")]
    bytes_written: Annotated[int, Doc("Bytes of the tiles written, bytes.")]


@dataclass(frozen=True, slots=True)
class ExportAssembled:
    """The planner tells the registrar that the package is published."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    facts: Annotated[PackageFacts, Doc("The finished package.")]


@dataclass(frozen=True, slots=True)
class ExportFailed:
    """The planner tells the registrar that the export cannot be done."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    reason: Annotated[str, Doc("What happened, for people.")]


@dataclass(frozen=True, slots=True)
class RequestConfirmed:
    """The result of a request stands in `export-finished`."""

    request_id: RequestId
    at_ms: AtMs


@dataclass(frozen=True, slots=True)
class ExportStarted:
    """The registrar tells the planner to run an export."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    priority: Priority
    package: Annotated[PackagePlan, Doc("What will be made.")]
    source_json: Annotated[str, Doc("Where the tiles are: the layer record's source, JSON.")]
    tile_count: Annotated[int, Doc("Tiles of the export over all zooms, count.")]
    mean_tile_bytes: Annotated[int, Doc("Mean tile size expected, bytes.")]
    continues: Annotated[str | None, Doc("The failed attempt whose shards may be adopted.")] = None


@dataclass(frozen=True, slots=True)
class ExportStopped:
    """The registrar tells the planner that an attempt is over: forget it."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs


@dataclass(frozen=True, slots=True)
class RemoveAttempt:
    """Remove the files of an attempt."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs


@dataclass(frozen=True, slots=True)
class FilesRemoved:
    """The files of an attempt are gone."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs


@dataclass(frozen=True, slots=True)
class TileRunOrdered:
    """Neighbouring columns with the same run of rows, part of a WriteRange."""

    zoom: Annotated[int, Doc("Tile matrix identifier of WorldCRS84Quad, 0 to 22.")]
    min_col: Annotated[int, Doc("First column.")]
    max_col: Annotated[int, Doc("Last column, inclusive.")]
    min_row: Annotated[int, Doc("First row, counted down from the north.")]
    max_row: Annotated[int, Doc("Last row, inclusive.")]


@dataclass(frozen=True, slots=True)
class AssemblePackage:
    """The planner orders the shards of an attempt to become one package."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    package: Annotated[PackagePlan, Doc("What to make.")]
    range_count: Annotated[int, Doc("Ranges that the ledgers must hold, count.")]
    lease_until_ms: LeaseUntil
    trial: Annotated[int, Doc("How often assembly has been ordered before, count.")] = 0


@dataclass(frozen=True, slots=True)
class WriteRange:
    """The planner orders one range of tiles to be written."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    lane: Annotated[int, Doc("Ranges of one lane are written by one worker in order.")]
    range_number: Annotated[int, Doc("Position among the export's ranges, from 0.")]
    runs: Annotated[tuple[TileRunOrdered, ...], Doc("The tiles of the range, in export order.")]
    table: Annotated[str, Doc("Tile pyramid user data table.")]
    source_json: Annotated[str, Doc("Where the tiles are, JSON.")]
    on_error: Annotated[str, Doc("fail or skip.")]
    lease_until_ms: LeaseUntil
    trial: Annotated[int, Doc("How often this range has been unreadable before, count.")]
    then_assemble: Annotated[
        AssemblePackage | None, Doc("For an export of one range: assemble it right away.")
    ] = None


@dataclass(frozen=True, slots=True)
class RangeWritten:
    """A range is in a shard, committed."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    range_number: Annotated[int, Doc("Position among the export's ranges, from 0.")]
    zooms: Annotated[tuple[ZoomCounts, ...], Doc("What became of its tiles, by zoom.")]


@dataclass(frozen=True, slots=True)
class RangeUnreadable:
    """A range could not be read or written."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    range_number: Annotated[int, Doc("Position among the export's ranges, from 0.")]
    trial: Annotated[int, Doc("The try that failed, from 0.")]
    fatal: Annotated[bool, Doc("No further try can help (disk full): the export fails at once.")]
    reason: Annotated[str, Doc("Tile and cause, for people.")]


@dataclass(frozen=True, slots=True)
class RangeSpan:
    """Neighbouring range numbers; limits are inclusive."""

    first: Annotated[int, Doc("First range number.")]
    last: Annotated[int, Doc("Last range number.")]


@dataclass(frozen=True, slots=True)
class RangesMissing:
    """The ledgers lack ranges that were reported as written."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    spans: Annotated[tuple[RangeSpan, ...], Doc("The missing ranges.")]


@dataclass(frozen=True, slots=True)
class AdoptShards:
    """Take the shards of a failed attempt into a new one."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    continues: Annotated[str, Doc("The failed attempt.")]


@dataclass(frozen=True, slots=True)
class ShardAdopted:
    """A shard was taken over, with these ranges."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    shard: Annotated[str, Doc("File name of the shard.")]
    spans: Annotated[tuple[RangeSpan, ...], Doc("Ranges that its ledger holds.")]


@dataclass(frozen=True, slots=True)
class AssemblyBeat:
    """An assembly is alive."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs


@dataclass(frozen=True, slots=True)
class PackageAssembled:
    """The package of an attempt is published; the assembler tells the planner."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    facts: Annotated[PackageFacts, Doc("The finished package.")]


@dataclass(frozen=True, slots=True)
class AssemblyFailed:
    """A package cannot be made from the shards, and no further try would help."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    reason: Annotated[str, Doc("What happened, for people.")]


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
class RequestExpiring:
    """The package of a request goes soon."""

    request_id: RequestId
    at_ms: AtMs
    expires_at_ms: Annotated[int, Doc("When it goes, ms since 1970 UTC.")]


@dataclass(frozen=True, slots=True)
class DeliveryTried:
    """A webhook was called, and what came of it."""

    request_id: RequestId
    at_ms: AtMs
    delivery_id: Annotated[str, Doc("The delivery: the same on every try.")]
    trial: Annotated[int, Doc("Which try it was, from 1.")]
    http_status: Annotated[int, Doc("Answer of the receiver; 0: none.")]
    error: Annotated[str | None, Doc("Why there was no answer.")]


@dataclass(frozen=True, slots=True)
class RedeliveryAsked:
    """A result is to be sent to an address, again or for the first time."""

    request_id: RequestId
    at_ms: AtMs
    url: Annotated[str, Doc("Webhook address, http or https.")]


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
    verdict: Annotated[str, Doc("Accepted, Joined, Repeated, Cached or Refused.")]
    http_status: Annotated[int, Doc("Status that the API answers with.")]
    reason: Annotated[str | None, Doc("Why it was refused.")]
    export_id: Annotated[str | None, Doc("The export that it belongs to; null when refused.")]
    repeats: Annotated[str | None, Doc("The earlier request that answers for this one.")]


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
    state: Annotated[str, Doc("Pending, In-Progress, Completed or Failed.")]
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


@dataclass(frozen=True, slots=True)
class Tick:
    """The owner of a table partition tells itself that a row is due."""

    at_ms: AtMs
