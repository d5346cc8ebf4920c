"""How long the oldest record of some topics has waited for its consumer group."""

from collections.abc import Iterable
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from app.domain.errors import TemporaryFailure
from app.kafka.topics import MAX_MESSAGE_BYTES, Topics, TopicSpec

ANSWER_MS = 2_000
"""How long the broker may take for one answer, ms."""


class BacklogUnknown(TemporaryFailure):
    """The broker did not answer: nothing can be said."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The oldest record that nobody has read.

    Attributes:
        topic: Its topic, with prefix.
        partition: Its partition.
        offset: Its offset there.
        at_ms: Kafka's timestamp, ms since 1970 UTC; its producer may have chosen it.
    """

    topic: str
    partition: int
    offset: int
    at_ms: int


async def oldest_unread(
    bootstrap: str, topics: Topics, read_by: Iterable[tuple[TopicSpec, str]]
) -> Waiting | None:
    """Find the oldest record that its group has not committed.

    Args:
        bootstrap: `host:port`, several with commas.
        topics: Names of the topics; their prefix stands before the groups' names, too.
        read_by: Topics, each with its consumer group, without prefix.

    Returns:
        None: everything has been read.

    Raises:
        BacklogUnknown: The broker did not answer.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        request_timeout_ms=ANSWER_MS,
        max_partition_fetch_bytes=MAX_MESSAGE_BYTES,
    )
    try:
        next_offsets = await _committed(bootstrap, topics, read_by)
        await consumer.start()
        consumer.assign(list(next_offsets))
        first = await consumer.beginning_offsets(list(next_offsets))
        end = await consumer.end_offsets(list(next_offsets))
        found: list[Waiting] = []
        for place, committed in next_offsets.items():
            offset = max(committed, first[place])
            if offset < end[place]:
                consumer.seek(place, offset)
                got = await consumer.getmany(place, timeout_ms=ANSWER_MS, max_records=1)
                found += (
                    Waiting(one.topic, one.partition, one.offset, one.timestamp)
                    for one in got.get(place, ())
                )
    except (KafkaError, OSError) as error:
        raise BacklogUnknown(f"{bootstrap}: {error!r}") from error
    finally:
        await consumer.stop()
    return min(found, key=lambda waiting: waiting.at_ms, default=None)


async def _committed(
    bootstrap: str, topics: Topics, read_by: Iterable[tuple[TopicSpec, str]]
) -> dict[TopicPartition, int]:
    """Next offset of each partition; 0 for one that was never committed."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=ANSWER_MS)
    offsets: dict[TopicPartition, int] = {}
    try:
        await admin.start()
        for spec, group in read_by:
            places = [TopicPartition(topics.name(spec), one) for one in range(spec.partitions)]
            known = await admin.list_consumer_group_offsets(
                topics.prefix + group, partitions=places
            )
            offsets |= {place: max(0, known[place].offset) for place in places}
    finally:
        await admin.close()
    return offsets
