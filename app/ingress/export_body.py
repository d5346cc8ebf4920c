"""An export as the API tells it to one caller: made from the view, for status, list and events."""

from collections.abc import Iterator
from typing import Any

import orjson

from app.domain.iso_time import iso_time, ms_of
from app.domain.records import ExportFinished, ExportProgress, ExportRequested
from app.domain.result import result_body
from app.ingress.bbox_memory import bounds_of
from app.ingress.view import LIVE, IngressView, RequestSeen, TaskStatus, attempt_of


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
    export, result = view.run_of(request_id), view.result(request_id)
    own = result if result is not None and result.success else None
    expired_ms = _expired_ms(seen, export, own, now_ms) if status.status == "Expired" else None
    body = _told(seen, status) | _progress(seen, export, result, status, now_ms)
    body["queuePosition"] = view.queue.position(seen.export_id) if status.status in LIVE else None
    body["startedAt"] = _iso(_started_ms(export))
    body["finishedAt"] = result.finished_at if result is not None else None
    promised_ms = _promised_ms(export, own)
    is_gone = status.status == "Expired"
    body["expirationTime"] = _iso(min(promised_ms, expired_ms or 0) if is_gone else promised_ms)
    body["pinned"] = seen.said.pinned and status.status == "Completed"
    if not whole:
        return body | _links(own)
    area = view.areas.get(request_id)
    body["bbox"] = None if area is None else orjson.loads(area)
    body["history"] = list(_history(seen, export, result, expired_ms))
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
        "tiles": _counts(0, 0, 0, 0),
        "bytes": {"written": 0, "estimated": 0},
        "tilesPerSecond": 0.0,
        "etaSeconds": None,
        "phase": "",
        "attempt": None,
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
        "zoom": said.max_zoom if seen.is_admitted else None,
        "minZoom": said.min_zoom if seen.is_admitted else None,
        "description": said.description,
        "priority": said.priority if seen.is_admitted else None,
        "onError": said.on_error if seen.is_admitted else None,
        "acceptedAt": _iso(said.accepted_at_ms),
        "isDuplicated": said.verdict == "Joined",
        "retryOf": said.retry_of,
        "errorReason": status.reason,
        "exportId": said.export_id,
    }


def _progress(
    seen: RequestSeen,
    export: ExportProgress | None,
    result: ExportFinished | None,
    status: TaskStatus,
    now_ms: int,
) -> dict[str, Any]:
    """Counts, rate and what is left; a result's counts are the final ones.

    What only the export's own record said is null once that is gone.
    """
    is_live = status.status in LIVE and export is not None
    return {
        "tiles": _tiles(seen, export, result, status),
        "bytes": {
            "written": export.bytes_written if export is not None else _nothing(seen),
            "estimated": export.estimated_bytes if export is not None else _nothing(seen),
        },
        "tilesPerSecond": export.tiles_per_s if is_live and export is not None else 0.0,
        "etaSeconds": eta_s(export, now_ms) if is_live else None,
        "phase": export.phase if is_live and export is not None else "",
        "attempt": _attempt(export, result),
    }


def _tiles(
    seen: RequestSeen,
    export: ExportProgress | None,
    result: ExportFinished | None,
    status: TaskStatus,
) -> dict[str, int | None]:
    """Tiles by what became of them.

    Which tiles of those that are not there could not be read is known only of a finished package:
    until then, and when the export fails at them, none is counted as failed.
    """
    skips = seen.said.on_error == "skip"
    if result is not None and result.success:
        told = result.tiles
        # A result counts unreadable tiles as missing, which the export's own record does not.
        missing = min(export.tiles_missing, told.missing) if export is not None else told.missing
        is_known = export is not None or not skips or not told.missing
        failed = told.missing - missing if is_known else None
        return _counts(told.expected, told.written, missing, failed)
    if export is None:
        return _counts(*[_nothing(seen)] * 4)
    written = export.tiles_done - export.tiles_missing
    is_known = not skips and status.status != "Failed"
    return _counts(export.tiles_expected, written, export.tiles_missing, 0 if is_known else None)


def _counts(
    expected: int | None, written: int | None, missing: int | None, failed: int | None
) -> dict[str, int | None]:
    return {"expected": expected, "written": written, "missing": missing, "failed": failed}


def _nothing(seen: RequestSeen) -> int | None:
    """What is told without the export's record: it may be gone, or there never was an export."""
    return None if seen.export_id else 0


def _attempt(export: ExportProgress | None, result: ExportFinished | None) -> str | None:
    """The run of the export; the address of a package names it for as long as it is known."""
    if result is not None and result.success:
        return attempt_of(result)
    return export.attempt or None if export is not None else None


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


def _promised_ms(export: ExportProgress | None, own: ExportFinished | None) -> int:
    """When the package may go: the export's record knows of extensions, the result does not.

    Returns:
        In ms since 1970 UTC; 0: there never was a package.
    """
    if own is None:
        return 0
    if export is not None and export.expires_at_ms and export.attempt == attempt_of(own):
        return export.expires_at_ms
    return ms_of(own.expiration_time)


def _expired_ms(
    seen: RequestSeen, export: ExportProgress | None, own: ExportFinished | None, now_ms: int
) -> int | None:
    """When a package was offered to its caller for the last time, ms since 1970 UTC.

    Returns:
        None: sooner than was promised, and nobody knows when any more.
    """
    changes = export.changes if export is not None else ()
    ends = [change.at_ms for change in changes if change.state == "Expired"][-1:]
    if seen.said.deleted:
        ends.append(seen.said.at_ms)
    promised_ms = _promised_ms(export, own)
    if not ends and promised_ms <= now_ms:
        ends.append(promised_ms)
    return min(ends, default=None)


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
    result: ExportFinished | None,
    expired_ms: int | None,
) -> Iterator[dict[str, Any]]:
    """Changes of status with times, oldest first.

    Beginning and end are the request's own, and stay; what lies between is its export's, as long
    as that is known. A request that came later sees what came after; one that was answered with a
    package that was there already ended as it came.
    """
    accepted_ms = seen.said.accepted_at_ms
    ended_ms = max(accepted_ms, ms_of(result.finished_at)) if result is not None else None
    yield {"at": _iso(accepted_ms), "status": "Pending"}
    told = "Pending"
    changes = export.changes if export is not None else ()
    before = [change for change in changes if change.at_ms <= accepted_ms][-1:]
    for change in (*before, *(change for change in changes if change.at_ms > accepted_ms)):
        # The end of this request is told by its own result, which others need not share.
        is_later = ended_ms is not None and change.at_ms > ended_ms
        if is_later or change.state not in LIVE or change.state == told:
            continue
        told = change.state
        yield {"at": _iso(max(accepted_ms, change.at_ms)), "status": told}
    if result is not None and ended_ms is not None:
        yield {"at": _iso(ended_ms), "status": result.status}
        if expired_ms is not None:
            yield {"at": _iso(max(ended_ms, expired_ms)), "status": "Expired"}


def _iso(at_ms: int) -> str | None:
    """When it was; None for 0: not yet."""
    return iso_time(at_ms) if at_ms else None
