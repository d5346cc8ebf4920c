"""An export as the API tells it to one caller: made from the view, for status, list and events."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from app.domain.records import ExportFinished, ExportProgress, ExportRequested
from app.domain.result import result_body
from app.ingress.bbox_memory import bounds_of
from app.ingress.view import LIVE, IngressView, RequestSeen, TaskStatus


def export_body(
    view: IngressView, request_id: str, *, now_ms: int, whole: bool
) -> dict[str, Any] | None:
    """Tell everything that is known of a request and its export.

    Args:
        view: What registrar and completion said.
        request_id: A request that does not repeat another one.
        now_ms: The time now, ms since 1970 UTC.
        whole: With area, history and result; else as lists and events tell it, with the links.

    Returns:
        The model `Export` or `ExportListed`, ready for JSON; None: the registrar has not spoken
        of it.
    """
    seen = view.verdict(request_id)
    status = view.task_status(request_id, now_ms=now_ms)
    if seen is None or status is None:
        return None
    export, result = view.export(seen.export_id), view.result(request_id)
    own = result if result is not None and result.success else None
    body = _told(seen, status) | _progress(export, result, status, now_ms)
    body["queuePosition"] = view.queue.position(seen.export_id) if status.status in LIVE else None
    body["startedAt"] = _iso(_started_ms(export))
    body["finishedAt"] = result.finished_at if result is not None else None
    body["expirationTime"] = _expiration(export, own)
    body["pinned"] = export is not None and export.pinned and own is not None
    if not whole:
        return body | _links(own)
    area = view.areas.get(request_id)
    body["bbox"] = None if area is None else orjson.loads(area)
    body["history"] = list(_history(seen, export, status, result))
    body["result"] = None if result is None else result_body(result) | {"bbox": body["bbox"]}
    return body


def accepted_body(asked: ExportRequested) -> dict[str, Any]:
    """Tell of a request that this ingress took in and of which the registrar has not spoken."""
    bounds = bounds_of(asked.bbox_json)
    return {
        "requestId": asked.request_id,
        "client": asked.client,
        "status": "Pending",
        "percentage": 0,
        "dbId": asked.layer_id,
        "bounds": None if bounds is None else list(bounds),
        "targetResolution": asked.target_resolution_deg,
        "zoom": None,
        "minZoom": None,
        "description": asked.description,
        "priority": asked.priority,
        "onError": asked.on_error,
        "acceptedAt": _iso(asked.at_ms),
        "isDuplicated": False,
        "retryOf": asked.retry_of,
        "errorReason": None,
        "exportId": None,
        **_progress(None, None, TaskStatus(0, "Pending"), asked.at_ms),
        "queuePosition": None,
        "startedAt": None,
        "finishedAt": None,
        "expirationTime": None,
        "pinned": False,
        "bbox": None if asked.bbox_json is None else orjson.loads(asked.bbox_json),
        "history": [{"at": _iso(asked.at_ms), "status": "Pending"}],
        "result": None,
    }


def _told(seen: RequestSeen, status: TaskStatus) -> dict[str, Any]:
    said = seen.said
    return {
        "requestId": said.request_id,
        "client": said.client,
        "status": status.status,
        "percentage": status.percentage,
        "dbId": said.layer_id,
        "bounds": None if seen.bounds is None else list(seen.bounds),
        "targetResolution": said.target_resolution_deg,
        "zoom": said.max_zoom,
        "minZoom": said.min_zoom,
        "description": said.description,
        "priority": said.priority,
        "onError": said.on_error,
        "acceptedAt": _iso(said.accepted_at_ms),
        "isDuplicated": said.verdict == "Joined",
        "retryOf": said.retry_of,
        "errorReason": status.reason,
        "exportId": said.export_id,
    }


def _progress(
    export: ExportProgress | None, result: ExportFinished | None, status: TaskStatus, now_ms: int
) -> dict[str, Any]:
    """Counts, rate and what is left; a result's counts are the final ones."""
    expected = export.tiles_expected if export is not None else 0
    missing = export.tiles_missing if export is not None else 0
    written = export.tiles_done - missing if export is not None else 0
    failed = 0
    if result is not None and result.success:
        expected, written = result.tiles.expected, result.tiles.written
        # A result counts unreadable tiles as missing, which the export's own record does not.
        missing = min(missing, result.tiles.missing) if export else result.tiles.missing
        failed = result.tiles.missing - missing
    is_live = status.status in LIVE and export is not None
    return {
        "tiles": {"expected": expected, "written": written, "missing": missing, "failed": failed},
        "bytes": {
            "written": export.bytes_written if export is not None else 0,
            "estimated": export.estimated_bytes if export is not None else 0,
        },
        "tilesPerSecond": export.tiles_per_s if is_live and export is not None else 0.0,
        "etaSeconds": eta_s(export, now_ms) if is_live else None,
        "phase": export.phase if is_live and export is not None else "",
        "attempt": export.attempt if export is not None and export.attempt else None,
    }


def eta_s(export: ExportProgress | None, now_ms: int) -> int | None:
    """Guess how long the tiles of a running export still take, seconds.

    By the rate between its last two beats, else by its mean rate since it started.

    Returns:
        None: it does not run, all its tiles are there, or it has not done any yet.
    """
    if export is None or export.state != "In-Progress":
        return None
    left = export.tiles_expected - export.tiles_done
    rate = export.tiles_per_s
    if rate <= 0 and export.started_at_ms:
        rate = 1000 * export.tiles_done / max(1, now_ms - export.started_at_ms)
    return int(left / rate) + 1 if left > 0 and rate > 0 else None


def _started_ms(export: ExportProgress | None) -> int:
    if export is None:
        return 0
    started = (change.at_ms for change in export.changes if change.state == "In-Progress")
    return export.started_at_ms or next(started, 0)


def _expiration(export: ExportProgress | None, own: ExportFinished | None) -> str | None:
    """When the package may go: the export's record knows of extensions, the result does not."""
    if own is None:
        return None
    if export is not None and export.expires_at_ms and f"/{export.attempt}/" in own.file_uri:
        extended: str = _iso(export.expires_at_ms)
        return extended
    return own.expiration_time


def _links(own: ExportFinished | None) -> dict[str, Any]:
    return {
        "fileUri": own.file_uri if own is not None else None,
        "metadataUri": own.metadata_uri if own is not None else None,
        "fileSize": own.file_bytes if own is not None else None,
        "packageName": own.package_name if own is not None else None,
    }


def _history(
    seen: RequestSeen,
    export: ExportProgress | None,
    status: TaskStatus,
    result: ExportFinished | None,
) -> Iterator[dict[str, Any]]:
    """Changes of status with times, oldest first; a request that joined sees what came after."""
    accepted_ms = seen.said.accepted_at_ms
    changes = export.changes if export is not None else ()
    before = [change.state for change in changes if change.at_ms <= accepted_ms]
    told = before[-1] if before and before[-1] in LIVE else "Pending"
    yield {"at": _iso(accepted_ms), "status": told}
    ended_at = result.finished_at if result is not None else None
    for change in changes:
        # The end of this request is told by its own result, which others need not share.
        if change.at_ms <= accepted_ms or change.state not in LIVE or change.state == told:
            continue
        at = _iso(change.at_ms)
        if ended_at is None or at <= ended_at:
            told = change.state
            yield {"at": at, "status": told}
    if result is not None:
        yield {"at": result.finished_at, "status": result.status}
    if status.status == "Expired":
        expired = [change.at_ms for change in changes if change.state == "Expired"]
        if expired:
            yield {"at": _iso(expired[-1]), "status": "Expired"}


def _iso(at_ms: int) -> Any:
    """ISO 8601 UTC with milliseconds; None for 0: not yet."""
    if not at_ms:
        return None
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
