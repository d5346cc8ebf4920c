"""Decide what to say of a record at which the completion's process died again and again."""

from collections.abc import Sequence
from dataclasses import replace

from app.domain.decision import Record, Send
from app.domain.records import RequestSettled
from app.domain.topic_names import EXPORT_SETTLEMENTS


def give_up(record: Record | None, reason: str) -> Sequence[Send]:
    """Settle the request as failed, without whatever may have been too much.

    Running twice is harmless: the first result of a request stands.
    """
    if not isinstance(record, RequestSettled) or record.reason == reason:
        return ()
    bare = replace(
        record,
        status="Failed",
        reason=reason,
        bbox_json=None,
        file_uri="",
        metadata_uri="",
        expires_at_ms=0,
        facts=None,
    )
    return (Send(EXPORT_SETTLEMENTS, record.request_id, bare),)
