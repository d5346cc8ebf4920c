"""Asks for exports: large and small, by HTTP and over Kafka, new ones and the same again."""

import asyncio
import json
import random
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import aiohttp

from app.demo import DEMO_LAYER_ID
from app.domain.errors import ExportServiceError
from app.domain.records import ExportRequested
from app.domain.world_crs84_quad import resolution_deg, tile_size_deg
from app.kafka.producer import RecordProducer
from app.kafka.topics import EXPORT_REQUESTS
from tests.fault.storm.receiver import Receiver
from tests.fault.storm.witness import Witness

FINEST: Final = 5
"""Finest zoom of the demo layer."""

OPEN: Final = (6, 10)
"""Exports that are open at a time; when the service stands still, so does the load."""

LEAST_PAUSE_S: Final = 0.4
"""Between two requests: the disk must hold every package of a long storm."""

REMEMBERED: Final = 8
HTTP_TIMEOUT_S: Final = 60.0

Fate = Literal["accepted", "refused", "unknown"]


@dataclass(frozen=True, slots=True)
class Wish:
    """An area and its zooms; the same wish is the same export.

    Attributes:
        bbox: West, south, east, north in degrees; None: the whole layer.
        max_zoom: Finest zoom.
        min_zoom: Coarsest zoom.
    """

    bbox: tuple[float, float, float, float] | None
    max_zoom: int = FINEST
    min_zoom: int = 0

    @property
    def bbox_json(self) -> str | None:
        """As the service writes it back."""
        return None if self.bbox is None else json.dumps(self.bbox, separators=(",", ":"))

    @property
    def target_deg(self) -> float:
        """Resolution of the finest zoom, degrees per pixel."""
        return resolution_deg(self.max_zoom)

    @classmethod
    def random(cls, rng: random.Random) -> "Wish":
        """One in four is large, 1,500 tiles and more, and one in twenty the whole layer."""
        dice = rng.random()
        if dice < 0.05:
            return cls(None)
        if dice < 0.25:
            # On the tiles' edges, so that each is another export: 7^4 of them.
            west, south, east, north = (rng.randrange(7) * tile_size_deg(FINEST) for _ in range(4))
            return cls((-180 + west, -90 + south, 180 - east, 90 - north))
        west, south = round(rng.uniform(-180, 120), 3), round(rng.uniform(-90, 50), 3)
        east, north = west + rng.randint(1, 60), south + rng.randint(1, 40)
        max_zoom = rng.randint(2, FINEST)
        box = (west, south, round(east, 3), round(north, 3))
        return cls(box, max_zoom, rng.choice((0, 0, max_zoom)))


@dataclass(slots=True)
class Asked:
    """One request and what became of the asking.

    Attributes:
        wish: What was asked.
        by: http or kafka.
        hook: Name of its webhook; None: it has none.
        asked_s: When, monotonic seconds.
        request_id: Under which the result comes; over HTTP known only from the answer.
        fate: accepted: the service has promised a result; unknown: the answer was lost.
        note: Why it was not accepted.
    """

    wish: Wish
    by: Literal["http", "kafka"]
    hook: str | None
    asked_s: float
    request_id: str | None = None
    fate: Fate = "unknown"
    note: str = ""


@dataclass(slots=True)
class Load:
    """The callers.

    Attributes:
        url: Of the ingress.
        producer: For requests straight to Kafka.
        witness: Knows which requests have their result.
        receiver: Takes the webhooks.
        rng: Decides everything.
        asked: All requests, in order.
    """

    url: str
    producer: RecordProducer
    witness: Witness
    receiver: Receiver
    rng: random.Random
    asked: list[Asked] = field(default_factory=list)
    _recent: list[Wish] = field(default_factory=list)
    _asking: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Keep exports open until cancelled; requests that are being asked are asked to the end."""
        timeout = aiohttp.ClientTimeout(total=HTTP_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            try:
                while True:
                    if self.open_count() < self.rng.randint(*OPEN):
                        self._begin(session)
                    await asyncio.sleep(LEAST_PAUSE_S)
            finally:
                await asyncio.gather(*self._asking)

    def waiting(self) -> list[Asked]:
        """Accepted requests without a result."""
        return [
            asked
            for asked in self.asked
            if asked.fate == "accepted" and asked.request_id not in self.witness.arrived_s
        ]

    def uncalled(self) -> list[Asked]:
        """Accepted requests whose webhook was not called."""
        return [
            asked
            for asked in self.asked
            if asked.fate == "accepted" and asked.hook and asked.hook not in self.receiver.bodies
        ]

    def open_count(self) -> int:
        """Requests that are being asked, or wait for their result."""
        return len(self._asking) + len(self.waiting())

    def _begin(self, session: aiohttp.ClientSession) -> None:
        wish = Wish.random(self.rng)
        if self._recent and self.rng.random() < 0.2:
            wish = self.rng.choice(self._recent)
        self._recent = [*self._recent, wish][-REMEMBERED:]
        hook = f"h{len(self.asked)}" if self.rng.random() < 0.4 else None
        by: Literal["http", "kafka"] = "kafka" if self.rng.random() < 0.35 else "http"
        asked = Asked(wish, by, hook, time.monotonic())
        self.asked.append(asked)
        asking = self._by_kafka(asked) if by == "kafka" else self._by_http(asked, session)
        task = asyncio.create_task(asking)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _by_http(self, asked: Asked, session: aiohttp.ClientSession) -> None:
        try:
            async with session.post(f"{self.url}/create", json=self._body(asked)) as answer:
                body = await answer.json(content_type=None)
        except aiohttp.ClientConnectorError as error:
            asked.fate, asked.note = "refused", type(error).__name__
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            asked.note = type(error).__name__
        else:
            if answer.status == 200:
                asked.request_id, asked.fate = body["requestId"], "accepted"
            else:
                asked.fate, asked.note = "refused", f"{answer.status} {body}"

    def _body(self, asked: Asked) -> dict[str, Any]:
        wish = asked.wish
        body: dict[str, Any] = {
            "dbId": DEMO_LAYER_ID,
            "targetResolution": wish.target_deg,
            "minResolution": resolution_deg(wish.min_zoom),
        }
        if wish.bbox is not None:
            body["bbox"] = wish.bbox
        if asked.hook is not None:
            body["callbackURLs"] = [self.receiver.url(asked.hook)]
        return body

    async def _by_kafka(self, asked: Asked) -> None:
        wish = asked.wish
        asked.request_id = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        record = ExportRequested(
            request_id=asked.request_id,
            layer_id=DEMO_LAYER_ID,
            at_ms=time.time_ns() // 1_000_000,
            client="storm",
            bbox_json=wish.bbox_json,
            target_resolution_deg=wish.target_deg,
            min_resolution_deg=resolution_deg(wish.min_zoom),
            callback_urls=() if asked.hook is None else (self.receiver.url(asked.hook),),
        )
        try:
            await self.producer.send(EXPORT_REQUESTS, asked.request_id, record)
            asked.fate = "accepted"
        except ExportServiceError as error:
            asked.note = str(error)
