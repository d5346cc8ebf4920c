"""The whole service under load, with a layer that costs nothing to read: its client and its watch.

Used by `load.py` and by tests/fault/test_load.py. A synthetic layer of zoom 11 has two million
different boxes of one to four tiles, so none is answered from what is there, and a whole world of
eleven million tiles.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import aiohttp
import confluent_kafka
import psutil

from app.domain.records import ExportCommanded, ExportFinished, RangeWritten, WriteRange
from app.kafka import fetch_backoff
from app.kafka.codec import Codec
from app.kafka.producer import RecordProducer
from app.kafka.topic_view import TopicView, ViewedRecord
from app.kafka.topics import (
    EXPORT_FINISHED,
    EXPORT_PLANS,
    EXPORT_REQUESTS,
    TILE_RANGE_WORK,
    Topics,
    topic_spec,
)
from app.sources.synthetic import MEAN_TILE_BYTES

ROOT = Path(__file__).resolve().parents[2]
LAYER_ID = "10ad0000-0000-4000-8000-000000000001"
ZOOM = 11
TILE_DEG = 180 / 2**ZOOM
RESOLUTION_DEG = 0.703125 / 2**ZOOM
WORLD_TILES = 2 * (4 ** (ZOOM + 1) - 1) // 3
ROLES = ("ingress", "coordinator", "worker", "noida-db")
READY_S = 300
GIANT_S = 300
"""A giant has begun, and let a small export pass, in a fraction of it, beside other tests too."""
MB = 1 << 20


def make_layer(data_dir: Path) -> None:
    """Put the record of the synthetic layer into the catalogue."""
    whole_world = [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]]
    record = {
        "id": LAYER_ID,
        "type": "RECORD_RASTER",
        "productId": "synthetic",
        "productName": "Synthetic",
        "productVersion": "1.0",
        "productType": "Orthophoto",
        "maxResolutionDeg": RESOLUTION_DEG,
        "meanTileBytes": MEAN_TILE_BYTES,
        "tileOutputFormat": "PNG",
        "transparency": "OPAQUE",
        "footprint": {"type": "Polygon", "coordinates": whole_world},
        "source": {"type": "synthetic"},
    }
    folder = data_dir / "catalogue"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "synthetic.json").write_text(json.dumps(record))


def small_request(number: int) -> dict:
    """The body of a request for one to four tiles of zoom 11; two million numbers all differ."""
    col, row = 2 * (number % 2048), 2 * (number // 2048 % 1024)
    cols, rows = 1 + number % 2, 1 + number // 2 % 2
    west, north = -180 + col * TILE_DEG, 90 - row * TILE_DEG
    bbox = [west, north - rows * TILE_DEG, west + cols * TILE_DEG, north]
    return {"dbId": LAYER_ID, "bbox": bbox, "minResolution": RESOLUTION_DEG}


def _onlooker(broker: str, group: str) -> confluent_kafka.Consumer:
    """A consumer that asks for a group's commits and for ends, and never joins."""
    options = {"bootstrap.servers": broker, "group.id": group, "log_level": 0}
    return confluent_kafka.Consumer(options)


def _places(inbox: str) -> list[confluent_kafka.TopicPartition]:
    partitions = topic_spec(inbox).partitions
    return [confluent_kafka.TopicPartition(inbox, number) for number in range(partitions)]


def _ends(consumer: confluent_kafka.Consumer, inbox: str) -> dict[int, int]:
    """The next offset of each partition of an inbox."""
    return {
        place.partition: consumer.get_watermark_offsets(place, timeout=60)[1]
        for place in _places(inbox)
    }


def _committed(consumer: confluent_kafka.Consumer, inbox: str) -> dict[int, int]:
    """How far the consumer's group has acknowledged each partition of an inbox."""
    known = consumer.committed(_places(inbox), timeout=60)
    return {place.partition: max(0, place.offset) for place in known}


class Watch(threading.Thread):
    """Samples memory, CPU and backlog of the service, twice a second, in a thread."""

    def __init__(self, service_pid: int, broker: str) -> None:
        super().__init__(daemon=True)
        self.rss: dict[str, list[tuple[float, int]]] = defaultdict(list)
        self.backlog: dict[str, list[int]] = defaultdict(list)
        self._ended = threading.Event()
        self._top = psutil.Process(service_pid)
        self._broker = broker
        self._cpu: dict[str, tuple[float, float]] = {}
        self._groups: dict[str, confluent_kafka.Consumer] = {}

    def run(self) -> None:
        while not self._ended.wait(0.5):
            with suppress(psutil.Error):
                for name, process in self.processes():
                    cpu = process.cpu_times()
                    self.rss[name].append((time.monotonic(), process.memory_info().rss))
                    first = self._cpu.get(name, (cpu.user + cpu.system, 0))[0]
                    self._cpu[name] = (first, cpu.user + cpu.system)
            with suppress(confluent_kafka.KafkaException):
                self._look_at_backlog()

    def end(self) -> None:
        self._ended.set()
        self.join(30)
        for consumer in self._groups.values():
            consumer.close()

    def processes(self) -> list[tuple[str, psutil.Process]]:
        """The processes of the service; two workers are two names."""
        found: list[tuple[str, psutil.Process]] = [("supervisor", self._top)]
        for process in self._top.children(recursive=True):
            words = [*process.cmdline(), process.name()]
            role = next((role for role in ROLES if role in words), None)
            if role is not None:
                number = sum(name.startswith(role) for name, _ in found)
                found.append((role if not number else f"{role} {number + 1}", process))
        return found

    def _look_at_backlog(self) -> None:
        """Records of each inbox that its group has not committed yet."""
        for group, inboxes in (
            ("worker", ("export-requests", "tile-range-work")),
            ("coordinator", ("export-registry", "export-plans", "export-settlements")),
        ):
            consumer = self._consumer(group)
            for inbox in inboxes:
                ends, done = _ends(consumer, inbox), _committed(consumer, inbox)
                self.backlog[inbox].append(sum(ends.values()) - sum(done.values()))

    def _consumer(self, group: str) -> confluent_kafka.Consumer:
        if group not in self._groups:
            self._groups[group] = _onlooker(self._broker, group)
        return self._groups[group]

    def report(self) -> None:
        for name, samples in sorted(self.rss.items()):
            sizes = [rss / MB for _, rss in samples]
            tenths = [sizes[len(sizes) * tenth // 10] for tenth in range(10)]
            seconds = max(0.5, samples[-1][0] - samples[0][0])
            first, last = self._cpu[name]
            print(
                f"    {name:<12} {sizes[0]:5.0f} MB at start, {max(sizes):5.0f} max, "
                f"{sizes[-1]:5.0f} at end; {(last - first) / seconds:4.2f} of a core; over time "
                + " ".join(f"{size:.0f}" for size in tenths)
            )
        peaks = ", ".join(f"{name} {max(sizes)}" for name, sizes in self.backlog.items())
        print(f"    largest backlog: {peaks}")

    def growth_bytes(self) -> dict[str, int]:
        """How much more than at its start each process had at its most, bytes."""
        return {
            name: max(rss for _, rss in samples) - samples[0][1]
            for name, samples in self.rss.items()
        }


@dataclass
class Asked:
    """One POST and what came of it."""

    started_s: float
    answered_s: float
    status: int
    request_id: str | None


@dataclass(frozen=True)
class Up:
    """A running service and where to reach it."""

    process: subprocess.Popen
    url: str
    broker: str
    data_dir: Path


@dataclass
class Plan:
    """What the planner has ordered of an export and the workers have reported.

    Orders and reports stand in two topics, which a client does not read in one order: so it goes
    by the times at which they were sent, ms since 1970 UTC.
    """

    ordered_ms: dict[int, int] = field(default_factory=dict)
    reported_ms: dict[int, int] = field(default_factory=dict)

    def widest(self) -> int:
        """The most ranges that were ordered and not reported at once."""
        steps = [(at_ms, -1) for at_ms in self.reported_ms.values()]
        steps += [(at_ms, 1) for at_ms in self.ordered_ms.values()]
        # Of one millisecond the reports come first: they make room for the orders.
        return max(accumulate((step for _, step in sorted(steps)), initial=0))


@dataclass
class Service:
    """A client of the running service, and what it reads of the topics.

    Attributes:
        results: When the first result of each request came, and the result.
        result_counts: Results of each request; more than one is a fault.
        plans: What was ordered and reported, by export.
        written: When this client read of ranges that were written, and their tiles, by export.
    """

    up: Up
    session: aiohttp.ClientSession
    results: dict[str, tuple[float, ExportFinished]] = field(default_factory=dict)
    result_counts: Counter[str] = field(default_factory=Counter)
    plans: dict[str, Plan] = field(default_factory=lambda: defaultdict(Plan))
    written: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, viewed: ViewedRecord) -> None:
        now_s = time.perf_counter()
        match viewed.record:
            case ExportFinished() as result:
                self.results.setdefault(result.request_id, (now_s, result))
                self.result_counts[result.request_id] += 1
            case WriteRange() as order:
                plan = self.plans[order.export_id]
                plan.ordered_ms.setdefault(order.range_number, viewed.timestamp_ms)
            case RangeWritten() as report:
                tiles = sum(zoom.expected for zoom in report.zooms)
                self.written.setdefault(report.export_id, []).append((now_s, tiles))
                plan = self.plans[report.export_id]
                plan.reported_ms.setdefault(report.range_number, viewed.timestamp_ms)
        self.news.set()

    async def ask(self, body: dict) -> Asked:
        """POST one request; a refused or broken connection counts as status 0."""
        started_s = time.perf_counter()
        status, request_id = 0, None
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self.session.post(f"{self.up.url}/create", json=body) as answer:
                status = answer.status
                told = await answer.json()
                request_id = told.get("requestId")
        return Asked(started_s, time.perf_counter(), status, request_id)

    async def until(self, condition: Callable[[], object], limit_s: float) -> bool:
        """Wait for a state that a record brings about; False: not in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not condition():
                    self.news.clear()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self.news.wait(), 0.5)
                return True
        return bool(condition())

    async def until_done(self, asked: list[Asked], limit_s: float) -> bool:
        """Wait until every accepted request has its result."""
        open_ids = {one.request_id for one in asked if one.request_id}

        def all_done() -> bool:
            open_ids.difference_update([key for key in open_ids if key in self.results])
            return not open_ids

        return await self.until(all_done, limit_s)

    async def until_handled(self, group: str, inbox: str, limit_s: float) -> bool:
        """Wait until a group has acknowledged all that an inbox holds now; False: not in time."""
        consumer = _onlooker(self.up.broker, group)
        try:
            ends = await asyncio.to_thread(_ends, consumer, inbox)
            with suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    while True:
                        done = await asyncio.to_thread(_committed, consumer, inbox)
                        if all(done[number] >= end for number, end in ends.items()):
                            return True
                        await asyncio.sleep(0.1)
            return False
        finally:
            await asyncio.to_thread(consumer.close)

    @contextmanager
    def watching(self) -> Iterator[Watch]:
        """Watch the service's processes until the end of the block."""
        watch = Watch(self.up.process.pid, self.up.broker)
        watch.start()
        try:
            yield watch
        finally:
            watch.end()


@contextmanager
def started(data_dir: Path, options: Iterable[str] = (), **environment: str) -> Iterator[Up]:
    """Start the service with the synthetic layer; SIGTERM at the end."""
    make_layer(data_dir)
    command = [sys.executable, "-P", "-m", "app", "up", "--no-demo", "--port", "0"]
    command += ["--data-dir", str(data_dir), *options]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
    reader.start()
    try:
        url = _ready_url(process, lines)
        yield Up(process, url, _broker_of(process), data_dir)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(300)
        finally:
            process.kill()
            reader.join(10)
            process.stdout.close()


@asynccontextmanager
async def connected(up: Up) -> AsyncIterator[Service]:
    """Be a client of a running service, and read along in its topics, at most 25 ms late."""
    fetch_backoff.install()
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        service = Service(up, session)
        names = [EXPORT_FINISHED, EXPORT_PLANS, TILE_RANGE_WORK]
        view = TopicView(up.broker, Topics(), names, Codec.from_folder(), on_record=service.take)
        reading = asyncio.create_task(view.run())
        try:
            await view.caught_up.wait()
            yield service
        finally:
            while not reading.done():
                reading.cancel()
                await asyncio.wait([reading], timeout=1)


def _ready_url(process: subprocess.Popen, lines: list[str]) -> str:
    until_s = time.monotonic() + READY_S
    while time.monotonic() < until_s and process.poll() is None:
        for line in list(lines):
            if found := re.search(r"Ready: (http://\S+)", line):
                return found[1]
        time.sleep(0.1)
    raise RuntimeError("the service did not start:\n" + "".join(lines))


def _broker_of(process: subprocess.Popen) -> str:
    for child in psutil.Process(process.pid).children(recursive=True):
        if "worker" in child.cmdline():
            return child.environ()["EXPORT_BROKER"]
    raise LookupError("no worker")


async def burst(service: Service, numbers: range, connections: int) -> list[Asked]:
    """Post all of these small requests at once, over so many connections."""
    places = asyncio.Semaphore(connections)

    async def one(number: int) -> Asked:
        async with places:
            return await service.ask(small_request(number))

    return list(await asyncio.gather(*map(one, numbers)))


async def stream(service: Service, numbers: range, per_s: float) -> list[Asked]:
    """Post small requests at an even rate, whether or not earlier ones have been answered."""
    began_s = time.perf_counter()
    asking = []
    for index, number in enumerate(numbers):
        await asyncio.sleep(max(0.0, began_s + index / per_s - time.perf_counter()))
        asking.append(asyncio.create_task(service.ask(small_request(number))))
    return list(await asyncio.gather(*asking))


@dataclass
class Giant:
    """An export of the whole world that is running."""

    request_id: str
    export_id: str
    asked_s: float

    def plan(self, service: Service) -> Plan:
        """What was ordered and reported."""
        return service.plans[self.export_id]

    def ranges(self, service: Service) -> list[tuple[float, int]]:
        """When each range was written, and its tiles."""
        return service.written.get(self.export_id, [])

    def first_range_s(self, service: Service) -> float:
        """From the request to its first range, seconds."""
        return self.ranges(service)[0][0] - self.asked_s


async def start_giant(service: Service, **fields: float) -> Giant:
    """Ask for the whole world, and wait until its first range is written."""
    before = set(service.written)
    asked = await service.ask({"dbId": LAYER_ID, **fields})
    if asked.request_id is None:
        raise RuntimeError(f"the giant was answered with {asked.status}")
    if not await service.until(lambda: set(service.written) - before, GIANT_S):
        raise RuntimeError(f"the giant wrote nothing within {GIANT_S} s")
    (export_id,) = set(service.written) - before
    return Giant(asked.request_id, export_id, asked.started_s)


async def pass_giant(service: Service, numbers: range) -> list[float]:
    """Ask for small exports one after the other; seconds from request to result of each."""
    took = []
    for number in numbers:
        one = await service.ask(small_request(number))
        if not await service.until_done([one], GIANT_S):
            raise RuntimeError(f"small export {number} had no result within {GIANT_S} s")
        took.append(service.results[one.request_id][0] - one.started_s)
    return took


async def cancel(service: Service, giant: Giant) -> float:
    """Ask over Kafka for an export to be cancelled; when, on the clock of the samples."""
    async with RecordProducer(service.up.broker, Codec.from_folder(), Topics()) as producer:
        now_ms = time.time_ns() // 1_000_000
        record = ExportCommanded(giant.request_id, now_ms, "anonymous", "cancel")
        await producer.send(EXPORT_REQUESTS, giant.request_id, record)
    return time.perf_counter()
