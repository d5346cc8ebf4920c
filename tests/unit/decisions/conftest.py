"""The coordinator's owners wired together by dictionaries, with a worker that needs no disk."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.completion.owner import Completion
from app.domain.area import area_to_wkb
from app.domain.client_limits import ClientLimits
from app.domain.decision import Decision, Send
from app.domain.inbox import InboxPosition
from app.domain.package_facts import PackageFacts, ZoomCounts, ZoomTiles
from app.domain.records import (
    AdoptShards,
    AssemblePackage,
    FilesRemoved,
    PackageAssembled,
    RangeSpan,
    RangeWritten,
    RequestAdmitted,
    ShardsAdopted,
    Tick,
    WriteRange,
)
from app.domain.requested_area import parse_bbox
from app.domain.tile_cover import TileCover
from app.planning.owner import Covers, Planner
from app.registrar.owner import Registrar
from app.registrar.rules import RegistrarRules

LAYER_ID = "11111111-1111-4111-8111-111111111111"
LAYER_JSON = (
    '{"id":"11111111-1111-4111-8111-111111111111","productId":"relief","productName":"Relief",'
    '"productVersion":"2.0","source":{"type":"folder","path":"relief"}}'
)
DAY_MS = 24 * 3600 * 1000


@dataclass
class Pipeline:
    """Registrar, planner and completion over in-memory inboxes, one partition each."""

    copies: int = 1
    now_ms: int = 1_700_000_000_000
    max_running: int = 8
    spare_running: int = 0
    range_bytes: int = 1_000_000
    sent: list[Send] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    rows: dict[tuple[str, str], Any] = field(default_factory=dict)
    limits: ClientLimits = field(default_factory=ClientLimits)
    answers: bool = True
    """Whether the worker answers its orders at once."""
    adoptable: tuple[RangeSpan, ...] = ()
    """What the shards of a failed attempt hold."""

    def __post_init__(self) -> None:
        self.offset = 0
        self.queue: deque[Send] = deque()
        self.orders: list[Any] = []
        self.start()

    def start(self) -> None:
        """Build the owners from the rows, as after a crash."""
        rules = RegistrarRules(
            base_url="http://here",
            package_ms=30 * DAY_MS,
            max_running=self.max_running,
            spare_running=self.spare_running,
            range_bytes=self.range_bytes,
            range_tiles=50_000,
            grace_ms=3_600_000,
            package_max_ms=365 * DAY_MS,
            expiring_notice_ms=3 * DAY_MS,
            limits=self.limits,
        )
        self.registrar = Registrar(rules)
        self.planner = Planner(Covers())
        self.completion = Completion(lambda table, key: self.rows.get((table, key)), lambda: None)
        self.inboxes = {
            "export-registry": self.registrar,
            "export-plans": self.planner,
            "export-settlements": self.completion,
        }
        tables = {
            "requests": self.registrar,
            "bodies": self.registrar,
            "exports": self.registrar,
            "areas": self.registrar,
            "layers": self.registrar,
            "plans": self.planner,
            "progress": self.planner,
            "results": self.completion,
            "deliveries": self.completion,
        }
        for (table, key), row in self.rows.items():
            tables[table].load(table, key, row)

    def feed(self, topic: str, key: str, record: Any) -> None:
        """Put a record into an inbox and run until nothing moves."""
        self.queue.append(Send(topic, key, record))
        self.run()

    def run(self) -> None:
        while self.queue:
            self.step(self.queue.popleft())

    def step(self, send: Send) -> None:
        owner = self.inboxes.get(send.topic)
        if owner is None:
            if send.topic == "tile-range-work":
                self.orders.append(send.record)
                if self.answers:
                    self.answer(send.record)
            return
        self.offset += 1
        for _ in range(self.copies):
            self.carry_out(owner, owner.decide(send.record, InboxPosition(0, self.offset)))

    def carry_out(self, owner: Any, decision: Decision) -> None:
        for store in decision.stores:
            if store.row is None:
                self.rows.pop((store.table, store.key), None)
            else:
                self.rows[store.table, store.key] = store.row
            owner.apply(store)
        self.sent += decision.sends
        self.queue += decision.sends
        if decision.dead_letter is not None:
            self.dead.append(decision.dead_letter)

    def answer(self, order: Any) -> None:
        """Do what a worker does, without a disk."""
        if isinstance(order, WriteRange):
            if order.then_assemble is not None:
                self.answer(order.then_assemble)
                return
            record: Any = RangeWritten(
                order.export_id, order.attempt, self.now_ms, order.range_number, counts(order)
            )
        elif isinstance(order, AssemblePackage):
            record = PackageAssembled(order.export_id, order.attempt, self.now_ms, facts(order))
        elif isinstance(order, AdoptShards):
            spans = self.adoptable
            record = ShardsAdopted(order.export_id, order.attempt, self.now_ms, spans)
        else:
            record = FilesRemoved(order.export_id, order.attempt, self.now_ms)
        self.queue.append(Send("export-plans", order.export_id, record))

    def tick(self, seconds: float) -> None:
        """Let time pass and give each owner that is due its Tick."""
        until_ms = self.now_ms + int(seconds * 1000)
        while self.now_ms < until_ms:
            due = {topic: owner.due_at_ms() for topic, owner in self.inboxes.items()}
            next_ms = min((at for at in due.values() if at is not None), default=until_ms)
            self.now_ms = min(until_ms, max(self.now_ms + 1, next_ms))
            for topic, at in due.items():
                if at is not None and at <= self.now_ms:
                    self.feed(topic, "0", Tick(self.now_ms))

    def records(self, kind: type) -> list[Any]:
        return [send.record for send in self.sent if isinstance(send.record, kind)]

    @property
    def results(self) -> dict[str, Any]:
        return {key: row for (table, key), row in self.rows.items() if table == "results"}

    @property
    def deliveries(self) -> list[Any]:
        return [row for (table, _), row in self.rows.items() if table == "deliveries"]

    def admitted(self, request_id: str, **changes: Any) -> RequestAdmitted:
        """A request for zooms 0 to 3 of a box, 12,500 bytes a tile."""
        west, south, east, north = changes.pop("box", (0.0, 0.0, 40.0, 40.0))
        max_zoom = changes.pop("max_zoom", 3)
        area = parse_bbox([west, south, east, north])
        cover = TileCover.of(area, 0, max_zoom, max_tiles=10**9)
        fields: dict[str, Any] = {
            "request_id": request_id,
            "at_ms": self.now_ms,
            "request_digest": f"digest of {request_id}",
            "client": "anonymous",
            "via_http": False,
            "layer_id": LAYER_ID,
            "layer_json": LAYER_JSON,
            "bbox_json": f"[{west},{south},{east},{north}]",
            "target_resolution_deg": 0.703125 / 2**max_zoom,
            "callback_urls": (),
            "priority": 1000,
            "description": None,
            "on_error": "fail",
            "format": "source",
            "export_id": cover.digest,
            "area_wkb": area_to_wkb(area),
            "min_zoom": 0,
            "max_zoom": max_zoom,
            "tiles_by_zoom": tuple(ZoomTiles(*pair) for pair in cover.tiles_by_zoom),
            "mean_tile_bytes": 0,
            "free_bytes": 10**12,
            "packages": (),
            "looked_at_ms": self.now_ms,
        }
        return RequestAdmitted(**(fields | changes))

    def ask(self, request_id: str, **changes: Any) -> RequestAdmitted:
        record = self.admitted(request_id, **changes)
        self.feed("export-registry", request_id, record)
        return record


def counts(order: WriteRange) -> tuple[ZoomCounts, ...]:
    by_zoom: dict[int, int] = {}
    for run in order.runs:
        tiles = (run.max_col - run.min_col + 1) * (run.max_row - run.min_row + 1)
        by_zoom[run.zoom] = by_zoom.get(run.zoom, 0) + tiles
    return tuple(ZoomCounts(z, n, n, 0, 0, 100 * n) for z, n in sorted(by_zoom.items()))


def facts(order: AssemblePackage) -> PackageFacts:
    name = order.package.package_name
    zooms = (ZoomCounts(0, 1, 1, 0, 0, 5_000), ZoomCounts(3, 4, 3, 1, 0, 30_000))
    return PackageFacts(name, name.replace(".gpkg", ".json"), 4096, "ab" * 32, order.at_ms, zooms)


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()
