"""The producer of everything that is no Faust app: one record, sent and confirmed."""

import asyncio
from types import TracebackType
from typing import Any, Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    UnknownProducerId,
)

from app.domain.decision import Record
from app.kafka import doorbell
from app.kafka.codec import Codec
from app.kafka.delivery import DeliveryFailed, as_failure
from app.kafka.topics import MAX_MESSAGE_BYTES, Topics, TopicSpec

log = structlog.get_logger(__name__)

# How long one request to the broker may take.
REQUEST_TIMEOUT_MS = 30_000
# How long a send may take with all its tries. An idempotent producer of aiokafka tries for ever
# (sender.py: "we never expire batches, but retry until we succeed").
SEND_DEADLINE_S = 30.0
# How long a stop may take to send what is buffered; without a broker that would never end.
STOP_DEADLINE_S = 5.0

# A broker that lost its last records counts this producer's records from another number on, and
# refuses every further one: only a new producer id helps.
_OUT_OF_STEP = (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    UnknownProducerId,
)


def build_producer(bootstrap: str, *, request_timeout_ms: int = REQUEST_TIMEOUT_MS) -> Any:
    """Make a producer whose records are stored once and in order, or fail; not started yet.

    Args:
        bootstrap: `host:port`, several with commas.
        request_timeout_ms: How long one request to the broker may take, ms. A send as a whole
            has no limit of its own: put one around it.

    Returns:
        An AIOKafkaProducer; it belongs to the running event loop.
    """
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        max_request_size=MAX_MESSAGE_BYTES,
        request_timeout_ms=request_timeout_ms,
    )


class RecordProducer:
    """Sends records of the catalogue; a call returns when the broker has confirmed the record.

    Example:
        `async with RecordProducer(bootstrap, codec, topics) as producer:`
        `await producer.send("export-requests", request_id, ExportRequested(...))`
    """

    def __init__(
        self,
        bootstrap: str,
        codec: Codec,
        topics: Topics,
        *,
        send_deadline_s: float = SEND_DEADLINE_S,
    ) -> None:
        """Remember whom to send to; nothing is connected before `start`."""
        self._bootstrap = bootstrap
        self._codec = codec
        self._topics = topics
        self._send_deadline_s = send_deadline_s
        self._producer: Any = None
        self._renewal = asyncio.Lock()

    async def start(self) -> None:
        """Connect to the broker.

        Raises:
            DeliveryFailed: The broker does not answer.
        """
        producer = build_producer(self._bootstrap)
        try:
            await producer.start()
        except Exception as error:
            await producer.stop()
            if (failure := as_failure(error)) is None:
                raise
            raise failure from error
        self._producer = producer

    async def stop(self) -> None:
        """Send what is still buffered, at most 5 s long, and disconnect; harmless when stopped."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _close(producer)

    async def send(
        self, topic: TopicSpec | str, key: str, record: Record, partition: int | None = None
    ) -> int:
        """Send one record and wait until all replicas have it.

        Args:
            topic: Topic of the catalogue, or its name without prefix.
            key: Key of the record; it chooses the partition unless one is given.
            record: A dataclass with a schema.
            partition: Partition to write to; None: by key.

        Returns:
            Offset of the record within its partition.

        Raises:
            DeliveryFailed: Not confirmed in time; it may be in the topic, or still come there.
            DeliveryRefused: It is too large, or may not be written: it will never be taken.
        """
        if self._producer is None:
            raise RuntimeError("start() the producer before send()")
        value = self._codec.encode(record)
        name = self._topics.name(topic)
        try:
            async with asyncio.timeout(self._send_deadline_s):
                offset = await self._send_bytes(name, key.encode(), value, partition)
        except TimeoutError as error:
            raise DeliveryFailed(
                f"{name}: not confirmed within {self._send_deadline_s:g} s"
            ) from error
        except Exception as error:
            if (failure := as_failure(error)) is None:
                raise
            raise failure from error
        doorbell.ring([name])
        return offset

    async def _send_bytes(self, name: str, key: bytes, value: bytes, partition: int | None) -> int:
        producer = self._producer
        try:
            confirmation = await producer.send_and_wait(name, value, key=key, partition=partition)
        except _OUT_OF_STEP:
            # The record was refused, so sending it again stores it once.
            await self._renew(producer)
            confirmation = await self._producer.send_and_wait(
                name, value, key=key, partition=partition
            )
        return int(confirmation.offset)

    async def _renew(self, broken: Any) -> None:
        async with self._renewal:
            if self._producer is broken:  # else another send has done it
                log.warning("producer_renewed", bootstrap=self._bootstrap)
                await self.start()
                await _close(broken)

    async def __aenter__(self) -> Self:
        """Connect."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect."""
        await self.stop()


async def _close(producer: Any) -> None:
    try:
        async with asyncio.timeout(STOP_DEADLINE_S):
            await producer.stop()
    except TimeoutError:
        log.warning("producer_stopped_with_unsent_records")
        # What stop() would do after the flush that never ends.
        await producer._sender.close()  # noqa: SLF001 - aiokafka 0.14.0 is pinned; it has no public way
        await producer.client.close()
