"""Whole topics as they are now, read by another client than the service's."""

from collections.abc import Iterator

from confluent_kafka import Consumer, Message, TopicPartition

ANSWER_S = 60
"""Longest wait for one answer of the broker, on a busy machine too, seconds."""


def records_now(consumer: Consumer, topic: str) -> Iterator[Message]:
    """Every record that stands in a topic now, partition by partition.

    So what arrives in another one meanwhile hides none. Where the end is, offsets say and no count:
    of a topic that was compacted there are fewer records than offsets.
    """
    known = consumer.list_topics(topic, timeout=ANSWER_S).topics[topic]
    for number in known.partitions:
        place = TopicPartition(topic, number, 0)
        end = consumer.get_watermark_offsets(place, timeout=ANSWER_S)[1]
        consumer.assign([place])
        next_offset = 0
        while next_offset < end:
            message = consumer.poll(ANSWER_S)
            assert message is not None, f"{topic} {number}: nothing from {next_offset} to {end}"
            next_offset = message.offset() + 1
            yield message
