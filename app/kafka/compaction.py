"""Compacts the state topics of the embedded broker, which never does so itself.

noida-db takes `cleanup.policy=compact` and keeps every record all the same: 200,000 records of ten
keys stay 66 MB in memory, are written to disk as a whole at each save, and are all read at each
recovery. It does honour `retention.ms` and DeleteRecords. So this runs while the service is at
rest: after the embedded broker has started, before anything else has.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from app.kafka.owned_table import RowVersion
from app.kafka.producer import build_producer
from app.kafka.topic_admin import topic_configs
from app.kafka.topics import EXPORT_FINISHED, MAX_MESSAGE_BYTES, Topics, TopicSpec

log = structlog.get_logger(__name__)

# Below this many superseded records in a partition the work is not worth it.
LEAST_GARBAGE_COUNT = 1_000

_CHUNK = 500
_READ_MS = 1_000


async def compact_at_rest(
    bootstrap: str,
    topics: Topics,
    *,
    least_garbage_count: int = LEAST_GARBAGE_COUNT,
    deadline_s: float = 120.0,
) -> dict[str, int]:
    """Drop superseded records of the compacted topics; nobody may write to them meanwhile.

    The newest record of each key is written again at the end, then everything before is deleted;
    a crash in between leaves some records twice, and the next run mends it. The public
    `export-finished` is only cut at its beginning, so that its consumers see no result again.

    Args:
        bootstrap: Address of the embedded broker.
        topics: Names of the topics; all exist.
        least_garbage_count: Partitions with fewer superseded records are left alone, count.
        deadline_s: How long everything may take, s.

    Returns:
        Records dropped, by name of the topic on the broker; topics left alone are not in it.

    Raises:
        KafkaError: The broker failed; nothing is lost.
        TimeoutError: It took too long; nothing is lost.
    """
    dropped: dict[str, int] = {}
    async with asyncio.timeout(deadline_s), _clients(bootstrap) as (consumer, producer, admin):
        for name, spec in topics:
            if spec.cleanup_policy != "compact":
                continue
            for partition in range(spec.partitions):
                tp = TopicPartition(name, partition)
                live, count, end = await _read(consumer, tp)
                if count - len(live) < max(least_garbage_count, len(live)):
                    continue
                if spec is EXPORT_FINISHED:
                    before = min((message.offset for message in live), default=end)
                else:
                    before = end
                    await _write_again(producer, tp, live)
                async with _deletion_allowed(admin, name, spec):
                    await admin.delete_records({tp: RecordsToDelete(before_offset=before)})
                dropped[name] = dropped.get(name, 0) + count - len(live)
    if dropped:
        log.info("compacted", dropped=dropped)
    return dropped


@asynccontextmanager
async def _clients(bootstrap: str) -> AsyncIterator[tuple[Any, Any, Any]]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        # The default, latest, may win against a seek that follows an assignment.
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=MAX_MESSAGE_BYTES,
    )
    producer = build_producer(bootstrap)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await consumer.start()
        await producer.start()
        await admin.start()
        yield consumer, producer, admin
    finally:
        await consumer.stop()
        await producer.stop()
        await admin.close()


@asynccontextmanager
async def _deletion_allowed(admin: Any, name: str, spec: TopicSpec) -> AsyncIterator[None]:
    """Let a compacted topic be cut at its beginning; Kafka's rule forbids it otherwise.

    A crash within leaves the policy behind, which `topics` reports; without retention it deletes
    nothing by itself.
    """
    configs = topic_configs(spec)
    allowed = {**configs, "cleanup.policy": "compact,delete", "retention.ms": "-1"}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, allowed)])
    try:
        yield
    finally:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs)])


async def _read(consumer: Any, tp: TopicPartition) -> tuple[list[Any], int, int]:
    """Read one partition to its end.

    Returns:
        The newest record of each living key in order of offset, how many records there are,
        and the offset after the last one.
    """
    first = (await consumer.beginning_offsets([tp]))[tp]
    end = (await consumer.end_offsets([tp]))[tp]
    newest: dict[bytes | None, Any] = {}
    consumer.assign([tp])
    consumer.seek(tp, first)
    offset, count = first, 0
    while offset < end:
        for messages in (await consumer.getmany(tp, timeout_ms=_READ_MS)).values():
            for message in messages:
                offset = message.offset + 1
                count += 1
                before = newest.get(message.key)
                # A process that was frozen may have written an older row after a newer one.
                if before is None or _version(message) >= _version(before):
                    newest[message.key] = message
    live = [message for message in newest.values() if message.value is not None]
    return sorted(live, key=lambda message: int(message.offset)), count, end


def _version(message: Any) -> RowVersion:
    return RowVersion.from_headers(message.headers)


async def _write_again(producer: Any, tp: TopicPartition, live: list[Any]) -> None:
    for start in range(0, len(live), _CHUNK):
        confirmations = [
            await producer.send(
                tp.topic,
                message.value,
                key=message.key,
                partition=tp.partition,
                timestamp_ms=message.timestamp,
                headers=list(message.headers),
            )
            for message in live[start : start + _CHUNK]
        ]
        await asyncio.gather(*confirmations)
