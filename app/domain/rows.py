"""The rows of the coordinator's tables: one dataclass a table, each with a schema in schemas/.

A row holds what its stage must know after a crash, and nothing that another row says.
`plans` keeps ExportStarted and `results` keeps ExportFinished as they are.
"""

from dataclasses import dataclass
from typing import Annotated

from app.domain.avro_doc import Doc
from app.domain.package_facts import PackageFacts, PackagePlan
from app.domain.records import ExportFinished, ExportStarted, ProgressChange


@dataclass(frozen=True, slots=True)
class RequestRow:
    """Table `requests`: one request id, kept 14 days so that a replay is known.

    One whose package stands is kept as long as that, and a week more.
    """

    request_digest: Annotated[str, Doc("SHA-256 over the caller's fields.")]
    client: Annotated[str, Doc("Who asked.")]
    layer_id: Annotated[str, Doc("The layer's catalogue record, uuid.")]
    state: Annotated[str, Doc("open, settled, confirmed, forgotten, or cancelled before it came.")]
    accepted_at_ms: Annotated[int, Doc("When the registrar first saw it, ms since 1970 UTC.")]
    verdict: Annotated[str, Doc("Accepted, Joined, Repeated, Cached, Refused or Cancelled.")]
    http_status: Annotated[int, Doc("Status that the API answers with.")]
    reason: Annotated[str | None, Doc("Why it was refused or failed.")] = None
    export_id: Annotated[str | None, Doc("The export it belongs to; null when refused.")] = None
    attempt: Annotated[str, Doc("The attempt that settled it; empty while open.")] = ""
    repeats: Annotated[str | None, Doc("The earlier request that answers for it.")] = None
    repeat_key: Annotated[
        str | None, Doc("SHA-256 over client, export and bbox; null unless asked over HTTP.")
    ] = None
    settled_at_ms: Annotated[int, Doc("When it was settled, ms since 1970 UTC; 0: open.")] = 0
    expires_at_ms: Annotated[int, Doc("Expiry told in the result, ms since 1970 UTC; 0: none.")] = 0
    told_at_ms: Annotated[
        int, Doc("When its result was last told, or confirmed, ms since 1970 UTC; 0: never.")
    ] = 0
    aborted: Annotated[bool, Doc("Its caller has cancelled it.")] = False
    deleted: Annotated[bool, Doc("Its caller wants the package no more: it is not offered.")] = (
        False
    )
    retry_of: Annotated[str | None, Doc("The failed request that this one tries again.")] = None
    pinned: Annotated[bool, Doc("Its caller keeps the package beyond its expiry.")] = False


@dataclass(frozen=True, slots=True)
class BodyRow:
    """Table `bodies`: the bulky part of a request, kept until some seconds after its result.

    Of a request whose package is offered it is kept as long as the row, without a large area.
    """

    bbox_json: Annotated[str | None, Doc("The area as the caller sent it, JSON text.")]
    target_resolution_deg: Annotated[float | None, Doc("As asked, degrees per pixel.")]
    callback_urls: Annotated[tuple[str, ...], Doc("Webhook addresses.")]
    description: Annotated[str | None, Doc("Free text of the caller.")] = None
    priority: Annotated[int, Doc("0 to 999999999; larger is more urgent.")] = 1000
    on_error: Annotated[str, Doc("fail or skip: what an unreadable tile does.")] = "fail"
    min_zoom: Annotated[int, Doc("Coarsest zoom wanted.")] = 0
    max_zoom: Annotated[int, Doc("Finest zoom wanted.")] = 0
    area_omitted: Annotated[bool, Doc("The area was too large to be kept: bbox_json lacks it.")] = (
        False
    )


@dataclass(frozen=True, slots=True)
class Removal:
    """An attempt that is over and whose files have to go."""

    attempt: Annotated[str, Doc("The run of the export.")]
    due_at_ms: Annotated[int, Doc("When its removal is ordered next, ms since 1970 UTC.")]
    again: Annotated[bool, Doc("Once more after a while: a late writer may leave something.")]
    ordered: Annotated[bool, Doc("Whether it has been ordered; else no answer counts.")] = False


@dataclass(frozen=True, slots=True)
class ExportRow:
    """Table `exports`: one export, kept until its files are removed."""

    state: Annotated[str, Doc("waiting, running, completed, failed, cancelled or expired.")]
    attempt: Annotated[str, Doc("The run it is in, or the last one; empty before the first.")]
    layer_id: Annotated[str, Doc("The layer's catalogue record, uuid.")]
    priority: Annotated[int, Doc("The highest priority of its requests.")]
    queued_at_ms: Annotated[int, Doc("When it began to wait, ms since 1970 UTC.")]
    tile_count: Annotated[int, Doc("Tiles of the export over all zooms, count.")]
    estimated_bytes: Annotated[int, Doc("Size expected, bytes.")]
    started_at_ms: Annotated[int, Doc("When the attempt started, ms since 1970 UTC.")] = 0
    beat_at_ms: Annotated[int, Doc("When the planner last reported, ms since 1970 UTC.")] = 0
    tiles_done: Annotated[int, Doc("Tiles that are done by the last beat, count.")] = 0
    tiles_missing: Annotated[int, Doc("Missing tiles among them, count.")] = 0
    bytes_written: Annotated[int, Doc("Bytes written by the last beat, bytes.")] = 0
    tiles_per_s: Annotated[float, Doc("Rate between the last two beats, tiles per second.")] = 0.0
    finished_at_ms: Annotated[int, Doc("When it ended, ms since 1970 UTC; 0: not yet.")] = 0
    expires_at_ms: Annotated[int, Doc("When the package may go, ms since 1970 UTC; 0: none.")] = 0
    facts: Annotated[PackageFacts | None, Doc("The finished package.")] = None
    reason: Annotated[str | None, Doc("Why it failed.")] = None
    changes: Annotated[tuple[ProgressChange, ...], Doc("The last 20 changes, oldest first.")] = ()
    removals: Annotated[tuple[Removal, ...], Doc("Attempts whose files have to go.")] = ()
    tiles_per_range: Annotated[int, Doc("Of the attempt; one that continues it has the same.")] = 0
    may_continue: Annotated[bool, Doc("A failed attempt whose ranges a later one may take.")] = (
        False
    )
    continues: Annotated[str | None, Doc("The failed attempt that this one goes on with.")] = None
    client: Annotated[str, Doc("Whose turn it takes: the client of its first request.")] = ""
    pinned: Annotated[bool, Doc("Kept beyond its expiry.")] = False
    warned_of_ms: Annotated[
        int, Doc("The expiry that its requests were warned of, ms since 1970 UTC; 0: none.")
    ] = 0
    warnings: Annotated[int, Doc("How often they were warned of that expiry, count.")] = 0
    phase: Annotated[str, Doc("What runs now: writing or assembling; empty: nothing.")] = ""
    min_zoom: Annotated[int, Doc("Coarsest zoom of the export.")] = 0
    max_zoom: Annotated[int, Doc("Finest zoom of the export.")] = 0


@dataclass(frozen=True, slots=True)
class AreaRow:
    """Table `areas`: what will be made, written once, kept until the attempt ends."""

    package: Annotated[
        PackagePlan, Doc("What will be made; {attempt} in package_name is filled in at the start.")
    ]
    source_json: Annotated[str, Doc("Where the tiles are, JSON.")]
    mean_tile_bytes: Annotated[int, Doc("Mean tile size expected, bytes.")]


@dataclass(frozen=True, slots=True)
class ZoomMean:
    """What finished exports taught about one zoom of a layer."""

    zoom: Annotated[int, Doc("Tile matrix identifier.")]
    mean_bytes: Annotated[int, Doc("Mean tile size of the finished exports, bytes.")]
    tiles: Annotated[int, Doc("Tiles that it is the mean of, count; 0: a single export's.")] = 0


@dataclass(frozen=True, slots=True)
class LayerRow:
    """Table `layers`: mean tile sizes of a layer by zoom."""

    means: Annotated[tuple[ZoomMean, ...], Doc("Mean tile sizes by zoom, coarsest first.")]


@dataclass(frozen=True, slots=True)
class RangeLease:
    """A range that a worker should be writing."""

    range_number: Annotated[int, Doc("Position among the export's ranges, from 0.")]
    until_ms: Annotated[int, Doc("When the range is sent again, ms since 1970 UTC.")]
    sent: Annotated[int, Doc("How often it has been sent, count.")]
    trial: Annotated[int, Doc("How often it was unreadable, count.")]


@dataclass(frozen=True, slots=True)
class ProgressRow:
    """Table `progress`: how far the planner is with an attempt."""

    attempt: Annotated[str, Doc("The run of the export.")]
    phase: Annotated[str, Doc("adopting, writing, assembling, assembled or failed.")]
    base: Annotated[int, Doc("Every range below this number is done.")]
    done: Annotated[bytes, Doc("Bitmap of the ranges done from base on, lowest bit first.")]
    next_range: Annotated[int, Doc("The first range that has not been sent yet.")]
    leases: Annotated[tuple[RangeLease, ...], Doc("Ranges sent and not done.")]
    beat_at_ms: Annotated[int, Doc("When the last beat was sent, ms since 1970 UTC.")]
    written_by_offset: Annotated[int, Doc("Inbox offset of the record that wrote this row.")]
    tiles_done: Annotated[int, Doc("Tiles of the ranges done, count.")] = 0
    tiles_missing: Annotated[int, Doc("Missing tiles among them, count.")] = 0
    bytes_written: Annotated[int, Doc("Bytes of the tiles written, bytes.")] = 0
    task_until_ms: Annotated[
        int, Doc("Lease of the adoption or assembly, ms since 1970 UTC; 0: none.")
    ] = 0
    task_sent: Annotated[int, Doc("How often adoption or assembly was ordered, count.")] = 0
    facts: Annotated[PackageFacts | None, Doc("The finished package.")] = None
    reason: Annotated[str | None, Doc("Why it failed.")] = None
    may_continue: Annotated[bool, Doc("It failed, and its ranges may be taken over.")] = False
    missing_rounds: Annotated[int, Doc("How often ledgers lacked what was reported, count.")] = 0


@dataclass(frozen=True, slots=True)
class DeliveryTrial:
    """One call of a webhook, and what came of it."""

    at_ms: Annotated[int, Doc("When the answer came or was given up, ms since 1970 UTC.")]
    http_status: Annotated[int, Doc("Answer of the receiver; 0: none.")]
    error: Annotated[str | None, Doc("Why there was no answer.")]


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """Table `deliveries`: one webhook of one request; its key is the delivery id."""

    request_id: Annotated[str, Doc("The request whose result is delivered.")]
    url: Annotated[str, Doc("Webhook address.")]
    state: Annotated[str, Doc("pending, delivered or given-up.")]
    created_at_ms: Annotated[int, Doc("When the result stood, ms since 1970 UTC.")]
    trials: Annotated[int, Doc("Tries so far, count.")] = 0
    next_at_ms: Annotated[int, Doc("When the next try is due, ms since 1970 UTC.")] = 0
    http_status: Annotated[int, Doc("Last answer of the receiver; 0: none.")] = 0
    error: Annotated[str | None, Doc("Why the last try had no answer.")] = None
    event: Annotated[str, Doc("completed, failed or expiring.")] = "completed"
    history: Annotated[tuple[DeliveryTrial, ...], Doc("The last 20 calls, oldest first.")] = ()
    expires_at_ms: Annotated[
        int, Doc("Expiry that an expiring event tells, ms since 1970 UTC; 0: another event.")
    ] = 0
    asked_again_at_ms: Annotated[
        int, Doc("When somebody last asked to call it again, ms since 1970 UTC; 0: nobody.")
    ] = 0


PlanRow = ExportStarted
ResultRow = ExportFinished
