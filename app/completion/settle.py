"""Decide what a settled request's result is, and until when it is remembered."""

from app.completion.deliveries import (
    DeliveryOf,
    ResultOf,
    delivery_id,
    event_of,
    first_delivery,
)
from app.domain.decision import Decision, Send, Store
from app.domain.iso_time import iso_time, ms_of
from app.domain.records import ExportFinished, RequestConfirmed, RequestSettled, TilesTold
from app.domain.topic_names import EXPORT_REGISTRY

DAY_MS = 24 * 3600 * 1000

KEEP_RESULT_MS = 7 * DAY_MS
"""How long a result outlives what it offers, ms: consumers come late."""

KEEP_FAILURE_MS = 30 * DAY_MS
"""How long a failure is told, before that, ms."""


KEEP_AT_MOST_MS = 5 * 365 * DAY_MS
"""How long a result waits for the registrar to forget its request, ms: rows that a dying broker
tore apart must not stay for ever."""


def settle(delivery_of: DeliveryOf, result_of: ResultOf, record: RequestSettled) -> Decision:
    """Store the result of a request once; whoever says it again is only told that it stands.

    The deliveries come before the result, whose row marks a replay: a delivery without a
    result is not due, so dying between the two calls nobody. An address that is named with a
    result that stands gets it too: a broker that died may have forgotten its delivery, or the
    end of the export, which was made again then, and others joined it.
    """
    confirmed = Send(
        EXPORT_REGISTRY, record.request_id, RequestConfirmed(record.request_id, record.at_ms)
    )
    standing = result_of(record.request_id)
    result = standing or finished(record)
    stores = [
        first_delivery(record.request_id, url, record.at_ms, event_of(result))
        for url in dict.fromkeys(record.callback_urls)
        if standing is None or delivery_of(delivery_id(record.request_id, url)) is None
    ]
    if standing is None:
        stores.append(Store("results", record.request_id, result))
    return Decision(tuple(stores), (confirmed,))


def finished(record: RequestSettled) -> ExportFinished:
    """The public result, from the settlement alone: no clock, no disk."""
    facts = record.facts
    return ExportFinished(
        request_id=record.request_id,
        layer_id=record.layer_id,
        success=facts is not None,
        status=record.status,
        error_reason=record.reason,
        bbox_json=record.bbox_json,
        target_resolution_deg=record.target_resolution_deg,
        package_name=facts.package_name if facts is not None else "",
        file_uri=record.file_uri,
        metadata_uri=record.metadata_uri,
        file_bytes=facts.file_bytes if facts is not None else 0,
        sha256=facts.sha256 if facts is not None else "",
        tiles=TilesTold(facts.expected, facts.written, facts.missing)
        if facts is not None
        else TilesTold(0, 0, 0),
        expiration_time=iso_time(record.expires_at_ms) if facts is not None else "",
        finished_at=iso_time(record.finished_at_ms),
    )


def drop_at_ms(result: ExportFinished) -> int:
    """When a result is forgotten without a word of the registrar, ms since 1970 UTC.

    A package may be kept longer than its result says, which the registrar alone knows.
    """
    return forget_at_ms(result) + (KEEP_AT_MOST_MS if result.success else 0)


def forget_at_ms(result: ExportFinished) -> int:
    """Until when a result is remembered at least: 7 days beyond its package, ms since 1970 UTC."""
    ended_ms = ms_of(result.finished_at) + KEEP_FAILURE_MS
    offered_ms = ms_of(result.expiration_time) if result.expiration_time else ended_ms
    return offered_ms + KEEP_RESULT_MS
