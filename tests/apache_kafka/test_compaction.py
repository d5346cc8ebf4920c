"""Tables come back from changelogs that Kafka has compacted."""

from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

# The catalogue closes segments after an hour; a test cannot wait for it.
COMPACT_AT_ONCE = {
    "cleanup.policy": "compact",
    "segment.ms": "200",
    "min.cleanable.dirty.ratio": "0.001",
    "delete.retention.ms": "0",
    "max.message.bytes": "8388608",
}
VERSIONS = 40


async def test_rows_come_back_from_a_compacted_changelog(
    membership: str,
    broker: str,
    topic_prefix: str,
    stage: Any,
    bench: Any,
    tmp_path: Path,
    eventually: Any,
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        changelog = bench.topics.name(stage.CHANGELOG)
        resource = ConfigResource(ConfigResourceType.TOPIC, changelog, COMPACT_AT_ONCE)
        await admin.alter_configs([resource])
    finally:
        await admin.close()
    written = 0

    async def rows_in_changelog() -> int:
        return len(await bench.read(stage.CHANGELOG))

    async with stage.owner_app(broker, topic_prefix, "one", tmp_path):
        for number in range(VERSIONS):
            for key in ("a", "b"):
                await bench.send(stage.INBOX, stage.Written(key, str(number)), partition=1)
            written += 2
        await bench.send(stage.INBOX, stage.Written("gone", "x"), partition=1)
        await bench.send(stage.INBOX, stage.Written("gone", "remove"), partition=1)
        written += 2

        async def all_copied() -> bool:
            return len(await bench.copied()) == written - 1

        await eventually(all_copied, deadline_s=30)
        round_number = 0

        async def is_compacted() -> bool:
            # A segment is closed only by a record that comes after its time.
            nonlocal round_number
            round_number += 1
            await bench.send(stage.INBOX, stage.Written("c", str(round_number)), partition=1)
            return await rows_in_changelog() < written / 4

        await eventually(is_compacted, deadline_s=40)
    again = stage.owner_app(broker, topic_prefix, "one", tmp_path)
    async with again:
        await eventually(lambda: 1 in again.agents[0].partitions, deadline_s=30)
        notes = again.agents[0].owner(1).notes
        assert notes.keys() == {"a", "b", "c"}
        assert notes["a"].texts == tuple(str(number) for number in range(VERSIONS))
        await bench.send(stage.INBOX, stage.Written("a", "after"), partition=1)
        await eventually(
            lambda: again.agents[0].owner(1).notes["a"].texts[-1] == "after", deadline_s=10
        )
