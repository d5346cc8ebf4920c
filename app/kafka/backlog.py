"""How long the oldest record of a topic has waited for its consumer group."""

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from app.domain.errors import TemporaryFailure
from app.kafka.topics import MAX_MESSAGE_BYTES, Topics, TopicSpec

QUIET_MS = 2_000
"""How long the broker may take for one record, ms."""


class BacklogUnknown(TemporaryFailure):
    """The broker did not answer: nothing can be said."""


async def oldest_unread_at_ms(
    bootstrap: str, topics: Topics, spec: TopicSpec, group: str
) -> int | None:
    """Find when the oldest record was sent that a group has not committed.

    Args:
        bootstrap: `host:port`, several with commas.
        topics: Names of the topics; their prefix stands before the group's name, too.
        spec: The topic.
        group: Name of the consumer group, without prefix.

    Returns:
        Kafka's timestamp, ms since 1970 UTC; None: everything has been read.

    Raises:
        BacklogUnknown: The broker did not answer.
    """
    name = topics.name(spec)
    places = [TopicPartition(name, partition) for partition in range(spec.partitions)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        max_partition_fetch_bytes=MAX_MESSAGE_BYTES,
    )
    try:
        committed = await _committed(bootstrap, topics.prefix + group, places)
        await consumer.start()
        consumer.assign(places)
        first = await consumer.beginning_offsets(places)
        end = await consumer.end_offsets(places)
        oldest: list[int] = []
        for place in places:
            next_offset = max(committed.get(place, 0), first[place])
            if next_offset < end[place]:
                consumer.seek(place, next_offset)
                found = await consumer.getmany(place, timeout_ms=QUIET_MS, max_records=1)
                oldest += (message.timestamp for message in found.get(place, ()))
    except (KafkaError, OSError) as error:
        raise BacklogUnknown(f"{bootstrap}: {error!r}") from error
    finally:
        await consumer.stop()
    return min(oldest, default=None)


async def _committed(
    bootstrap: str, group: str, places: list[TopicPartition]
) -> dict[TopicPartition, int]:
    """Next offset of each partition; one without a commit is left out."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        found = await admin.list_consumer_group_offsets(group, partitions=places)
    finally:
        await admin.close()
    return {place: known.offset for place, known in found.items() if known.offset >= 0}
