"""Events, list, status and the Kafka topics tell the same, though the ingress is killed twice."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson
from confluent_kafka import Consumer

from app.demo import DEMO_LAYER_ID
from app.domain.records import ExportProgress, RequestProgress
from app.domain.result import result_body
from app.kafka.codec import Codec
from tests.integration.ingress.event_reader import EventReader
from tests.topic_reading import records_now

BOX = [34.2, 29.4, 35.9, 33.4]
WORLD = [-180, -90, 180, 90]
ENDED = {"Completed", "Failed", "Aborted", "Expired"}
DEADLINE_S = 60


@dataclass
class Follower:
    """A page that follows all exports: it comes again with the last id, as browsers do."""

    url: str
    latest: dict[str, dict[str, Any]] = field(default_factory=dict)
    percentages: dict[str, list[int]] = field(default_factory=dict)
    connections: int = 0
    last_id: str = ""

    async def follow(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(self.url, timeout=timeout) as http:
            while True:
                with suppress(aiohttp.ClientError, EOFError, OSError):
                    headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
                    async with http.get("/exports/events", headers=headers) as answer:
                        if answer.status == 200:
                            self.connections += 1
                            await self._take(EventReader(answer))
                await asyncio.sleep(0.1)

    async def _take(self, reader: EventReader) -> None:
        while True:
            told = await reader.read_block()
            self.last_id = reader.last_id
            if told is not None:
                self.latest[told["requestId"]] = told
                self.percentages.setdefault(told["requestId"], []).append(told["percentage"])


@asynccontextmanager
async def following(url: str) -> AsyncIterator[Follower]:
    follower = Follower(url)
    task = asyncio.create_task(follower.follow())
    try:
        yield follower
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Asker:
    """Asks the service by HTTP."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url, self.http = url, http

    async def __call__(self, method: str, path: str, body: Any = None) -> Any:
        async with self.http.request(method, f"{self.url}{path}", json=body) as answer:
            assert answer.status in (200, 202), await answer.text()
            return await answer.json()

    async def create(self, bbox: Any, *urls: str) -> str:
        body = {"dbId": DEMO_LAYER_ID, "bbox": bbox, "callbackURLs": urls}
        return (await self("POST", "/create", body))["requestId"]

    async def listed(self) -> dict[str, dict[str, Any]]:
        page = await self("GET", "/exports?limit=200")
        assert page["next"] is None
        return {one["requestId"]: one for one in page["exports"]}

    async def is_ready(self) -> bool:
        with suppress(aiohttp.ClientError):
            async with self.http.get(f"{self.url}/readyz") as answer:
                return answer.status == 200
        return False


async def kill_ingress(service, ask, follower, eventually) -> None:
    """Kill it, and wait until another one is ready and the page is there again."""
    old, connections = service.child("ingress"), follower.connections
    old.send_signal(signal.SIGKILL)
    await asyncio.to_thread(old.wait, 5 * DEADLINE_S)
    await eventually(ask.is_ready, deadline_s=DEADLINE_S)
    await eventually(lambda: follower.connections > connections, deadline_s=DEADLINE_S)


def newest_records(broker: str, topic: str) -> dict[str, Any]:
    """The last record of each key, as whoever reads the topic with another client sees them."""
    codec = Codec.from_folder()
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "anyone", "log_level": 0})
    newest: dict[str, Any] = {}
    try:
        for message in records_now(consumer, topic):
            value = message.value()
            newest[message.key().decode()] = None if value is None else codec.decode(value)
    finally:
        consumer.close()
    return {key: record for key, record in newest.items() if record is not None}


def iso(at_ms: int) -> str:
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def check_against_topics(
    broker: str, exports: dict[str, dict[str, Any]], wholes: dict[str, dict[str, Any]]
) -> None:
    """Hold what the API tells to what the topics hold, read without any code of the ingress."""
    progress = newest_records(broker, "export-progress")
    results = newest_records(broker, "export-finished")
    requests = {
        key: record
        for key, record in progress.items()
        if isinstance(record, RequestProgress) and record.repeats is None
    }
    assert requests.keys() == exports.keys() == wholes.keys()
    for request_id, said in requests.items():
        told, whole, result = exports[request_id], wholes[request_id], results[request_id]
        export = progress[said.export_id]
        assert isinstance(export, ExportProgress)
        assert told["acceptedAt"] == iso(said.accepted_at_ms)
        assert (told["client"], told["priority"]) == (said.client, said.priority)
        assert told["isDuplicated"] == (said.verdict == "Joined")
        assert whole["bbox"] == orjson.loads(said.bbox_json or "null")
        assert whole["result"] == result_body(result)
        expected = "Expired" if said.deleted else result.status
        assert (told["status"], told["finishedAt"]) == (expected, result.finished_at)
        if result.success:
            assert told["fileUri"] == result.file_uri
            until_ms = said.at_ms if said.deleted else export.expires_at_ms
            assert told["expirationTime"] == iso(until_ms)
            assert told["tiles"]["expected"] == result.tiles.expected == export.tiles_expected
            assert told["percentage"] == 100


def check_deliveries(broker: str, request_id: str, told: list[dict[str, Any]]) -> None:
    rows = newest_records(broker, "coordinator-deliveries-changelog")
    assert {one["id"] for one in told} == {
        key for key, row in rows.items() if row.request_id == request_id
    }
    for one in told:
        row = rows[one["id"]]
        assert (one["url"], one["state"], one["tries"]) == (row.url, row.state, row.trials)


async def test_events_list_status_and_topics_agree_after_the_ingress_was_killed(
    http, hooks, eventually, tmp_path, start_service
):
    with start_service(tmp_path / "data", EXPORT_RANGE_BYTES="100000") as service:
        ask = Asker(service.url, http)
        async with following(service.url) as follower:
            await eventually(lambda: follower.last_id, deadline_s=DEADLINE_S)
            small = await ask.create(BOX, hooks.url)
            await hooks.result(small)
            large, joined = await ask.create(WORLD), await ask.create(None)
            stopped = await ask.create([-10, -10, 10, 10])
            await ask("DELETE", f"/exports/{stopped}")
            await kill_ingress(service, ask, follower, eventually)

            known = {small, large, joined, stopped}
            await eventually(
                lambda: {
                    key for key, told in follower.latest.items() if told["status"] in ENDED
                } == known,
                deadline_s=DEADLINE_S,
            )  # fmt: skip
            again = await ask.create(BOX)  # it repeats the first: answered with that one's id
            assert again == small
            (delivery,) = (await ask("GET", f"/exports/{small}/deliveries"))["deliveries"]
            hooks.calls.clear()
            await ask("POST", f"/exports/{small}/deliveries/{delivery['id']}/redeliver")
            await hooks.result(small)
            await ask("DELETE", f"/exports/{large}")
            await eventually(
                lambda: follower.latest[large]["status"] == "Expired", deadline_s=DEADLINE_S
            )
            await kill_ingress(service, ask, follower, eventually)

            async def has_told_the_redelivery() -> bool:
                (one,) = (await ask("GET", f"/exports/{small}/deliveries"))["deliveries"]
                return one["state"] == "delivered" and one["tries"] == 2

            await eventually(has_told_the_redelivery, deadline_s=DEADLINE_S)

            # It has come again, and may still be about to hear what it has missed.
            async def is_told_alike() -> dict[str, dict[str, Any]]:
                listed = await ask.listed()
                assert follower.latest == listed
                return listed

            listed = await eventually(is_told_alike, deadline_s=DEADLINE_S)
            wholes = {key: await ask("GET", f"/exports/{key}") for key in listed}
            for key, told in listed.items():
                same = told.keys() & wholes[key].keys()
                assert {name: told[name] for name in same} == {
                    name: wholes[key][name] for name in same
                }
                status = await ask("GET", f"/taskStatus/{key}")
                assert (status["status"], status["percentage"]) == (
                    told["status"],
                    told["percentage"],
                )
            told = (await ask("GET", f"/exports/{small}/deliveries"))["deliveries"]
            await asyncio.to_thread(check_against_topics, service.broker, listed, wholes)
            await asyncio.to_thread(check_deliveries, service.broker, small, told)
            for percentages in follower.percentages.values():
                assert percentages == sorted(percentages)
            assert follower.connections >= 3
