#!/usr/bin/env python3
"""Put load on the whole service: 5,000 requests at once, 100 a second, and past a giant export.

    .venv/bin/python scripts/bench/load.py [--burst 5000] [--stream 100x60] [--giant-s 60]

Starts the service in a folder of its own (broker, ingress, coordinator, workers) with a synthetic
layer of zoom 11, whose tiles cost nothing to read. Each request is for another box of one to four
tiles, so none is answered from what is there. Prints how the requests were answered, when their
results stood in export-finished, and how much memory each process had meanwhile.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import confluent_kafka
import psutil

from app.domain.records import ExportCommanded, ExportFinished, ExportStopped, RangeWritten
from app.kafka import doorbell, fetch_backoff
from app.kafka.codec import Codec
from app.kafka.producer import RecordProducer
from app.kafka.topic_view import TopicView, ViewedRecord
from app.kafka.topics import EXPORT_FINISHED, EXPORT_PLANS, EXPORT_REQUESTS, Topics
from app.sources.synthetic import MEAN_TILE_BYTES

ROOT = Path(__file__).resolve().parents[2]
LAYER_ID = "10ad0000-0000-4000-8000-000000000001"
ZOOM = 11
TILE_DEG = 180 / 2**ZOOM
RESOLUTION_DEG = 0.703125 / 2**ZOOM
WORLD_TILES = 2 * (4 ** (ZOOM + 1) - 1) // 3
ROLES = ("ingress", "coordinator", "worker", "noida-db")
READY_S = 90
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


def percentile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


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
        self.join(10)

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
                places = [
                    confluent_kafka.TopicPartition(inbox, number)
                    for number in range(1 if inbox == "export-registry" else 6)
                ]
                behind = 0
                for place in consumer.committed(places, timeout=5):
                    end = consumer.get_watermark_offsets(place, timeout=5)[1]
                    behind += end - max(0, place.offset)
                self.backlog[inbox].append(behind)

    def _consumer(self, group: str) -> confluent_kafka.Consumer:
        name = f"_{group}"
        if name not in self.__dict__:
            options = {"bootstrap.servers": self._broker, "group.id": group, "log_level": 0}
            self.__dict__[name] = confluent_kafka.Consumer(options)
        return self.__dict__[name]

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

    def peak(self, role: str) -> int:
        """Most memory that a process of a role had, bytes."""
        return max(rss for name, all_ in self.rss.items() if role in name for _, rss in all_)


@dataclass
class Asked:
    """One POST and what came of it."""

    started_s: float
    answered_s: float
    status: int
    request_id: str | None


@dataclass
class Service:
    """The running service, its client, and what the client reads of its topics."""

    process: subprocess.Popen
    url: str
    broker: str
    data_dir: Path
    results: dict[str, tuple[float, ExportFinished]] = field(default_factory=dict)
    written: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    stopped: dict[str, float] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    session: aiohttp.ClientSession = field(init=False)

    def take(self, viewed: ViewedRecord) -> None:
        now_s = time.perf_counter()
        match viewed.record:
            case ExportFinished() as result:
                self.results.setdefault(result.request_id, (now_s, result))
            case RangeWritten() as range_:
                tiles = sum(zoom.expected for zoom in range_.zooms)
                self.written.setdefault(range_.export_id, []).append((now_s, tiles))
            case ExportStopped() as stopped:
                self.stopped.setdefault(stopped.export_id, now_s)
        self.news.set()

    async def ask(self, body: dict) -> Asked:
        """POST one request; a refused or broken connection counts as status 0."""
        started_s = time.perf_counter()
        status, request_id = 0, None
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self.session.post(f"{self.url}/create", json=body) as answer:
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

    def watch(self) -> Watch:
        watch = Watch(self.process.pid, self.broker)
        watch.start()
        return watch


@asynccontextmanager
async def running(data_dir: Path, options: list[str], **environment: str) -> AsyncIterator[Service]:
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
    threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True).start()
    try:
        service = await _ready(process, data_dir, lines)
        doorbell.install(data_dir / "run" / "doorbell")
        fetch_backoff.install()
        topics, codec = Topics(), Codec.from_folder()
        names = [EXPORT_FINISHED, EXPORT_PLANS]
        view = TopicView(service.broker, topics, names, codec, on_record=service.take)
        reading = asyncio.create_task(view.run())
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as service.session:
            try:
                await view.caught_up.wait()
                yield service
            finally:
                while not reading.done():
                    reading.cancel()
                    await asyncio.wait([reading], timeout=1)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, 90)
        finally:
            process.kill()


async def _ready(process: subprocess.Popen, data_dir: Path, lines: list[str]) -> Service:
    async with asyncio.timeout(READY_S):
        while True:
            for line in list(lines):
                if found := re.search(r"Ready: (http://\S+)", line):
                    return Service(process, found[1], _broker_of(process), data_dir)
            if process.poll() is not None:
                raise RuntimeError("the service did not start:\n" + "".join(lines))
            await asyncio.sleep(0.1)


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


def report(title: str, service: Service, asked: list[Asked]) -> None:
    """Print how a load was answered."""
    began_s = min(one.started_s for one in asked)
    statuses = Counter(one.status for one in asked)
    done = [
        (service.results[one.request_id][0], one)
        for one in asked
        if one.request_id in service.results
    ]
    failed = sum(not service.results[one.request_id][1].success for _, one in done)
    posts = [one.answered_s - one.started_s for one in asked]
    waits = [at_s - one.started_s for at_s, one in done]
    last_s = max((at_s for at_s, _ in done), default=began_s) - began_s
    last_answer_s = max(one.answered_s for one in asked) - began_s
    print(
        f"{title}: answered "
        + ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
        + f"; results {len(done)} of {statuses[200]}, {failed} of them failures\n"
        f"    last answer after {last_answer_s:.1f} s, last result after {last_s:.1f} s: "
        f"{len(done) / max(last_s, 0.001):.1f} a second\n"
        f"    POST p50 {percentile(posts, 0.5):.3f} s, p99 {percentile(posts, 0.99):.3f} s; "
        f"request to result p50 {percentile(waits, 0.5):.2f} s, "
        f"p99 {percentile(waits, 0.99):.2f} s",
        flush=True,
    )


async def measure_burst(service: Service, count: int, connections: int) -> None:
    watch = service.watch()
    asked = await burst(service, range(count), connections)
    await service.until_done(asked, 60 + count / 5)
    watch.end()
    report(f"{count} at once over {connections} connections", service, asked)
    watch.report()


async def measure_stream(service: Service, first: int, per_s: float, seconds: float) -> None:
    watch = service.watch()
    count = int(per_s * seconds)
    asked = await stream(service, range(first, first + count), per_s)
    await service.until_done(asked, 60 + count / 5)
    watch.end()
    report(f"{per_s:g} a second for {seconds:g} s", service, asked)
    watch.report()


@dataclass
class Giant:
    """An export of the whole world that is running."""

    request_id: str
    export_id: str
    asked_s: float

    def ranges(self, service: Service) -> list[tuple[float, int]]:
        """When each range was written, and its tiles."""
        return service.written.get(self.export_id, [])


async def start_giant(service: Service) -> Giant:
    """Ask for the whole world, and wait until its first range is written."""
    before = set(service.written)
    asked = await service.ask({"dbId": LAYER_ID})
    if asked.request_id is None:
        raise RuntimeError(f"the giant was answered with {asked.status}")
    if not await service.until(lambda: set(service.written) - before, 90):
        raise RuntimeError("the giant wrote nothing within 90 s")
    (export_id,) = set(service.written) - before
    return Giant(asked.request_id, export_id, asked.started_s)


async def pass_giant(service: Service, numbers: range) -> list[float]:
    """Ask for small exports one after the other; seconds from request to result of each."""
    took = []
    for number in numbers:
        one = await service.ask(small_request(number))
        if not await service.until_done([one], 60):
            raise RuntimeError(f"small export {number} had no result within 60 s")
        took.append(service.results[one.request_id][0] - one.started_s)
    return took


async def cancel(service: Service, giant: Giant) -> float:
    """Ask over Kafka for an export to be cancelled; when, on the clock of the samples."""
    async with RecordProducer(service.broker, Codec.from_folder(), Topics()) as producer:
        now_ms = time.time_ns() // 1_000_000
        record = ExportCommanded(giant.request_id, now_ms, "anonymous", "cancel")
        await producer.send(EXPORT_REQUESTS, giant.request_id, record)
    return time.perf_counter()


async def measure_giant(service: Service, first: int, seconds: float, *, cancels: bool) -> None:
    watch = service.watch()
    giant = await start_giant(service)
    print(f"giant of {WORLD_TILES} tiles: first range {time.perf_counter() - giant.asked_s:.1f} s")
    took = await pass_giant(service, range(first, first + 20))
    print(
        f"    20 small ones beside it: p50 {statistics.median(took):.2f} s, max {max(took):.2f} s; "
        + " ".join(f"{one:.2f}" for one in took)
    )
    await asyncio.sleep(max(0.0, giant.asked_s + seconds - time.perf_counter()))
    ranges = giant.ranges(service)
    tiles = sum(count for _, count in ranges)
    elapsed_s = time.perf_counter() - giant.asked_s
    print(
        f"    {len(ranges)} ranges, {tiles} tiles in {elapsed_s:.0f} s: {tiles / elapsed_s:.0f} "
        f"tiles a second; largest range {max(count for _, count in ranges)} tiles"
    )
    if cancels:
        cancelled_s = await cancel(service, giant)
        known = await service.until(lambda: giant.request_id in service.results, 60)
        result_s = service.results[giant.request_id][0] - cancelled_s if known else float("nan")
        await asyncio.sleep(30)
        late = [at_s - cancelled_s for at_s, _ in giant.ranges(service) if at_s > cancelled_s]
        print(
            f"    cancelled: result {result_s:.2f} s later "
            f"({service.results[giant.request_id][1].status if known else 'none'}); "
            f"{len(late)} ranges written after it, the last {max(late, default=0):.1f} s later"
        )
    watch.end()
    watch.report()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--burst", type=int, default=5000, help="requests at once; 0: none")
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--stream", default="100x60", help="requests a second x seconds; 0x0: none")
    parser.add_argument("--giant-s", type=float, default=60, help="seconds of it; 0: none")
    parser.add_argument("--cancel", action="store_true", help="cancel the giant at the end")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--broker", help="host:port of another broker; default: the embedded one")
    parser.add_argument("--folder", type=Path, help="data folder; default: a temporary one")
    options = parser.parse_args()
    per_s, seconds = map(float, options.stream.split("x"))
    up = ["--workers", str(options.workers)]
    up += ["--broker", options.broker] if options.broker else []
    with tempfile.TemporaryDirectory(prefix="load-") as temporary:
        async with running((options.folder or Path(temporary)).resolve(), up) as service:
            if options.burst:
                await measure_burst(service, options.burst, options.connections)
            if per_s * seconds:
                await measure_stream(service, 100_000, per_s, seconds)
            if options.giant_s:
                await measure_giant(service, 1_000_000, options.giant_s, cancels=options.cancel)


if __name__ == "__main__":
    asyncio.run(main())
