"""Decide what a request may not ask for, before any work is done."""

from dataclasses import dataclass
from http import HTTPStatus

from app.domain.client_limits import (
    REFUSED_FOR_NOW,
    too_large,
    too_many_exports,
    too_many_requests,
)
from app.domain.records import RequestAdmitted
from app.domain.space import (
    BEAT_MARGIN_BYTES,
    UNKNOWN_TILE_BYTES,
    available_bytes,
    estimate_bytes,
    reservation_bytes,
)
from app.registrar.rules import Moment, RegistrarRules
from app.registrar.state import CANCELLED, OPEN, RegistrarState


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused, for people, and what the API answers with."""

    http_status: int
    reason: str


def refuse_request(
    state: RegistrarState, rules: RegistrarRules, record: RequestAdmitted, moment: Moment
) -> Refusal | None:
    """Refuse what a client may not ask for at all now, whatever becomes of it.

    How many requests a client sends over HTTP the ingress counts, before it accepts one; what it
    has accepted may come here in a burst, after somebody was away.
    """
    wrong = _wrong_retry(state, record)
    if wrong is not None:
        return Refusal(HTTPStatus.BAD_REQUEST, wrong)
    if record.via_http:
        return None
    count = state.recent.count(record.client, moment.now_ms, besides=record.request_id)
    too_many = too_many_requests(rules.limits, record.client, count)
    return None if too_many is None else Refusal(HTTPStatus.TOO_MANY_REQUESTS, too_many)


def refuse_new_export(
    state: RegistrarState, rules: RegistrarRules, record: RequestAdmitted
) -> Refusal | None:
    """Refuse to begin an export that is one too many, too large, or does not fit."""
    live_count = state.live_by_client[record.client]
    too_many = too_many_exports(rules.limits, record.client, live_count)
    if too_many is not None:
        return Refusal(HTTPStatus.TOO_MANY_REQUESTS, too_many)
    large = too_large(rules.limits, estimated_bytes(state, record))
    if large is not None:
        return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, large)
    lacking = _lacking_space(state, record)
    return None if lacking is None else Refusal(HTTPStatus.INSUFFICIENT_STORAGE, lacking)


def estimated_bytes(state: RegistrarState, record: RequestAdmitted) -> int:
    """Size of an export by what is known of its layer, bytes."""
    otherwise = record.mean_tile_bytes or UNKNOWN_TILE_BYTES
    zooms = (zoom_tiles.zoom for zoom_tiles in record.tiles_by_zoom)
    means = {zoom: state.mean_bytes(record.layer_id, zoom, otherwise) for zoom in zooms}
    return estimate_bytes(record.tiles_by_zoom, means)


def _lacking_space(state: RegistrarState, record: RequestAdmitted) -> str | None:
    """Say why the export does not fit beside what live exports have reserved; None: it fits."""
    needed = reservation_bytes(estimated_bytes(state, record))
    reserved = state.reserved_bytes()
    if needed <= available_bytes(record.free_bytes, reserved):
        return None
    return (
        f"not enough space: this export needs about {needed} bytes, "
        f"{record.free_bytes} bytes are free, of which {reserved} bytes are reserved by running "
        f"exports and {BEAT_MARGIN_BYTES} bytes are always kept free"
    )


def _wrong_retry(state: RegistrarState, record: RequestAdmitted) -> str | None:
    """Say why a request cannot try again the one that it names (rule 16); None: it can."""
    old_id = record.retry_of
    if old_id is None:
        return None
    old = state.requests.get(old_id)
    if old is None or old.state == CANCELLED or old.client != record.client:
        return f"retryOf is {old_id:.100}; there is no such request"
    if old.state == OPEN or state.is_offered(old):
        told = "still open" if old.state == OPEN else "Completed"
        return f"retryOf is {old_id}, which is {told}; it must have ended otherwise"
    if old.verdict == "Refused" and old.http_status not in REFUSED_FOR_NOW:
        return f"retryOf is {old_id}, which was refused: {old.reason}; send a new request"
    return None
