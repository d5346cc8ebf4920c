"""Fault: the broker is not there yet, is away for a while, or dies under load.

Promise: the ingress answers 503 with Retry-After and accepts nothing that it cannot keep; the
others wait and go on; every accepted request has exactly one result.
"""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from app.demo import DEMO_LAYER_ID, make_demo_layer
from app.kafka.topic_admin import create_topics
from app.kafka.topics import Topics

pytestmark = pytest.mark.long

SETTLED_S = 400
ROLES = ("ingress", "coordinator", "worker")


@pytest.fixture
def apart(tmp_path: Path, load_beside: Callable[[str], Any]) -> Iterator[Any]:
    """Processes and broker apart; nothing is started yet."""
    make_demo_layer(tmp_path / "layers", tmp_path / "catalogue", lambda _done, _total: None)
    processes = load_beside("processes").Processes(tmp_path)
    yield processes
    processes.end()


class Callers:
    """People who ask for exports all the time, each another area, and note what was accepted."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url, self.http = url, http
        self.accepted: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.without_retry_after = 0
        self._number = 0

    async def ask(self) -> int:
        """Ask once; the status, 0 when nobody answered."""
        self._number += 1
        west, south = -180 + self._number * 7 % 350, -80 + self._number * 3 % 150
        body = {"dbId": DEMO_LAYER_ID, "bbox": [west, south, west + 3, south + 3]}
        try:
            async with self.http.post(f"{self.url}/create", json=body) as answer:
                if answer.status == 200:
                    self.accepted.append((await answer.json())["id"])
                elif answer.status == 503:
                    self.without_retry_after += "Retry-After" not in answer.headers
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            status = 0
        self.statuses[status] += 1
        return status

    async def ask_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.ask()
            await asyncio.sleep(0.05)


async def is_up(processes: Any, http: Any) -> bool:
    """Whether the ingress is ready and an export could run."""
    processes.restart_the_left()
    try:
        async with http.get(f"{processes.url}/readyz") as answer:
            return bool(answer.ok)
    except aiohttp.ClientError:
        return False


def one_result_each(bodies: list[dict[str, Any]], accepted: list[str]) -> None:
    """Every accepted request has one result, told once or in the very same words."""
    told: dict[str, set[str]] = {}
    for body in bodies:
        told.setdefault(body["requestId"], set()).add(repr(sorted(body.items(), key=str)))
    assert not set(accepted) - told.keys()
    assert all(len(told[request_id]) == 1 for request_id in accepted)


async def all_answered(
    processes: Any, callers: Callers, read: Any, broker: str, deadline_s: float
) -> None:
    """Wait until every accepted request has its result, and look at them."""
    end = time.monotonic() + deadline_s
    while True:
        if processes is not None:
            processes.restart_the_left()
        bodies = await asyncio.to_thread(read, broker)
        missing = set(callers.accepted) - {body["requestId"] for body in bodies}
        if not missing:
            break
        assert time.monotonic() < end, f"{len(missing)} of {len(callers.accepted)}: {missing}"
        await asyncio.sleep(0.5)
    one_result_each(bodies, callers.accepted)
    failed = [body for body in bodies if not body["success"]]
    assert not failed, failed[:2]
    assert callers.without_retry_after == 0
    assert set(callers.statuses) <= {200, 503, 0}, callers.statuses


async def test_processes_started_without_a_broker_wait_for_it_and_say_so(
    apart: Any, http: Any, eventually: Callable[..., Any], read_results: Any
) -> None:
    apart.start(*ROLES)
    for role in ("coordinator", "worker"):
        await eventually(
            lambda role=role: (
                (apart.data_dir / f"{role}.out").exists()
                and apart.events(role, "waiting_for_broker")
            ),
            deadline_s=40,
        )
    await eventually(lambda: apart.events("ingress", "ingress_listening"), deadline_s=40)
    callers = Callers(apart.url, http)
    assert await callers.ask() == 503
    for role in ROLES:
        assert apart.running[role].poll() is None
        assert "Traceback" not in apart.text(role)
    await asyncio.to_thread(apart.broker.start)
    await create_topics(apart.broker.address, Topics())
    await eventually(lambda: is_up(apart, http), deadline_s=40)
    assert await callers.ask() == 200
    await all_answered(apart, callers, read_results, apart.broker.address, SETTLED_S)
    assert apart.left == []


@pytest.mark.parametrize("away_s", [5, 40])
@pytest.mark.parametrize("how", ["frozen", "stopped"])
async def test_a_broker_that_is_away_for_a_while_costs_no_accepted_request(
    apart: Any,
    http: Any,
    eventually: Callable[..., Any],
    read_results: Any,
    how: str,
    away_s: int,
) -> None:
    await asyncio.to_thread(apart.broker.start)
    await create_topics(apart.broker.address, Topics())
    apart.start(*ROLES)
    await eventually(lambda: is_up(apart, http), deadline_s=60)
    callers, stop = Callers(apart.url, http), asyncio.Event()
    asking = asyncio.create_task(callers.ask_until(stop))
    await eventually(lambda: len(callers.accepted) >= 20, deadline_s=40)
    if how == "frozen":
        os.kill(apart.broker.pid, signal.SIGSTOP)
    else:
        await asyncio.to_thread(apart.broker.stop)
    await asyncio.sleep(0.5)
    before = len(callers.accepted)
    await asyncio.sleep(away_s - 0.5)
    # One may have been under way when the broker went.
    assert len(callers.accepted) <= before + 1
    if how == "frozen":
        os.kill(apart.broker.pid, signal.SIGCONT)
    else:
        await asyncio.to_thread(apart.broker.start)
    accepted = len(callers.accepted)
    await eventually(
        lambda: apart.restart_the_left() or len(callers.accepted) > accepted + 10, deadline_s=60
    )
    stop.set()
    await asking
    await all_answered(apart, callers, read_results, apart.broker.address, SETTLED_S)
    if away_s > 5:
        assert callers.statuses[503] > 0


async def test_an_embedded_broker_killed_under_load_costs_no_accepted_request(
    tmp_path: Path,
    start_service: Any,
    http: Any,
    eventually: Callable[..., Any],
    read_results: Any,
) -> None:
    # Whoever asks goes on asking while the broker is away.
    settings = {"EXPORT_RANGE_BYTES": "200000", "EXPORT_VERDICT_WAIT_S": "2"}
    with start_service(tmp_path / "data", **settings) as service:
        callers, stop = Callers(service.url, http), asyncio.Event()
        asking = asyncio.create_task(callers.ask_until(stop))
        for _ in range(4):
            accepted = len(callers.accepted)
            await eventually(lambda n=accepted: len(callers.accepted) >= n + 25, deadline_s=60)
            broker = service.child("noida-db")
            broker.kill()
            await eventually(lambda pid=broker.pid: other_broker(service, pid), deadline_s=30)
        accepted = len(callers.accepted)
        await eventually(lambda: len(callers.accepted) > accepted + 10, deadline_s=60)
        stop.set()
        await asking
        await all_answered(None, callers, read_results, service.broker, SETTLED_S)


def other_broker(service: Any, pid: int) -> bool:
    try:
        return bool(service.child("noida-db").pid != pid)
    except LookupError:
        return False
