"""Three nodes, min ISR 2: a node is killed, stopped, started again while exports flow."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from app.demo import DEMO_LAYER_ID
from app.kafka.topic_admin import check_topics, create_topics
from app.kafka.topics import Topics

# Three Kafka nodes and the service on two cores; one leader is away for 9 s before it is replaced.
pytestmark = pytest.mark.timeout(1800)

TILE_DEG = 180 / 2**5  # of the demo layer's finest zoom
ALL_TOPICS = [name for name, _ in Topics()]


@pytest.fixture
def three_nodes(kafka_clusters: Any) -> Iterator[Any]:
    with kafka_clusters(3) as running:
        yield running


@asynccontextmanager
async def admin_of(nodes: Any) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=nodes.address)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def partitions_of(nodes: Any) -> dict[tuple[str, int], dict[str, Any]]:
    async with admin_of(nodes) as admin:
        return {
            (topic["topic"], partition["partition"]): partition
            for topic in await admin.describe_topics([*ALL_TOPICS, "__consumer_offsets"])
            for partition in topic["partitions"]
        }


async def copies_that_must_confirm(nodes: Any) -> set[str]:
    """min.insync.replicas of all our topics, as the brokers apply it."""
    async with admin_of(nodes) as admin:
        asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in ALL_TOPICS]
        return {
            entry[1]
            for answer in await admin.describe_configs(asked)
            for resource in answer.resources
            for entry in resource[4]
            if entry[0] == "min.insync.replicas"
        }


async def coordinator_of(nodes: Any, group: str) -> int:
    async with admin_of(nodes) as admin:
        return int(await admin.find_coordinator(group))


async def every_copy_is_in_step(nodes: Any) -> bool:
    try:
        partitions = await partitions_of(nodes)
    except KafkaError:  # it asked a node that is still starting
        return False
    return {len(partition["isr"]) for partition in partitions.values()} == {3}


class SmallExports:
    """Asks for another small export again and again, and knows which were accepted."""

    def __init__(self, service: Any, http: Any, hooks: Any) -> None:
        self.service, self.http, self.hooks = service, http, hooks
        self.accepted: list[str] = []
        self.refused: list[str] = []

    async def ask_on_and_on(self) -> None:
        # Each within another tile of the finest zoom: the same tiles would be the same export.
        for number in range(64 * 32):
            west = -180 + TILE_DEG * (number % 64) + 1
            south = -90 + TILE_DEG * (number // 64) + 1
            await self._ask([west, south, west + 1, south + 1])
            await asyncio.sleep(0.2)

    async def _ask(self, bbox: list[float]) -> None:
        body = {"dbId": DEMO_LAYER_ID, "bbox": bbox, "callbackURLs": [self.hooks.url]}
        try:
            async with self.http.post(f"{self.service.url}/create", json=body) as answer:
                told = await answer.json()
                if answer.status == 200:
                    self.accepted.append(told["requestId"])
                else:
                    assert answer.status == 503, told
                    self.refused.append(json.dumps(told))
        except (aiohttp.ClientError, TimeoutError) as error:
            self.refused.append(repr(error))

    def answered(self) -> set[str]:
        return {body["requestId"] for _, body in self.hooks.calls}


async def test_nothing_is_lost_when_leaders_are_killed_and_every_node_is_restarted(
    three_nodes: Any,
    http: Any,
    hooks: Any,
    eventually: Any,
    start_service: Any,
    read_results: Any,
    tmp_path: Any,
) -> None:
    with start_service(
        tmp_path / "data",
        EXPORT_BROKER=three_nodes.address,
        EXPORT_REPLICATION_FACTOR="3",
        EXPORT_VERDICT_WAIT_S="2",
    ) as service:
        assert (await check_topics(three_nodes.address, Topics(), deadline_s=60)).is_sound
        assert await copies_that_must_confirm(three_nodes) == {"2"}
        exports = SmallExports(service, http, hooks)
        began_s = time.monotonic()
        asking = asyncio.create_task(exports.ask_on_and_on())

        async def exports_flow() -> None:
            known = set(exports.accepted)
            await eventually(
                lambda: len(exports.answered() - known) >= 6 or asking.done(), deadline_s=90
            )

        await exports_flow()
        for find_victim in (
            lambda: leader_of(three_nodes, "export-registry"),
            lambda: leader_of(three_nodes, "export-finished"),
            lambda: coordinator_of(three_nodes, "worker"),
        ):
            victim = three_nodes.nodes[await find_victim() - 1]
            killed_s = time.monotonic()
            await asyncio.to_thread(victim.kill)
            assert (await check_topics(three_nodes.address, Topics(), deadline_s=60)).is_sound
            assert (await create_topics(three_nodes.address, Topics())).is_sound
            await exports_flow()
            tell(f"six exports after the kill of node {victim.number}", killed_s)
            victim.start()
            await eventually(lambda: every_copy_is_in_step(three_nodes), deadline_s=60)
        for node in three_nodes.nodes:
            stopped_s = time.monotonic()
            await asyncio.to_thread(node.stop)
            node.start()
            await eventually(lambda: every_copy_is_in_step(three_nodes), deadline_s=60)
            tell(f"restart of node {node.number}", stopped_s)
        await exports_flow()
        await eventually(lambda: len(exports.accepted) > 100 or asking.done(), deadline_s=60)
        asking.cancel()
        await asyncio.wait([asking])
        await eventually(lambda: exports.answered() >= set(exports.accepted), deadline_s=60)

        async def every_result_stands_in_kafka() -> dict[str, set[str]]:
            told = {request_id: set() for request_id in exports.accepted}
            for body in await asyncio.to_thread(read_results, three_nodes.address):
                assert body["success"]
                if body["requestId"] in told:
                    told[body["requestId"]].add(json.dumps(body, sort_keys=True))
            assert all(told.values())
            return told

        # Again and again: requests that were refused may be finished while it reads.
        told = await eventually(every_result_stands_in_kafka, deadline_s=20)
    tell(f"{len(exports.accepted)} accepted, {len(exports.refused)} refused", began_s)
    assert not [line for line in service.lines if "starting it again" in line]
    assert len(exports.accepted) > 100
    assert {len(different) for different in told.values()} == {1}


async def leader_of(nodes: Any, topic: str) -> int:
    return int((await partitions_of(nodes))[topic, 0]["leader"])


def tell(what: str, since_s: float) -> None:
    """Show a measurement; pytest -rP prints it."""
    sys.stdout.write(f"{what}: {time.monotonic() - since_s:.1f} s\n")
