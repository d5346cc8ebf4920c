"""Fault: SIGTERM to each process of the service in the middle of an export.

Promise: the range in hand is ended and committed, the process leaves with 0 in its grace, also in a
long assembly, and no range is done twice; a second SIGTERM ends it at once, and nothing is lost.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.bootstrap.process import STOP_GRACE_S
from app.demo import DEMO_LAYER_ID
from app.supervisor.supervise import GRACE_S

ROOT = Path(__file__).parents[2]
WHOLE_WORLD = 2 * (4**6 - 1) // 3

pytestmark = pytest.mark.long

# `pace` holds the seconds that a batch of tiles takes; it may change while the service runs. What
# was found there stands in `paced`, a line for each batch that began.
SLOW_TILES = """
import time
from pathlib import Path
from app.sources.folder import FolderTileSource

PACE = Path(__file__).with_name("pace")
read_at_once = FolderTileSource.read_many

def read_slowly(self, tiles):
    pace = PACE.read_text()
    with PACE.with_name("paced").open("a") as paced:
        paced.write(pace + "\\n")
    time.sleep(float(pace))
    return read_at_once(self, tiles)

FolderTileSource.read_many = read_slowly
"""

# `hashing` holds the seconds that a page of a package takes to be hashed.
SLOW_HASHING = """
import hashlib
import types
from app.package import publishing

HASHING = Path(__file__).with_name("hashing")

class SlowHash:
    def __init__(self):
        self.digest = hashlib.sha256()

    def update(self, page):
        time.sleep(float(HASHING.read_text()))
        self.digest.update(page)

    def hexdigest(self):
        return self.digest.hexdigest()

publishing.HASH_STEP_BYTES, publishing.BEAT_STEPS = 4096, 1
publishing.hashlib = types.SimpleNamespace(sha256=SlowHash)
"""


class SlowService:
    """The service, whose tiles come as slowly as `pace` says."""

    def __init__(self, service: Any, pace: Path, hashing: Path) -> None:
        self.service, self.pace, self.hashing = service, pace, hashing

    def has_begun_at(self, pace_s: str) -> bool:
        """Whether a batch of tiles has begun at this pace."""
        return pace_s in self.pace.with_name("paced").read_text().split()

    def log(self, name: str) -> list[dict[str, Any]]:
        """What a process has logged, over all its lives."""
        lines: list[str] = []
        for log in sorted((self.service.data_dir / "run").glob(f"{name}.log*"), reverse=True):
            lines += log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def events(self, name: str, event: str) -> list[dict[str, Any]]:
        """What it has logged of one kind of event."""
        return [line for line in self.log(name) if line["event"] == event]

    def ranges_while_stopping(self) -> int:
        """Ranges that the first worker has written after it was told to stop."""
        told = [line["event"] for line in self.log("worker-1")]
        return told[told.index("stopping") : told.index("stopped")].count("range_written")

    def ranges(self) -> list[int]:
        return [event["range_number"] for event in self.events("worker-1", "range_written")]

    def has_said(self, words: str) -> bool:
        return any(words in line for line in self.service.lines)


def put(path: Path, text: str) -> None:
    """Change a file at once: a process that reads it meanwhile never finds it empty."""
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.rename(path)


@pytest.fixture
def slow(tmp_path: Path, start_service: Any) -> Iterator[SlowService]:
    (tmp_path / "sitecustomize.py").write_text(SLOW_TILES + SLOW_HASHING)
    pace, hashing = tmp_path / "pace", tmp_path / "hashing"
    pace.write_text("0.1")
    hashing.write_text("0")
    with start_service(
        tmp_path / "data",
        EXPORT_RANGE_BYTES="200000",
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]),
    ) as service:
        yield SlowService(service, pace, hashing)
        put(pace, "0")


async def begin(slow: SlowService, http: Any, hooks: Any) -> str:
    body = {"dbId": DEMO_LAYER_ID, "callbackURLs": [hooks.url]}
    async with http.post(f"{slow.service.url}/create", json=body) as answer:
        assert answer.status == 200
        return str((await answer.json())["requestId"])


async def ended_whole(
    slow: SlowService, http: Any, hooks: Any, read: Any, request_id: str, folder: Path
) -> None:
    """The export ends once, with every tile."""
    result = await hooks.result(request_id)
    assert result["tiles"] == {"expected": WHOLE_WORLD, "written": WHOLE_WORLD, "missing": 0}
    assert len(await read(http, result, folder)) == WHOLE_WORLD


async def gone(process: psutil.Process, deadline_s: float) -> float:
    """Wait until a process has ended; how long that took, seconds."""
    began = time.monotonic()
    await asyncio.to_thread(psutil.wait_procs, [process], deadline_s)
    assert not process.is_running()
    return time.monotonic() - began


async def test_a_worker_told_to_stop_ends_its_ranges_and_none_is_done_twice(
    slow: SlowService,
    http: Any,
    hooks: Any,
    eventually: Callable[..., Any],
    read_package: Any,
    tmp_path: Path,
) -> None:
    request_id = await begin(slow, http, hooks)
    await eventually(lambda: len(slow.ranges()) >= 5, deadline_s=30)
    slow.service.child("worker").terminate()
    await eventually(lambda: slow.has_said("worker-1 ended with status 0"), deadline_s=25)
    # Those in hand, at most four side by side, and not all that wait in memory.
    assert slow.ranges_while_stopping() <= 8
    await ended_whole(slow, http, hooks, read_package, request_id, tmp_path)
    assert sorted(slow.ranges()) == sorted(set(slow.ranges()))


async def test_a_second_sigterm_ends_a_worker_at_once_and_its_export_goes_on(
    slow: SlowService,
    http: Any,
    hooks: Any,
    eventually: Callable[..., Any],
    read_package: Any,
    tmp_path: Path,
) -> None:
    request_id = await begin(slow, http, hooks)
    await eventually(lambda: len(slow.ranges()) >= 3, deadline_s=30)
    put(slow.pace, "70")  # by itself the worker would end after its grace
    await eventually(lambda: slow.has_begun_at("70"))
    worker = slow.service.child("worker")
    worker.terminate()
    await eventually(lambda: slow.events("worker-1", "stopping"), deadline_s=10)
    worker.terminate()
    assert await gone(worker, GRACE_S) < STOP_GRACE_S / 2
    put(slow.pace, "0.01")
    await eventually(lambda: slow.has_said("worker-1 ended with status 130"), deadline_s=10)
    await ended_whole(slow, http, hooks, read_package, request_id, tmp_path)


async def test_a_range_longer_than_the_grace_is_not_lost_and_the_worker_ends_within_it(
    slow: SlowService,
    http: Any,
    hooks: Any,
    eventually: Callable[..., Any],
    read_package: Any,
    tmp_path: Path,
) -> None:
    request_id = await begin(slow, http, hooks)
    await eventually(lambda: len(slow.ranges()) >= 3, deadline_s=30)
    put(slow.pace, "70")
    before = len(slow.ranges())
    # Those in hand end, and the next ones take 70 s a batch.
    await eventually(lambda: slow.has_begun_at("70"))
    assert len(slow.ranges()) <= before + 8
    worker = slow.service.child("worker")
    worker.terminate()
    await eventually(lambda: slow.events("worker-1", "stopping"), deadline_s=10)
    put(slow.pace, "0.01")
    assert await gone(worker, 2 * GRACE_S) < GRACE_S
    await eventually(lambda: slow.has_said("worker-1 ended with status 75"), deadline_s=10)
    await ended_whole(slow, http, hooks, read_package, request_id, tmp_path)


@pytest.mark.parametrize(("page_s", "stopped"), [("0.2", 1), ("100", 0)])
async def test_a_worker_told_to_stop_in_a_long_assembly_leaves_with_0_and_the_next_ends_it(
    slow: SlowService,
    http: Any,
    hooks: Any,
    eventually: Callable[..., Any],
    read_package: Any,
    tmp_path: Path,
    page_s: str,
    stopped: int,
) -> None:
    """The assembly stops between two pages; one that hangs at a page goes with the process."""
    put(slow.pace, "0")
    put(slow.hashing, page_s)
    request_id = await begin(slow, http, hooks)
    exports = slow.service.data_dir / "exports"
    await eventually(lambda: list(exports.rglob("*.facts")), deadline_s=60)
    worker = slow.service.child("worker")
    worker.terminate()
    await eventually(lambda: slow.events("worker-1", "stopping"), deadline_s=10)
    await gone(worker, GRACE_S)
    assert not list(exports.rglob("*.gpkg"))
    put(slow.hashing, "0")
    await eventually(lambda: slow.has_said("worker-1 ended with status 0"), deadline_s=10)
    stopping, ended = slow.events("worker-1", "stopping")[0], slow.events("worker-1", "stopped")[0]
    assert seconds_between(stopping, ended) < GRACE_S
    assert len(slow.events("worker-1", "assembly_stopped")) == stopped
    await ended_whole(slow, http, hooks, read_package, request_id, tmp_path)


def seconds_between(earlier: dict[str, Any], later: dict[str, Any]) -> float:
    """How long after one event another was logged."""
    began, ended = (datetime.fromisoformat(event["timestamp"]) for event in (earlier, later))
    return (ended - began).total_seconds()


@pytest.mark.parametrize("role", ["coordinator", "ingress"])
async def test_a_process_told_to_stop_leaves_with_0_and_the_export_goes_on(
    slow: SlowService,
    http: Any,
    hooks: Any,
    eventually: Callable[..., Any],
    read_package: Any,
    tmp_path: Path,
    role: str,
) -> None:
    request_id = await begin(slow, http, hooks)
    await eventually(lambda: len(slow.ranges()) >= 5, deadline_s=30)
    process = slow.service.child(role)
    process.terminate()
    assert await gone(process, 2 * GRACE_S) < GRACE_S
    name = "ingress" if role == "ingress" else f"{role}-1"
    await eventually(lambda: slow.has_said(f"{name} ended with status 0"))
    if role == "ingress":
        await eventually(lambda: is_ready(http, slow.service.url), deadline_s=30)
    await ended_whole(slow, http, hooks, read_package, request_id, tmp_path)
    assert sorted(slow.ranges()) == sorted(set(slow.ranges()))


async def is_ready(http: Any, url: str) -> bool:
    try:
        async with http.get(f"{url}/readyz") as answer:
            return bool(answer.ok)
    except OSError:
        return False
