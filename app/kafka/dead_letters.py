"""Read the dead letters, and put one back where it came from.

A dead letter is the original key and value; where it came from and why it is here stand in its
headers (docs/decisions/0002).
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from app.domain.errors import InvalidRecord, TemporaryFailure
from app.domain.topic_names import DEAD_LETTERS
from app.kafka.delivery import CUT_HEADER
from app.kafka.topics import MAX_REQUEST_BYTES, Topics

PARTITION: Final = 0
"""Dead letters have one partition, so that an offset names one."""

MAX_DIGITS: Final = 40
"""Of a number in a header; Python refuses to read some thousands."""

QUIET_MS: Final = 5_000
"""How long the broker may keep silent about records that it says it has, ms."""


class BrokerSilent(TemporaryFailure):
    """The broker cannot be reached, or does not hand out what it has."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that could not be handled.

    Attributes:
        offset: Its place among the dead letters; its name here.
        key: Original key.
        value: Original value; None: it was a tombstone.
        reason: Why it is here, for people.
        topic: The topic it came from, as the broker knows it.
        partition: The partition it came from.
        source_offset: Its offset there.
        at_ms: When it was given up, ms since 1970 UTC.
        cut_from_bytes: Length of key and value together before they were cut to fit here; None:
            they are whole.
    """

    offset: int
    key: bytes | None
    value: bytes | None
    reason: str
    topic: str
    partition: int
    source_offset: int
    at_ms: int
    cut_from_bytes: int | None = None


async def read_dead_letters(
    bootstrap: str, topics: Topics, *, first_offset: int = 0
) -> AsyncIterator[DeadLetter]:
    """Yield the dead letters that are there now, oldest first, one at a time.

    Args:
        bootstrap: Kafka address.
        topics: Names of the topics.
        first_offset: Where to begin.

    Raises:
        BrokerSilent: The broker cannot be reached.
    """
    place = TopicPartition(topics.name(DEAD_LETTERS), PARTITION)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        max_partition_fetch_bytes=MAX_REQUEST_BYTES,
    )
    try:
        await consumer.start()
        consumer.assign([place])
        beginning = (await consumer.beginning_offsets([place]))[place]
        end = (await consumer.end_offsets([place]))[place]
        next_offset = max(first_offset, beginning)
        if next_offset < end:
            consumer.seek(place, next_offset)
        while next_offset < end:
            batch = await consumer.getmany(timeout_ms=QUIET_MS, max_records=50)
            if not batch:
                raise BrokerSilent(f"no dead letter {next_offset} within {QUIET_MS} ms")
            for message in batch[place]:
                next_offset = message.offset + 1
                if message.offset < end:
                    yield _letter(message.offset, message.key, message.value, message.headers)
    except (KafkaError, OSError) as error:
        raise BrokerSilent(f"{bootstrap}: {error!r}") from error
    finally:
        await consumer.stop()


async def find_dead_letter(bootstrap: str, topics: Topics, offset: int) -> DeadLetter | None:
    """Read one dead letter; None: there is none at this offset."""
    async for letter in read_dead_letters(bootstrap, topics, first_offset=offset):
        return letter if letter.offset == offset else None
    return None


async def put_back(bootstrap: str, topics: Topics, letters: Iterable[DeadLetter]) -> int:
    """Send dead letters again to the very partitions they came from.

    Doing it twice is harmless for what has happened and for requests: every handler knows a record
    that it has handled before. A command is stamped anew where it is admitted, and acts again. The
    dead letter stays; one that still cannot be handled comes back as another.

    Returns:
        How many the broker has confirmed.

    Raises:
        InvalidRecord: A letter was cut, does not say where it came from, or that is no topic of
            ours; none is put back then.
        BrokerSilent: The broker did not confirm one; those before it are back.
    """
    letters = tuple(letters)
    for letter in letters:
        _check_whole(letter)
        _check_origin(topics, letter)
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", max_request_size=MAX_REQUEST_BYTES
    )
    count = 0
    try:
        await producer.start()
        for letter in letters:
            headers = [("dead-letter", b"%d" % letter.offset)]
            await producer.send_and_wait(
                letter.topic,
                letter.value,
                key=letter.key if letter.value is not None else letter.key or b"",
                partition=letter.partition,
                headers=headers,
            )
            count += 1
    except (KafkaError, OSError) as error:
        raise BrokerSilent(f"{bootstrap}: {error!r}") from error
    finally:
        await producer.stop()
    return count


def _check_whole(letter: DeadLetter) -> None:
    if letter.cut_from_bytes is not None:
        raise InvalidRecord(
            f"dead letter {letter.offset} was cut: of {letter.cut_from_bytes} bytes only "
            f"{len(letter.key or b'') + len(letter.value or b'')} are here; send the original "
            f"again from where it was made"
        )


def _check_origin(topics: Topics, letter: DeadLetter) -> None:
    try:
        spec = topics.spec(letter.topic)
    except KeyError:
        raise InvalidRecord(
            f"dead letter {letter.offset} came from {letter.topic!r}, which is no topic of ours"
        ) from None
    if not 0 <= letter.partition < spec.partitions:
        raise InvalidRecord(
            f"dead letter {letter.offset} came from partition {letter.partition} of "
            f"{letter.topic}, which has {spec.partitions}"
        )


def _letter(
    offset: int,
    key: bytes | None,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes]],
) -> DeadLetter:
    told = {name: text.decode(errors="replace") for name, text in headers}
    return DeadLetter(
        offset=offset,
        key=key,
        value=value,
        reason=told.get("reason", "unknown"),
        topic=told.get("topic", ""),
        partition=_number(told.get("partition")),
        source_offset=_number(told.get("offset")),
        at_ms=_number(told.get("at_ms")),
        cut_from_bytes=_total(told.get(CUT_HEADER)),
    )


def _total(lengths: str | None) -> int | None:
    """Add the lengths of a cut key and value."""
    return None if lengths is None else sum(_number(text) for text in lengths.split())


def _number(text: str | None) -> int:
    """A header that should be a number, which anybody can have written; -1: it is none."""
    return int(text) if text is not None and text.isdecimal() and len(text) <= MAX_DIGITS else -1
