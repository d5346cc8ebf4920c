"""Find out what a request means: its layer, its tiles, the space there is, the packages there are.

All waiting of the pipeline's head happens here, with deadlines, so that nobody behind waits.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import orjson
import structlog

from app.domain.callback_target import refused_url
from app.domain.decision import Decision, Send
from app.domain.errors import (
    CatalogueUnavailable,
    InvalidRequest,
    StorageUnavailable,
    TemporaryFailure,
    UnknownLayer,
)
from app.domain.ingress_seal import IngressSeal, Request
from app.domain.judgement import (
    MAX_REQUEST_ID_CHARS,
    Judgement,
    RequestLimits,
    caller_digest,
    check_plain_fields,
    judge,
)
from app.domain.layer_record import LayerRecord
from app.domain.record_fields import ANONYMOUS_CLIENT, MAX_CLIENT_CHARS
from app.domain.records import (
    ExportCommanded,
    ExportRequested,
    RequestAdmitted,
    RequestRefused,
)
from app.domain.topic_names import EXPORT_REGISTRY, EXPORT_REQUESTS

log = structlog.get_logger(__name__)

STORE_TIMEOUT_S = 2.0
"""A disk that does not answer for so long is hanging; the record goes to the tail."""

FAIL_FAST_MS = 5_000
"""After a failed look-up the same layer is not asked for again for so long, ms."""

GIVE_UP_MS = 3600 * 1000
"""A request that could not be judged for so long is refused with the reason, ms."""

TAIL_PAUSE_S = 0.25
"""Pause before a record goes to the tail, so that an outage does not become a spin."""

MAX_TOLD_ID_CHARS = 1000
"""A result is named for its request; a longer id can be no key."""

MAX_TOLD_CHARS = 200
"""Of a text that a refusal echoes."""

UNTRUSTED_CLIENT = "(kafka)"
"""Whoever writes records past the ingress, where their word on who they are does not count."""

MAX_ARGUMENT_CHARS = 2_048
"""The longest argument of a command is a webhook's address."""

MAX_BBOX_CHARS = 1_000_000
"""As large as a whole body over HTTP may be; 20,000 vertices need 0.8 million."""


class Catalogue(Protocol):
    """Where layer records come from."""

    async def find(self, layer_id: str) -> Mapping[str, Any] | None:
        """The record of a layer; None: there is none. Raises CatalogueUnavailable."""


class Store(Protocol):
    """The artifact store, as far as admission looks at it; blocking calls."""

    def free_bytes(self) -> int:
        """Free space, bytes."""

    def finished_attempts(self, export_id: str) -> Sequence[str]:
        """Attempts of an export whose package stands whole."""


@dataclass(slots=True)
class Admission:
    """Judges requests one by one; several run side by side.

    Attributes:
        catalogue: Where layer records come from; it keeps a deadline.
        store: Where packages are.
        limits: How much one request may ask for.
        now_ms: Wall clock, ms since 1970 UTC.
        seal: Tells records of the ingress; all others are one client's then, who is no
            administrator. None: every record says who sent it.
    """

    catalogue: Catalogue
    store: Store
    limits: RequestLimits
    now_ms: Callable[[], int]
    seal: IngressSeal | None = None
    _failed_until_ms: dict[str, int] = field(default_factory=dict)

    async def admit(self, record: ExportRequested) -> Decision:
        """Judge one request and tell the registrar.

        Running twice is harmless: the registrar knows the request by its id and digest. A
        request that cannot be judged now goes to the tail, so that it holds up no other.
        """
        record = self._believed(record)
        try:
            return await self._judged(record)
        except InvalidRequest as error:
            return self.refused(record, int(error.http_status), str(error))
        except TemporaryFailure as error:
            return await self._put_back(record, error)

    async def command(self, record: ExportCommanded) -> Decision:
        """Hand a caller's command to the registrar, which alone decides.

        Running twice is harmless: so is every command.
        """
        if not 0 < len(record.request_id) <= MAX_REQUEST_ID_CHARS:
            return Decision(
                dead_letter=f"request_id has {len(record.request_id)} characters; "
                f"it must have 1 to {MAX_REQUEST_ID_CHARS}"
            )
        for name, text, longest in (
            ("client", record.client, MAX_CLIENT_CHARS),
            ("command", record.command, MAX_TOLD_CHARS),
            ("argument", record.argument or "", MAX_ARGUMENT_CHARS),
        ):
            if len(text) > longest:
                reason = f"{name} of a command has {len(text)} characters, more than {longest}"
                return Decision(dead_letter=reason)
        believed = self._believed(record)
        if believed.client == UNTRUSTED_CLIENT:
            believed = replace(believed, by_administrator=False)
        # A client's clock must not become the registrar's.
        stamped = replace(believed, at_ms=self.now_ms(), seal=None)
        return Decision(sends=(Send(EXPORT_REGISTRY, record.request_id, stamped),))

    def _believed(self, record: Request) -> Request:
        """A record with the client that it counts as; what is put back says the same again."""
        if self.seal is not None and not self.seal.holds(record):
            return replace(record, client=UNTRUSTED_CLIENT, via_http=False)
        return replace(record, client=record.client or ANONYMOUS_CLIENT)

    async def _judged(self, record: ExportRequested) -> Decision:
        if not 0 < len(record.request_id) <= MAX_REQUEST_ID_CHARS:
            raise InvalidRequest(
                f"requestId has {len(record.request_id)} characters; "
                f"it must have 1 to {MAX_REQUEST_ID_CHARS}"
            )
        if len(record.retry_of or "") > MAX_REQUEST_ID_CHARS:
            raise InvalidRequest(
                f"retryOf has {len(record.retry_of or '')} characters; "
                f"it must have at most {MAX_REQUEST_ID_CHARS}"
            )
        if not _can_be_told(record.bbox_json):
            raise InvalidRequest(
                f"bbox is {record.bbox_json:.80}; it must be JSON of at most {MAX_BBOX_CHARS} "
                "characters, with finite numbers"
            )
        # As the ingress does: a wrong field is told as such for unknown layers, too.
        check_plain_fields(record, self.limits)
        layer = await self._layer(record.layer_id)
        judgement = await asyncio.to_thread(judge, record, layer.fields, self.limits)
        looked_at_ms = self.now_ms()
        free_bytes, packages = await self._look(judgement.export_id)
        admitted = _admitted(record, layer, judgement)
        admitted = replace(
            admitted,
            at_ms=self.now_ms(),
            free_bytes=free_bytes,
            packages=tuple(packages),
            looked_at_ms=looked_at_ms,
        )
        log.info("request_admitted", request_id=record.request_id, export_id=judgement.export_id)
        return Decision(sends=(Send(EXPORT_REGISTRY, record.request_id, admitted),))

    async def _layer(self, layer_id: str) -> LayerRecord:
        now_ms = self.now_ms()
        if self._failed_until_ms.get(layer_id, 0) > now_ms:
            raise CatalogueUnavailable(f"the catalogue did not answer for layer {layer_id}")
        try:
            fields = await self.catalogue.find(layer_id)
        except CatalogueUnavailable:
            self._forget_old_failures(now_ms)
            self._failed_until_ms[layer_id] = now_ms + FAIL_FAST_MS
            raise
        if fields is None:
            raise UnknownLayer(layer_id)
        layer = LayerRecord(fields)
        _ = layer.product_id  # names the tile table: refuse here what SQLite would refuse later
        return layer

    def _forget_old_failures(self, now_ms: int) -> None:
        self._failed_until_ms = {
            layer_id: until_ms
            for layer_id, until_ms in self._failed_until_ms.items()
            if until_ms > now_ms
        }

    async def _look(self, export_id: str) -> tuple[int, Sequence[str]]:
        """Free space and finished packages, from the disk."""

        def look() -> tuple[int, Sequence[str]]:
            return self.store.free_bytes(), self.store.finished_attempts(export_id)

        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                return await asyncio.to_thread(look)
        except (TimeoutError, OSError) as error:
            raise StorageUnavailable(f"the artifact store did not answer: {error}") from error

    async def _put_back(self, record: ExportRequested, error: TemporaryFailure) -> Decision:
        """Send a request to the tail; refuse it when that has gone on for an hour."""
        now_ms = self.now_ms()
        first_tried_at_ms = record.first_tried_at_ms or now_ms
        if now_ms - first_tried_at_ms >= GIVE_UP_MS:
            return self.refused(record, 503, str(error), dead_letter=False)
        await asyncio.sleep(TAIL_PAUSE_S)
        again = replace(record, tries=record.tries + 1, first_tried_at_ms=first_tried_at_ms)
        log.warning(
            "request_put_back", request_id=record.request_id, tries=again.tries, error=str(error)
        )
        return Decision(sends=(Send(EXPORT_REQUESTS, record.request_id, again),))

    def refused(
        self, record: ExportRequested, http_status: int, reason: str, *, dead_letter: bool = True
    ) -> Decision:
        """Tell the registrar that a request can never succeed, and why.

        Whatever a producer wrote, the result must fit its topics and be told as JSON. A request
        whose very id is beyond telling has only a dead letter.
        """
        if len(record.request_id) > MAX_TOLD_ID_CHARS:
            return Decision(dead_letter=reason)
        refused = RequestRefused(
            request_id=record.request_id,
            at_ms=self.now_ms(),
            request_digest=caller_digest(record),
            client=self._believed(record).client[:MAX_CLIENT_CHARS],
            layer_id=record.layer_id[:MAX_TOLD_CHARS],
            bbox_json=record.bbox_json if _can_be_told(record.bbox_json) else None,
            target_resolution_deg=_told_number(record.target_resolution_deg),
            callback_urls=_callable_urls(record, self.limits),
            http_status=http_status,
            reason=reason,
        )
        log.info("request_refused", request_id=record.request_id, reason=reason)
        return Decision(
            sends=(Send(EXPORT_REGISTRY, record.request_id, refused),),
            dead_letter=reason if dead_letter else None,
        )


def _can_be_told(bbox_json: str | None) -> bool:
    """Whether a result can echo a bbox: strict JSON, and no larger than a body over HTTP."""
    if bbox_json is None:
        return True
    if len(bbox_json) > MAX_BBOX_CHARS:
        return False
    try:
        orjson.loads(bbox_json)
    except ValueError:
        return False
    return True


def _told_number(value: float | None) -> float | None:
    """A number as JSON has it: neither infinite nor NaN."""
    return value if value is not None and math.isfinite(value) else None


def _callable_urls(record: ExportRequested, limits: RequestLimits) -> tuple[str, ...]:
    """The webhooks that may hear of the refusal: the sound ones, at most 20."""
    urls = record.callback_urls[: limits.max_callback_urls]
    return tuple(
        url
        for url in urls
        if len(url) <= limits.max_callback_url_chars
        and refused_url(url, limits.callback_networks) is None
    )


def _admitted(record: ExportRequested, layer: LayerRecord, judgement: Judgement) -> RequestAdmitted:
    return RequestAdmitted(
        request_id=record.request_id,
        at_ms=0,
        request_digest=judgement.request_digest,
        client=record.client,
        via_http=record.via_http,
        layer_id=record.layer_id,
        layer_json=layer.to_json(),
        bbox_json=record.bbox_json,
        target_resolution_deg=judgement.target_resolution_deg,
        callback_urls=record.callback_urls,
        priority=record.priority,
        description=record.description,
        on_error=record.on_error,
        format=record.format,
        export_id=judgement.export_id,
        area_wkb=judgement.area_wkb,
        areas=judgement.areas,
        min_zoom=judgement.min_zoom,
        max_zoom=judgement.max_zoom,
        tiles_by_zoom=judgement.tiles_by_zoom,
        mean_tile_bytes=layer.mean_tile_bytes,
        free_bytes=0,
        packages=(),
        looked_at_ms=0,
        retry_of=record.retry_of,
    )
