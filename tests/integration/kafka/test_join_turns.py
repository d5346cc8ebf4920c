"""Members that start at the worst moment for the embedded broker are in their group at once."""

import asyncio
import uuid
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from app.kafka import group_errors, join_turns
from app.kafka.topics import Topics

WORST_GAPS_S = [0.25 + 0.0125 * step for step in range(12)]
"""How long after the first member the second one joins: without turns one pair or more of these
waits for the rebalance to time out, in nearly every run."""


def member(broker: str, topic: str, group: str, name: str, lock: Path) -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=broker,
        group_id=group,
        group_instance_id=name,
        session_timeout_ms=30_000,
        rebalance_timeout_ms=400_000,
        heartbeat_interval_ms=1_000,
        request_timeout_ms=430_000,
        enable_auto_commit=False,
    )
    join_turns.take_turns(consumer, lock)
    return consumer


async def test_two_members_that_start_a_third_of_a_second_apart_wait_for_no_timeout(
    broker: str, topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine a join takes longer than a member usually waits for its turn.
    monkeypatch.setattr(join_turns, "LONGEST_WAIT_S", 60.0)
    group_errors.install()
    topic = topics.name("export-plans")

    async def pair_joins(gap_s: float) -> None:
        group = f"{topics.prefix}{uuid.uuid4().hex}"
        one, two = (member(broker, topic, group, name, tmp_path / group) for name in ("1", "2"))

        async def second_joins() -> None:
            await asyncio.sleep(gap_s)
            await two.start()

        try:
            await asyncio.gather(one.start(), second_joins())
        finally:
            await asyncio.gather(one.stop(), two.stop())

    # The one that waits for a timeout waits for more than this.
    async with asyncio.timeout(200):
        await asyncio.gather(*map(pair_joins, WORST_GAPS_S))
