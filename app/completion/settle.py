"""Decide what a settled request's result is, and where and when it is delivered."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

from app.domain.decision import NOTHING, Decision, Send, Store
from app.domain.records import (
    DeliveryTried,
    ExportFinished,
    RedeliveryAsked,
    RequestConfirmed,
    RequestSettled,
    TilesTold,
)
from app.domain.rows import DeliveryRow
from app.domain.topic_names import EXPORT_REGISTRY

PENDING, DELIVERED, GIVEN_UP = "pending", "delivered", "given-up"

GONE = 410
"""The receiver does not want to be called again."""

GIVE_UP_MS = 72 * 3600 * 1000
"""A webhook that has not answered for so long is given up, ms."""

DAY_MS = 24 * 3600 * 1000

KEEP_RESULT_MS = 7 * DAY_MS
"""How long a result outlives what it offers, ms: consumers come late."""

KEEP_FAILURE_MS = 30 * DAY_MS
"""How long a failure is told, before that, ms."""

FIRST_WAIT_MS = 1_000
LONGEST_WAIT_MS = 3600 * 1000

ResultOf = Callable[[str], ExportFinished | None]
DeliveryOf = Callable[[str], DeliveryRow | None]


def settle(result_of: ResultOf, record: RequestSettled) -> Decision:
    """Store the result of a request once; whoever says it again is only told that it stands.

    The deliveries come before the result, whose row marks a replay: a delivery without a
    result is not due, so dying between the two calls nobody.
    """
    confirmed = Send(
        EXPORT_REGISTRY, record.request_id, RequestConfirmed(record.request_id, record.at_ms)
    )
    if result_of(record.request_id) is not None:
        return Decision(sends=(confirmed,))
    deliveries = (_first_delivery(record.request_id, url, record.at_ms) for url in _urls(record))
    result = Store("results", record.request_id, finished(record))
    return Decision(stores=(*deliveries, result), sends=(confirmed,))


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


def iso_time(at_ms: int) -> str:
    """Write a time as ISO 8601 UTC with milliseconds.

    >>> iso_time(1_700_000_000_123)
    '2023-11-14T22:13:20.123Z'
    """
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ms_of(iso: str) -> int:
    """Read what `iso_time` wrote, ms since 1970 UTC.

    >>> ms_of("2023-11-14T22:13:20.123Z")
    1700000000123
    """
    return round(datetime.fromisoformat(iso).timestamp() * 1000)


def forget_at_ms(result: ExportFinished) -> int:
    """Until when a result is remembered: 7 days beyond its package, ms since 1970 UTC."""
    ended_ms = ms_of(result.finished_at) + KEEP_FAILURE_MS
    offered_ms = ms_of(result.expiration_time) if result.expiration_time else ended_ms
    return offered_ms + KEEP_RESULT_MS


def tried(delivery_of: DeliveryOf, record: DeliveryTried) -> Decision:
    """Note what came of a call: done, to be tried again later, or given up after 72 h.

    The number of the try travels with the record, so that a replay counts nothing twice.
    """
    row = delivery_of(record.delivery_id)
    if row is None or row.state != PENDING or record.trial <= row.trials:
        return NOTHING
    row = replace(row, trials=record.trial, http_status=record.http_status, error=record.error)
    if 200 <= record.http_status < 300:
        row = replace(row, state=DELIVERED, next_at_ms=0)
    elif record.http_status == GONE or record.at_ms - row.created_at_ms >= GIVE_UP_MS:
        row = replace(row, state=GIVEN_UP, next_at_ms=0)
    else:
        row = replace(row, next_at_ms=record.at_ms + wait_ms(record.delivery_id, record.trial))
    return Decision(stores=(Store("deliveries", record.delivery_id, row),))


def wait_ms(delivery_id: str, trial: int) -> int:
    """Wait before the next try, ms: doubled each time up to an hour, spread by a quarter.

    The spread comes from the delivery's id, so that it is the same however often it is asked.
    """
    longest = min(FIRST_WAIT_MS << min(trial - 1, 20), LONGEST_WAIT_MS)
    spread = int(sha256(f"{delivery_id}/{trial}".encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return round(longest * (0.75 + 0.5 * spread))


def ask_redelivery(delivery_of: DeliveryOf, record: RedeliveryAsked) -> Decision:
    """Deliver a result to one more address; an address that is known already is not called."""
    store = _first_delivery(record.request_id, record.url, record.at_ms)
    if delivery_of(store.key) is not None:
        return NOTHING
    return Decision(stores=(store,))


def delivery_id(request_id: str, url: str) -> str:
    """Name a delivery: the same request and address are the same delivery, whoever asks."""
    return sha256(f"{request_id}\0{url}".encode()).hexdigest()[:32]


def _urls(record: RequestSettled) -> tuple[str, ...]:
    return tuple(dict.fromkeys(record.callback_urls))


def _first_delivery(request_id: str, url: str, at_ms: int) -> Store:
    row = DeliveryRow(
        request_id=request_id, url=url, state=PENDING, created_at_ms=at_ms, next_at_ms=at_ms
    )
    return Store("deliveries", delivery_id(request_id, url), row)
