"""Decide which webhooks are called, when again, and when no more; each delivery is a row."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import sha256

from app.domain.decision import NOTHING, Decision, Store
from app.domain.records import DeliveryTried, ExportFinished, RedeliveryAsked, RequestExpiring
from app.domain.rows import DeliveryRow, DeliveryTrial

PENDING, DELIVERED, GIVEN_UP = "pending", "delivered", "given-up"

COMPLETED, FAILED, EXPIRING = "completed", "failed", "expiring"

GONE = 410
"""The receiver does not want to be called again."""

ASK_FOR_PATIENCE = (429, 503)
"""Answers whose Retry-After is heeded (RFC 9110, RFC 6585)."""

GIVE_UP_MS = 72 * 3600 * 1000
"""A webhook that has not answered for so long is given up, after one last try then, ms."""

FIRST_WAIT_MS = 1_000
LONGEST_WAIT_MS = 3600 * 1000

LONGEST_PATIENCE_MS = 6 * 3600 * 1000
"""A Retry-After beyond this counts as this, ms: some tries are left within the 72 h."""

KEPT_TRIALS = 20
"""Calls that a row remembers; the latest are the ones that tell what is wrong."""

ResultOf = Callable[[str], ExportFinished | None]
DeliveryOf = Callable[[str], DeliveryRow | None]


def delivery_id(request_id: str, url: str) -> str:
    """Name the delivery of a result: same request and address, same delivery, whoever asks."""
    return sha256(f"{request_id}\0{url}".encode()).hexdigest()[:32]


def warning_id(request_id: str, url: str, expires_at_ms: int) -> str:
    """Name the delivery of a warning: an expiry that was moved is warned of again."""
    return sha256(f"{request_id}\0{url}\0{EXPIRING}\0{expires_at_ms}".encode()).hexdigest()[:32]


def event_of(result: ExportFinished) -> str:
    """Name the event that a result is."""
    return COMPLETED if result.success else FAILED


def first_delivery(request_id: str, url: str, at_ms: int, event: str) -> Store:
    """The delivery of a result to one address, due at once."""
    row = DeliveryRow(
        request_id=request_id,
        url=url,
        state=PENDING,
        created_at_ms=at_ms,
        next_at_ms=at_ms,
        event=event,
    )
    return Store("deliveries", delivery_id(request_id, url), row)


def tried(delivery_of: DeliveryOf, result_of: ResultOf, record: DeliveryTried) -> Decision:
    """Note what came of a call: done, to be tried again later, or given up after 72 h.

    The number of the try travels with the record, so that a replay counts nothing twice. The
    event is put right here: an address may be asked for before there is a result to name it.
    """
    row = delivery_of(record.delivery_id)
    if row is None or row.state != PENDING or record.trial <= row.trials:
        return NOTHING
    trial = DeliveryTrial(record.at_ms, record.http_status, record.error)
    result = result_of(row.request_id)
    row = replace(
        row,
        trials=record.trial,
        http_status=record.http_status,
        error=record.error,
        history=(*row.history, trial)[-KEPT_TRIALS:],
        event=row.event if result is None or row.event == EXPIRING else event_of(result),
    )
    if 200 <= record.http_status < 300:
        row = replace(row, state=DELIVERED, next_at_ms=0)
    elif record.http_status == GONE or record.at_ms - begun_at_ms(row) >= GIVE_UP_MS:
        row = replace(row, state=GIVEN_UP, next_at_ms=0)
    else:
        last_at_ms = begun_at_ms(row) + GIVE_UP_MS
        row = replace(row, next_at_ms=min(_next_at_ms(record), last_at_ms))
    return Decision(stores=(Store("deliveries", record.delivery_id, row),))


def begun_at_ms(row: DeliveryRow) -> int:
    """From when the 72 h count, ms since 1970 UTC: somebody who asks again gets them again."""
    return max(row.created_at_ms, row.asked_again_at_ms)


def _next_at_ms(record: DeliveryTried) -> int:
    usual_ms = record.at_ms + wait_ms(record.delivery_id, record.trial)
    if record.http_status not in ASK_FOR_PATIENCE:
        return usual_ms
    return max(usual_ms, min(record.retry_at_ms, record.at_ms + LONGEST_PATIENCE_MS))


def wait_ms(delivery_id: str, trial: int) -> int:
    """Wait before the next try, ms: doubled each time up to an hour, spread by a quarter.

    The spread comes from the delivery's id, so that it is the same however often it is asked.
    """
    longest = min(FIRST_WAIT_MS << min(trial - 1, 20), LONGEST_WAIT_MS)
    spread = int(sha256(f"{delivery_id}/{trial}".encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return round(longest * (0.75 + 0.5 * spread))


def ask_redelivery(
    delivery_of: DeliveryOf, result_of: ResultOf, record: RedeliveryAsked
) -> Decision:
    """Deliver a result to one more address, or to a known one again if that is asked for.

    Asking again is done once for each time at which it was asked, so a replay calls nobody.
    """
    result = result_of(record.request_id)
    event = COMPLETED if result is None else event_of(result)
    store = first_delivery(record.request_id, record.url, record.at_ms, event)
    known = delivery_of(store.key)
    if known is None:
        return Decision(stores=(store,))
    if not record.again or record.at_ms <= begun_at_ms(known):
        return NOTHING
    row = replace(
        known, state=PENDING, next_at_ms=record.at_ms, asked_again_at_ms=record.at_ms, event=event
    )
    return Decision(stores=(Store("deliveries", store.key, row),))


def warn(known: Iterable[DeliveryRow], record: RequestExpiring) -> Decision:
    """Tell every address that knows of the result that its package goes soon.

    Running twice is harmless: the warning's id holds the expiry, and what is known stays.

    Args:
        known: All deliveries of the request.
        record: The registrar's word.
    """
    rows = list(known)
    over = {row.url for row in rows if row.http_status == GONE}
    over |= {row.url for row in rows if row.expires_at_ms == record.expires_at_ms}
    urls = dict.fromkeys(row.url for row in rows if row.url not in over)
    return Decision(stores=tuple(_first_warning(url, record) for url in urls))


def _first_warning(url: str, record: RequestExpiring) -> Store:
    row = DeliveryRow(
        request_id=record.request_id,
        url=url,
        state=PENDING,
        created_at_ms=record.at_ms,
        next_at_ms=record.at_ms,
        event=EXPIRING,
        expires_at_ms=record.expires_at_ms,
    )
    return Store("deliveries", warning_id(record.request_id, url, record.expires_at_ms), row)
