"""Decide what to say of a record at which the registrar's process died again and again."""

from collections.abc import Sequence

from app.domain.decision import Record, Send
from app.domain.records import ExportAssembled, ExportFailed, RequestAdmitted, RequestRefused
from app.domain.topic_names import EXPORT_REGISTRY


def give_up(now_ms: int, record: Record | None, reason: str) -> Sequence[Send]:
    """Let a request be refused, or an export fail, so that whoever waits hears of it.

    Running twice is harmless: the registrar knows a refusal and a failure again.

    Args:
        now_ms: Wall clock, ms since 1970 UTC: a record may be given up because it is old.
        record: What was given up; None: it cannot be read.
        reason: Why, for people.
    """
    if isinstance(record, RequestAdmitted | RequestRefused):
        if getattr(record, "reason", None) == reason:
            return ()  # the refusal itself cannot be handled
        refused = RequestRefused(
            request_id=record.request_id,
            at_ms=now_ms,
            request_digest=record.request_digest,
            client=record.client,
            layer_id=record.layer_id,
            bbox_json=record.bbox_json,
            target_resolution_deg=record.target_resolution_deg,
            callback_urls=record.callback_urls,
            http_status=500,
            reason=reason,
        )
        return (Send(EXPORT_REGISTRY, record.request_id, refused),)
    if isinstance(record, ExportAssembled):
        failed = ExportFailed(record.export_id, record.attempt, now_ms, reason)
        return (Send(EXPORT_REGISTRY, record.export_id, failed),)
    return ()
