"""The result of a request as webhooks and the API tell it: one body for both."""

from typing import Any

import orjson

from app.domain.records import ExportFinished


def result_body(finished: ExportFinished) -> dict[str, Any]:
    """Write a result in the words of the API, ready for JSON.

    Args:
        finished: The record of `export-finished`.

    Returns:
        All fields of the contract's section Result. `bbox` is the JSON value that the caller
        sent, None for the layer's footprint. `errorReason` is there only when it failed.

    >>> from app.domain.records import TilesTold
    >>> failed = ExportFinished(
    ...     "r", "l", False, "Failed", "no space left", "[1,2,3,4]", None,
    ...     "", "", "", 0, "", TilesTold(0, 0, 0), "", "2026-11-23T03:30:00.000Z")
    >>> body = result_body(failed)
    >>> body["success"], body["errorReason"], body["bbox"]
    (False, 'no space left', [1, 2, 3, 4])
    """
    body: dict[str, Any] = {
        "requestId": finished.request_id,
        "status": finished.status,
        "success": finished.success,
        "dbId": finished.layer_id,
        "bbox": None if finished.bbox_json is None else orjson.loads(finished.bbox_json),
        "targetResolution": finished.target_resolution_deg,
        "packageName": finished.package_name,
        "fileUri": finished.file_uri,
        "metadataUri": finished.metadata_uri,
        "fileSize": finished.file_bytes,
        "sha256": finished.sha256,
        "tiles": {
            "expected": finished.tiles.expected,
            "written": finished.tiles.written,
            "missing": finished.tiles.missing,
        },
        "expirationTime": finished.expiration_time,
        "finishedAt": finished.finished_at,
    }
    if not finished.success:
        body["errorReason"] = finished.error_reason
    return body
