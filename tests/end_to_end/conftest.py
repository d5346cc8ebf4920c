"""The service started as a user starts it, and what a user has beside it."""

import asyncio
import hashlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from aiohttp import web
from confluent_kafka import Consumer

from app.domain.result import result_body
from app.kafka.codec import Codec
from tests.topic_reading import records_now

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 300
"""Nothing that is waited for takes a tenth of it but what never comes, on a busy machine either."""


PATIENT = {"EXPORT_VERDICT_WAIT_S": "25"}
"""Many tests are about the answer that tells the registrar's verdict: on a busy machine the usual
2 s may be over before it, and then the answer is only that the request waits."""


# Python imports a `sitecustomize` on PYTHONPATH at its start, in every process of the service. At
# full speed an export might end before a test that has to wait for the processor has seen it begin.
SLOW_TILES = """
import time

from app.sources.folder import FolderTileSource

read_at_once = FolderTileSource.read_many


def read_slowly(self, tiles):
    time.sleep(0.2)
    return read_at_once(self, tiles)


FolderTileSource.read_many = read_slowly
"""


def slowed(folder):
    """Settings of a service whose tiles come slowly."""
    (folder / "sitecustomize.py").write_text(SLOW_TILES)
    path = os.pathsep.join([str(folder), str(ROOT)])
    return {"EXPORT_RANGE_BYTES": "200000", "PYTHONPATH": path}


@dataclass
class Service:
    """One running `up`, its address and its folder."""

    process: subprocess.Popen[str]
    data_dir: Path
    url: str
    lines: list[str] = field(default_factory=list)

    def child(self, name: str) -> psutil.Process:
        """The child process of a kind: ingress, coordinator, worker or noida-db."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if name in child.cmdline() or name in child.name():
                    return child
            except psutil.Error:
                continue
        raise LookupError(f"no child {name}")

    @property
    def broker(self) -> str:
        """Address of the embedded broker, as the processes know it."""
        return str(self.child("worker").environ()["EXPORT_BROKER"])

    def layer_tile(self, zoom: int, col: int, row: int) -> Path:
        """A tile of the demo layer in the source folder."""
        (folder,) = (self.data_dir / "layers").iterdir()
        found = folder / str(zoom) / str(col) / f"{row}.jpeg"
        if found.parent.parent.exists():
            return found
        (nested,) = (path for path in folder.iterdir() if path.is_dir())
        return nested / str(zoom) / str(col) / f"{row}.jpeg"


@contextmanager
def running_service(data_dir: Path, **environment: str) -> Iterator[Service]:
    """Run `scripts/run` on a free port until the block ends."""
    command = [str(ROOT / "scripts" / "run"), "--port", "0", "--data-dir", str(data_dir)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHON": sys.executable, **PATIENT, **environment},
    )
    service = Service(process, data_dir, "")
    ready = threading.Event()

    def read() -> None:
        for line in process.stdout:
            service.lines.append(line.rstrip())
            if found := re.search(r"Ready: (https?://\S+)", line):
                service.url = found[1]
                ready.set()
        ready.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        ready.wait(DEADLINE_S)
        if not service.url:
            pytest.fail("the service was not ready:\n" + "\n".join(service.lines))
        if "EXPORT_PUBLIC_URL" in environment:  # it tells the address that its proxy has
            service.url = f"http://127.0.0.1:{service.child('ingress').environ()['EXPORT_PORT']}"
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(DEADLINE_S) == 0, "\n".join(service.lines)
        finally:
            process.kill()
            reader.join()
            process.stdout.close()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that the tests of this folder share; ranges are small, so exports have many."""
    data_dir = tmp_path_factory.mktemp("service")
    with running_service(data_dir, EXPORT_RANGE_BYTES="200000") as started:
        yield started


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
        yield session


class Hooks:
    """A real HTTP server that takes webhooks."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.status = 200
        self.url = ""
        self.called = asyncio.Event()

    async def receive(self, request: web.Request) -> web.Response:
        self.calls.append((dict(request.headers), await request.json()))
        self.called.set()
        return web.Response(status=self.status)

    async def result(self, request_id: str) -> dict[str, Any]:
        """Wait for the result of a request."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                self.called.clear()
                for _, body in self.calls:
                    if body["requestId"] == request_id:
                        return body
                await self.called.wait()


@pytest.fixture
async def hooks() -> AsyncIterator[Hooks]:
    server = Hooks()
    app = web.Application()
    app.router.add_post("/hook", server.receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield server
    await runner.cleanup()


async def download(http, result, tmp_path):
    """Fetch a package in two parts, by ranges, and its metadata."""
    size = result["fileSize"]
    package = tmp_path / result["packageName"]
    with package.open("wb") as file:
        for first, last in ((0, size // 2 - 1), (size // 2, size - 1)):
            headers = {"Range": f"bytes={first}-{last}"}
            async with http.get(result["fileUri"], headers=headers) as answer:
                assert answer.status == 206
                file.write(await answer.read())
    async with http.get(result["metadataUri"]) as answer:
        assert answer.status == 200
        package.with_suffix(".json").write_bytes(await answer.read())
    assert hashlib.sha256(package.read_bytes()).hexdigest() == result["sha256"]
    return package


def tiles_of(package):
    connection = sqlite3.connect(f"file:{package}?mode=ro", uri=True)
    rows = connection.execute(
        "SELECT zoom_level, tile_column, tile_row, tile_data FROM blue_marble"
    ).fetchall()
    connection.close()
    return {(zoom, col, row): data for zoom, col, row, data in rows}


def results_in_kafka(broker):
    """Every result that stands in Kafka now, as the webhook would tell it."""
    codec = Codec.from_folder()
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "anyone", "log_level": 0})
    try:
        return [
            result_body(codec.decode(message.value()))
            for message in records_now(consumer, "export-finished")
        ]
    finally:
        consumer.close()


@pytest.fixture
def fetch_package():
    """Download a package by ranges; returns its path."""
    return download


@pytest.fixture
def read_package():
    """Download a package; returns its tiles."""

    async def read(http, result, folder):
        return tiles_of(await download(http, result, folder))

    return read


@pytest.fixture
def read_results():
    """All results that stand in Kafka, as the webhook would tell them."""
    return results_in_kafka


@pytest.fixture(scope="session")
def start_service():
    """Start a service of one's own."""
    return running_service
