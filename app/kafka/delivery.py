"""Sends that the broker has confirmed, and the letters that nobody can read.

`await topic.send()` of Faust only fills a buffer: a delivery that fails later is a log line,
and the source offset is committed all the same. Nothing here returns before the broker's word.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog
from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnsupportedForMessageFormatError,
)

from app.domain.decision import Record, Send
from app.domain.errors import ExportServiceError, TemporaryFailure
from app.kafka import doorbell

log = structlog.get_logger(__name__)

Headers = Sequence[tuple[str, bytes]]

# Records sent before their confirmations are awaited: more only fills the producer's buffer.
CHUNK = 500

# The header of a dead letter that was cut: the lengths that key and value had, bytes.
CUT_HEADER = "cut"
CUT_KEY_BYTES = 1_000
CUT_VALUE_BYTES = 64 * 1024
REASON_CHARS = 2_000

# Another try cannot help with these: the record itself or the set-up is wrong.
_HOPELESS = (
    MessageSizeTooLargeError,
    InvalidTopicError,
    TopicAuthorizationFailedError,
    UnsupportedForMessageFormatError,
)


class DeliveryFailed(TemporaryFailure):
    """The broker did not confirm a record; send it again."""


class DeliveryRefused(ExportServiceError):
    """The broker or the producer will never take this record: too large, or no right to."""


class RecordTooLarge(DeliveryRefused):
    """The record is larger than its topic or the producer takes."""


class RecordCodec(Protocol):
    """Records to bytes and back; `app.kafka.codec.Codec` is the real one."""

    def encode(self, record: Record) -> bytes:
        """Write a record."""

    def decode(self, payload: bytes) -> Record:
        """Read a record; raises InvalidRecord on bytes that are none of ours."""


@dataclass(frozen=True, slots=True)
class Post:
    """One record as bytes, on its way.

    Attributes:
        topic: Name of the topic as the broker knows it.
        key: Key; it chooses the partition unless one is given.
        value: Value; None is a tombstone.
        partition: Partition to write to; None: by key.
        headers: Pairs of name and value.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: Headers = ()


def as_failure(error: BaseException) -> ExportServiceError | None:
    """Tell a delivery to be tried again from one that is hopeless.

    Returns:
        DeliveryFailed, DeliveryRefused, or None when this is no error of a delivery.
    """
    cause = error.__cause__ if isinstance(error.__cause__, KafkaError) else error
    if isinstance(cause, MessageSizeTooLargeError):
        return RecordTooLarge(repr(cause))
    if isinstance(cause, _HOPELESS):
        return DeliveryRefused(repr(cause))
    if isinstance(cause, KafkaError) or type(error).__name__ == "ProducerSendError":
        return DeliveryFailed(repr(cause))
    return None


async def confirmed(futures: Iterable["asyncio.Future[Any]"]) -> None:
    """Wait for the broker's word on every one of these deliveries.

    Args:
        futures: Deliveries already under way; their order does not matter.

    Raises:
        DeliveryFailed: At least one was not confirmed; the others may have been.
        DeliveryRefused: At least one can never be delivered.
    """
    waiting = set(futures)
    if not waiting:
        return
    done, _ = await asyncio.wait(waiting)
    # Ask each one for its error, or asyncio logs those that nobody looked at.
    errors = [error for future in done if (error := future.exception()) is not None]
    for error in errors:
        failure = as_failure(error)
        if failure is None:
            raise error
        if isinstance(failure, DeliveryRefused):
            raise failure from error
    if errors:
        raise DeliveryFailed(f"{len(errors)} of {len(done)} records: {errors[0]!r}") from errors[0]


async def hand_over(faust_app: Any, post: Post) -> "asyncio.Future[Any]":
    """Give one record to the app's producer and return its confirmation to come.

    Raises:
        DeliveryFailed: The producer could not take it (no broker, no metadata).
        DeliveryRefused: It never will.
    """
    producer = await faust_app.maybe_start_producer()
    try:
        future: asyncio.Future[Any] = await producer.send(
            post.topic,
            post.key,
            post.value,
            post.partition,
            None,  # the producer's clock stamps it
            list(post.headers),
        )
    except Exception as error:
        failure = as_failure(error)
        if failure is None:
            raise
        raise failure from error
    return future


@dataclass(slots=True)
class Outbox:
    """Sends records for handlers and for background tasks; returns when they are confirmed.

    It may be made before its app has started; sending before that fails.

    Attributes:
        faust_app: The app whose producer sends.
        codec: Records to bytes.
        topic_name: From the name in the topic catalogue to the name on the broker.

    Example:
        `await outbox.send("export-plans", export_id, RangeWritten(...))`
    """

    faust_app: Any
    codec: RecordCodec
    topic_name: Callable[[str], str]

    async def send(
        self, topic: str, key: str, record: Record, partition: int | None = None
    ) -> None:
        """Send one record and wait for the broker's confirmation.

        Args:
            topic: Name in the topic catalogue, without prefix.
            key: Key of the record; it chooses the partition unless one is given.
            record: A dataclass with a schema.
            partition: Partition to write to; None: by key.

        Raises:
            DeliveryFailed: Not confirmed; it may or may not be in the topic.
            DeliveryRefused: It will never be taken.
        """
        post = Post(self.topic_name(topic), key.encode(), self.codec.encode(record), partition)
        await self.post_all([post])

    async def send_all(self, sends: Sequence[Send]) -> None:
        """Send what a handler decided; sent together, confirmed together.

        Raises:
            DeliveryFailed: At least one was not confirmed.
            DeliveryRefused: At least one will never be taken.
        """
        await self.post_all(
            [
                Post(
                    self.topic_name(send.topic),
                    send.key.encode(),
                    None if send.record is None else self.codec.encode(send.record),
                )
                for send in sends
            ]
        )

    async def post_all(self, posts: Sequence[Post]) -> None:
        """Send bytes, at most `CHUNK` under way at a time, and wait for all confirmations."""
        for start in range(0, len(posts), CHUNK):
            chunk = posts[start : start + CHUNK]
            under_way: list[asyncio.Future[Any]] = []
            try:
                for post in chunk:
                    under_way.append(await hand_over(self.faust_app, post))  # noqa: PERF401 - those handed over before a failure must be awaited too
            finally:
                await confirmed(under_way)
            doorbell.ring(post.topic for post in chunk)


async def bury(outbox: Outbox, topic: str, message: Any, reason: str, at_ms: int) -> None:
    """Put a record into the dead letters as it came: original key and value bytes.

    One that does not fit there (its topic was allowed more, or it came compressed) is cut, and
    a header says so: docs/decisions/0010.

    Args:
        outbox: Who sends.
        topic: Name of the dead letters in the topic catalogue.
        message: Faust's message of the record.
        reason: Why it is there, for operators; its first 2,000 characters are kept.
        at_ms: When it was given up, ms since 1970 UTC.

    Raises:
        DeliveryFailed: Not confirmed; the record must not be acknowledged yet.
    """
    log.warning(
        "dead_letter",
        reason=reason[:REASON_CHARS],
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
    )
    headers = (
        ("reason", reason[:REASON_CHARS].encode(errors="backslashreplace")),
        ("topic", message.topic.encode()),
        ("partition", b"%d" % message.partition),
        ("offset", b"%d" % message.offset),
        ("at_ms", b"%d" % at_ms),
    )
    # aiokafka refuses a record without key and value, which others may well send us.
    key = message.key if message.value is not None else message.key or b""
    post = Post(outbox.topic_name(topic), key, message.value, headers=headers)
    try:
        await outbox.post_all([post])
    except RecordTooLarge:
        await outbox.post_all([_cut(post)])


def _cut(post: Post) -> Post:
    """Keep the beginning of a letter that is too large, and its lengths in a header."""
    lengths = b"%d %d" % (len(post.key or b""), len(post.value or b""))
    return replace(
        post,
        key=None if post.key is None else post.key[:CUT_KEY_BYTES],
        value=None if post.value is None else post.value[:CUT_VALUE_BYTES],
        headers=(*post.headers, (CUT_HEADER, lengths)),
    )
