"""The records that the registrar sends: made from its rows alone, so they can be sent again."""

from dataclasses import replace

from app.domain.decision import Send
from app.domain.records import (
    ExportProgress,
    ExportStarted,
    ExportStopped,
    RemoveAttempt,
    RequestAdmitted,
    RequestProgress,
    RequestRefused,
    RequestSettled,
)
from app.domain.rows import AreaRow, BodyRow, ExportRow, RequestRow
from app.domain.topic_names import EXPORT_PLANS, EXPORT_PROGRESS, EXPORT_SETTLEMENTS
from app.registrar.rules import RegistrarRules
from app.registrar.state import CANCELLED, COMPLETED, EXPIRED, FAILED, RUNNING, WAITING

LOST = "the broker lost the records of this export; ask for it again"

STATE_TOLD = {
    WAITING: "Pending",
    RUNNING: "In-Progress",
    COMPLETED: "Completed",
    FAILED: "Failed",
    CANCELLED: "Aborted",
    EXPIRED: "Expired",
}


def body_of(record: RequestAdmitted | RequestRefused) -> BodyRow:
    """The bulk of a request as its record has it."""
    body = BodyRow(record.bbox_json, record.target_resolution_deg, record.callback_urls)
    if isinstance(record, RequestRefused):
        return body
    return replace(
        body,
        description=record.description,
        priority=record.priority,
        on_error=record.on_error,
        min_zoom=record.min_zoom,
        max_zoom=record.max_zoom,
    )


def request_progress(request_id: str, row: RequestRow, body: BodyRow, now_ms: int) -> Send:
    """What the API tells of a request."""
    record = RequestProgress(
        request_id=request_id,
        at_ms=now_ms,
        client=row.client,
        layer_id=row.layer_id,
        bbox_json=body.bbox_json,
        target_resolution_deg=body.target_resolution_deg,
        accepted_at_ms=row.accepted_at_ms,
        verdict=row.verdict,
        http_status=row.http_status,
        reason=row.reason,
        export_id=row.export_id,
        repeats=row.repeats,
        description=body.description,
        priority=body.priority,
        on_error=body.on_error,
        min_zoom=body.min_zoom,
        max_zoom=body.max_zoom,
        callback_urls=body.callback_urls,
        retry_of=row.retry_of,
        deleted=row.deleted,
        area_omitted=body.area_omitted,
        pinned=row.pinned,
    )
    return Send(EXPORT_PROGRESS, request_id, record)


def export_progress(export_id: str, row: ExportRow, now_ms: int) -> Send:
    """What the API tells of an export."""
    record = ExportProgress(
        export_id=export_id,
        at_ms=now_ms,
        attempt=row.attempt,
        state=STATE_TOLD[row.state],
        layer_id=row.layer_id,
        priority=row.priority,
        tiles_expected=row.tile_count,
        tiles_done=row.tiles_done,
        tiles_missing=row.tiles_missing,
        bytes_written=row.bytes_written,
        tiles_per_s=row.tiles_per_s,
        estimated_bytes=row.estimated_bytes,
        expires_at_ms=row.expires_at_ms,
        pinned=row.pinned,
        reason=row.reason,
        changes=row.changes,
        learned=row.facts.zooms if row.facts is not None else (),
        client=row.client,
        queued_at_ms=row.queued_at_ms,
        started_at_ms=row.started_at_ms,
        finished_at_ms=row.finished_at_ms,
        phase=row.phase if row.state == RUNNING else "",
        min_zoom=row.min_zoom,
        max_zoom=row.max_zoom,
        package_name=row.facts.package_name if row.facts is not None else "",
        file_bytes=row.facts.file_bytes if row.facts is not None else 0,
    )
    return Send(EXPORT_PROGRESS, export_id, record)


def settled(
    request_id: str,
    row: RequestRow,
    body: BodyRow,
    export: ExportRow | None,
    rules: RegistrarRules,
) -> Send:
    """The result of a request, from its rows; `export` is None when it never had one.

    It holds no clock of its own: sent again, it is the same result, byte for byte. A row whose
    package a broker has forgotten is a failure with that reason.
    """
    facts = export.facts if export is not None and row.reason is None else None
    if facts is None:
        return failure(request_id, replace(row, reason=row.reason or LOST), body)
    folder = f"{rules.base_url}/downloads/{row.export_id}/{row.attempt}"
    record = RequestSettled(
        request_id=request_id,
        at_ms=row.settled_at_ms,
        status="Completed",
        reason=None,
        layer_id=row.layer_id,
        bbox_json=body.bbox_json,
        target_resolution_deg=body.target_resolution_deg,
        callback_urls=body.callback_urls,
        file_uri=f"{folder}/{facts.package_name}",
        metadata_uri=f"{folder}/{facts.metadata_name}",
        expires_at_ms=row.expires_at_ms,
        finished_at_ms=facts.finished_at_ms,
        facts=facts,
    )
    return Send(EXPORT_SETTLEMENTS, request_id, record)


def failure(request_id: str, row: RequestRow, body: BodyRow) -> Send:
    """The result of a request that was refused, has failed or was cancelled, from its rows."""
    record = RequestSettled(
        request_id=request_id,
        at_ms=row.settled_at_ms,
        status="Aborted" if row.aborted else "Failed",
        reason=row.reason,
        layer_id=row.layer_id,
        bbox_json=body.bbox_json,
        target_resolution_deg=body.target_resolution_deg,
        callback_urls=body.callback_urls,
        file_uri="",
        metadata_uri="",
        expires_at_ms=row.expires_at_ms,
        finished_at_ms=row.settled_at_ms,
        facts=None,
    )
    return Send(EXPORT_SETTLEMENTS, request_id, record)


def started(export_id: str, row: ExportRow, area: AreaRow, now_ms: int) -> Send:
    """The order to run an attempt; the package is named for it."""
    name = area.package.package_name.format(attempt=row.attempt)
    record = ExportStarted(
        export_id=export_id,
        attempt=row.attempt,
        at_ms=now_ms,
        priority=row.priority,
        package=replace(area.package, package_name=name),
        source_json=area.source_json,
        tile_count=row.tile_count,
        mean_tile_bytes=area.mean_tile_bytes,
        continues=row.continues,
    )
    return Send(EXPORT_PLANS, export_id, record)


def stopped(export_id: str, attempt: str, now_ms: int) -> Send:
    """The order to forget an attempt."""
    return Send(EXPORT_PLANS, export_id, ExportStopped(export_id, attempt, now_ms))


def forgotten(key: str) -> Send:
    """The tombstone of a request or an export that nobody has to be told of any more."""
    return Send(EXPORT_PROGRESS, key, None)


def removal(export_id: str, attempt: str, now_ms: int) -> Send:
    """The order to remove the files of an attempt that is over."""
    return Send(EXPORT_PLANS, export_id, RemoveAttempt(export_id, attempt, now_ms))
