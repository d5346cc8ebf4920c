#!/usr/bin/env python3
"""Measure how long 200 mixed exports of six clients wait: giants, bulk orders, urgent small ones.

    .venv/bin/python scripts/bench/fairness.py [--seed 1] [--workers 3] [--tiles-per-s 1000]

The decisions are the service's own: registrar, planner and the order of the queue run as they are,
record by record. The time is simulated and so are the workers: each takes the orders of its
partitions as they come, has four in hand, and does those of one export one after the other. So the
figures depend on no machine and are the same each time. The same requests are played a second time
in the order of their coming, without turns, priorities and spare places, to compare.
"""

import argparse
import random
import statistics
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count
from typing import Any

from app.domain.area import area_to_wkb
from app.domain.client_limits import ClientLimits
from app.domain.decision import Send
from app.domain.inbox import InboxPosition
from app.domain.package_facts import PackageFacts, ZoomCounts, ZoomTiles
from app.domain.records import (
    AssemblePackage,
    PackageAssembled,
    RangeWritten,
    RequestAdmitted,
    RequestConfirmed,
    RequestSettled,
    Tick,
    WriteRange,
)
from app.domain.requested_area import parse_bbox
from app.domain.tile_cover import TileCover
from app.planning.owner import Covers, Planner
from app.registrar.owner import Registrar
from app.registrar.rules import RegistrarRules

START_MS = 1_700_000_000_000
LAYER_ID = "11111111-1111-4111-8111-111111111111"
LAYER_JSON = (
    '{"id":"11111111-1111-4111-8111-111111111111","productId":"relief","productName":"Relief",'
    '"productVersion":"2.0","source":{"type":"folder","path":"relief"}}'
)
TILE_BYTES = 12_500
MERGE_BYTES_PER_S = 550e6
PARTITIONS, SIDE_BY_SIDE = 6, 4
HOP_MS = 5
"""From one stage to the next: a record sent, confirmed and read."""

CLASSES = ("urgent small", "small", "bulk small", "medium", "giant")
ZOOM = 10
TILE_DEG = 180 / 2**ZOOM


@dataclass(frozen=True)
class Asked:
    """One request: when, by whom, how urgent, and how many columns and rows at zoom 10."""

    after_ms: int
    kind: str
    client: str
    priority: int
    columns: int
    rows: int


def mix(rng: random.Random) -> list[Asked]:
    """200 requests within two minutes, the giants and the bulk first."""
    asked = [Asked(1_000 * n, "giant", "mapper", 1_000, 900, 500) for n in range(6)]
    asked += [Asked(7_000 + n, "bulk small", "bulk", 1_000, 20, 20) for n in range(100)]
    for _ in range(24):
        client = rng.choice(("city", "navy"))
        asked.append(Asked(rng.randrange(120_000), "medium", client, 1_000, 150, 100))
    for _ in range(50):
        client = rng.choice(("city", "navy", "phone"))
        asked.append(Asked(rng.randrange(10_000, 120_000), "small", client, 1_000, 15, 15))
    for _ in range(20):
        asked.append(Asked(rng.randrange(10_000, 120_000), "urgent small", "rescue", 9_000, 15, 15))
    return asked


@dataclass
class Bench:
    """Registrar and planner over simulated time.

    Attributes:
        max_running: Exports that run at once.
        spare_running: Places besides for small ones.
        workers: Worker processes.
        tiles_per_s: What each of the four hands of a worker does.
    """

    max_running: int
    spare_running: int
    workers: int
    tiles_per_s: int
    began_ms: dict[str, int] = field(default_factory=dict)
    done_ms: dict[str, int] = field(default_factory=dict)
    most_running: int = 0

    def __post_init__(self) -> None:
        """Begin with nothing to do."""
        rules = RegistrarRules(
            base_url="http://here",
            package_ms=30 * 86_400_000,
            max_running=self.max_running,
            spare_running=self.spare_running,
            range_bytes=64 * 1024 * 1024,
            range_tiles=50_000,
            grace_ms=3_600_000,
            package_max_ms=365 * 86_400_000,
            expiring_notice_ms=3 * 86_400_000,
            limits=ClientLimits(),
        )
        self.registrar = Registrar(rules)
        self.owners: dict[str, Any] = {
            "export-registry": self.registrar,
            "export-plans": Planner(Covers()),
        }
        self.now_ms = START_MS
        self._offsets = count()
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()
        self._work: list[deque[Any]] = [deque() for _ in range(self.workers)]
        self._in_hand: list[list[Any]] = [[] for _ in range(self.workers)]
        self._under_way: set[str] = set()
        self._ticks: dict[str, int] = {}

    def after(self, ms: float, action: Callable[[], None]) -> None:
        """Act later."""
        heappush(self._events, (self.now_ms + int(ms), next(self._numbers), action))

    def play(self, requests: Iterable[tuple[int, RequestAdmitted]]) -> None:
        """Play until every request has its result."""
        wanted = 0
        for after_ms, record in requests:
            wanted += 1
            send = Send("export-registry", record.request_id, record)
            self.after(after_ms, lambda send=send: self.hand_over(send))
        while len(self.done_ms) < wanted:
            self.now_ms, _, act = heappop(self._events)
            act()

    def hand_over(self, send: Send) -> None:
        """Bring a record to whoever reads it."""
        record = send.record
        if isinstance(record, RequestSettled):
            self.done_ms[record.request_id] = self.now_ms
            confirmed = RequestConfirmed(record.request_id, self.now_ms)
            self.after(HOP_MS, lambda: self.hand_over(Send("export-registry", send.key, confirmed)))
        elif send.topic == "tile-range-work":
            worker = zlib.crc32(send.key.encode()) % PARTITIONS % self.workers
            self._work[worker].append(record)
            self._take_up(worker)
        elif send.topic in self.owners:
            if isinstance(record, RequestAdmitted):
                record = replace(record, at_ms=self.now_ms, looked_at_ms=self.now_ms)
            self._decide(send.topic, record)

    def _decide(self, topic: str, record: Any) -> None:
        owner = self.owners[topic]
        decision = owner.decide(record, InboxPosition(0, next(self._offsets)))
        for store in decision.stores:
            owner.apply(store)
        for send in decision.sends:
            self.after(HOP_MS, lambda send=send: self.hand_over(send))
        self.most_running = max(self.most_running, len(self.registrar.state.running))
        self._look_at_clock(topic)

    def _look_at_clock(self, topic: str) -> None:
        due_ms = self.owners[topic].due_at_ms()
        if due_ms is None or self._ticks.get(topic, 1 << 62) <= max(due_ms, self.now_ms):
            return
        self._ticks[topic] = max(due_ms, self.now_ms)

        def tick() -> None:
            if self._ticks.pop(topic, None) is not None:
                self._decide(topic, Tick(self.now_ms))

        self.after(max(0, due_ms - self.now_ms), tick)

    def _take_up(self, worker: int) -> None:
        """A worker takes its next orders in hand; one that is too old is dropped.

        What waits for an earlier order of its export keeps a hand busy, as in the real one.
        """
        work, in_hand = self._work[worker], self._in_hand[worker]
        while work and len(in_hand) < SIDE_BY_SIDE:
            order = work.popleft()
            is_work = isinstance(order, WriteRange | AssemblePackage)
            if is_work and order.lease_until_ms >= self.now_ms:
                in_hand.append(order)
        for order in in_hand:
            if order.export_id not in self._under_way:
                self._under_way.add(order.export_id)
                self.began_ms.setdefault(order.export_id, self.now_ms)
                self.after(self._takes_ms(order), lambda order=order: self._done(worker, order))

    def _takes_ms(self, order: Any) -> float:
        if isinstance(order, AssemblePackage):
            tiles = self.registrar.state.exports[order.export_id].tile_count
            return 1000 * tiles * TILE_BYTES / MERGE_BYTES_PER_S
        return 1000 * _tiles(order) / self.tiles_per_s

    def _done(self, worker: int, order: Any) -> None:
        self._in_hand[worker].remove(order)
        self._under_way.discard(order.export_id)
        assembles = order if isinstance(order, AssemblePackage) else order.then_assemble
        if assembles is not None:
            tiles = self.registrar.state.exports[order.export_id].tile_count
            zooms = (ZoomCounts(ZOOM, tiles, tiles, 0, 0, TILE_BYTES * tiles),)
            facts = PackageFacts("p.gpkg", "p.json", TILE_BYTES * tiles, "0", self.now_ms, zooms)
            record: Any = PackageAssembled(order.export_id, order.attempt, self.now_ms, facts)
        else:
            tiles = _tiles(order)
            counts = (ZoomCounts(ZOOM, tiles, tiles, 0, 0, TILE_BYTES * tiles),)
            record = RangeWritten(
                order.export_id, order.attempt, self.now_ms, order.range_number, counts
            )
        self.after(HOP_MS, lambda: self.hand_over(Send("export-plans", order.export_id, record)))
        self._take_up(worker)


def _tiles(order: WriteRange) -> int:
    return sum(
        (run.max_col - run.min_col + 1) * (run.max_row - run.min_row + 1) for run in order.runs
    )


def admitted(number: int, asked: Asked) -> RequestAdmitted:
    """What admission makes of a request; each one is somewhere else."""
    west = -180 + (number * 7 % 1_000) * TILE_DEG
    north = 85 - (number * 3 % 400) * TILE_DEG
    box = [west, north - asked.rows * TILE_DEG, west + asked.columns * TILE_DEG, north]
    area = parse_bbox(box)
    cover = TileCover.of(area, 0, ZOOM, max_tiles=10**9)
    return RequestAdmitted(
        request_id=f"r{number}",
        at_ms=0,
        request_digest=f"{number}",
        client=asked.client,
        via_http=False,
        layer_id=LAYER_ID,
        layer_json=LAYER_JSON,
        bbox_json=str(box),
        target_resolution_deg=0.703125 / 2**ZOOM,
        callback_urls=(),
        priority=asked.priority,
        description=None,
        on_error="fail",
        format="source",
        export_id=cover.digest,
        area_wkb=area_to_wkb(area),
        min_zoom=0,
        max_zoom=ZOOM,
        tiles_by_zoom=tuple(ZoomTiles(*pair) for pair in cover.tiles_by_zoom),
        mean_tile_bytes=TILE_BYTES,
        free_bytes=10**15,
        packages=(),
        looked_at_ms=0,
    )


def waits(bench: Bench, mixed: list[Asked], records: list[RequestAdmitted]) -> dict[str, Any]:
    """Seconds until the first tile is read, and until the result, by class."""
    found: dict[str, tuple[list[float], list[float]]] = {kind: ([], []) for kind in CLASSES}
    for asked, record in zip(mixed, records, strict=True):
        at_ms = START_MS + asked.after_ms
        first, last = found[asked.kind]
        first.append((bench.began_ms[record.export_id] - at_ms) / 1000)
        last.append((bench.done_ms[record.request_id] - at_ms) / 1000)
    return found


def told(title: str, found: dict[str, Any]) -> str:
    """A table, seconds."""
    head = (
        f"{'':14}{'count':>6}   {'wait: median':>12}{'p95':>8}{'most':>8}"
        f"   {'result: median':>14}{'p95':>8}{'most':>8}"
    )
    lines = [title, head]
    for kind in CLASSES:
        first, last = found[kind]
        cells = [
            f"{statistics.median(values):>{width}.1f}"
            f"{statistics.quantiles(values, n=20, method='inclusive')[-1]:>8.1f}"
            f"{max(values):>8.1f}"
            for values, width in ((first, 12), (last, 14))
        ]
        lines.append(f"{kind:14}{len(first):>6}   {cells[0]}   {cells[1]}")
    return "\n".join(lines)


def main() -> None:
    """Play the mix twice and print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--tiles-per-s", type=int, default=1_000)
    parser.add_argument("--max-running", type=int, default=32)
    parser.add_argument("--spare-running", type=int, default=8)
    options = parser.parse_args()
    mixed = mix(random.Random(options.seed))
    records = [admitted(number, asked) for number, asked in enumerate(mixed)]
    tiles = sum(pair.tiles for record in records for pair in record.tiles_by_zoom)
    print(f"{len(mixed)} exports, {tiles} tiles, {options.workers} workers")
    fair = Bench(options.max_running, options.spare_running, options.workers, options.tiles_per_s)
    fair.play(zip((asked.after_ms for asked in mixed), records, strict=True))
    print(told("as the service does it", waits(fair, mixed, records)))
    plain = Bench(options.max_running, 0, options.workers, options.tiles_per_s)
    alike = [replace(record, client="all", priority=1_000) for record in records]
    plain.play(zip((asked.after_ms for asked in mixed), alike, strict=True))
    print(told("in the order of their coming", waits(plain, mixed, records)))


if __name__ == "__main__":
    main()
