"""Reads what the service says in Kafka, from the first record on, while the storm rages."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from app.domain.records import ExportFinished, ExportProgress
from app.kafka.codec import Codec
from app.kafka.topics import EXPORT_FINISHED, EXPORT_PROGRESS, Topics

POLL_MS = 200


@dataclass(slots=True)
class Witness:
    """Every result record, and the last word on every export.

    Attributes:
        values: All values of `export-finished` by key, in order.
        arrived_s: When the first of them was seen, monotonic seconds, by key.
        exports: The last progress of each export.
    """

    values: defaultdict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    arrived_s: dict[str, float] = field(default_factory=dict)
    exports: dict[str, ExportProgress] = field(default_factory=dict)
    _codec: Codec = field(default_factory=Codec.from_folder)

    def result(self, request_id: str) -> ExportFinished | None:
        """The first result of a request."""
        values = self.values.get(request_id)
        if not values:
            return None
        record = self._codec.decode(values[0])
        assert isinstance(record, ExportFinished), record
        return record

    def take(self, topic: str, key: bytes, value: bytes | None) -> None:
        """Note one record."""
        if value is None:
            return
        if topic == EXPORT_FINISHED.name:
            self.values[key.decode()].append(value)
            self.arrived_s.setdefault(key.decode(), time.monotonic())
        elif isinstance(record := self._codec.decode(value), ExportProgress):
            self.exports[record.export_id] = record

    async def read(self, consumer: Any) -> None:
        """Read until cancelled."""
        while True:
            batches = await consumer.getmany(timeout_ms=POLL_MS)
            for place, messages in batches.items():
                for message in messages:
                    self.take(place.topic, message.key, message.value)


@asynccontextmanager
async def witnessing(broker: str) -> AsyncIterator[Witness]:
    """Read results and progress of a service without a topic prefix."""
    witness, names = Witness(), Topics("")
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    places = [
        TopicPartition(names.name(spec), number)
        for spec in (EXPORT_FINISHED, EXPORT_PROGRESS)
        for number in range(spec.partitions)
    ]
    consumer.assign(places)
    await consumer.seek_to_beginning(*places)
    reading = asyncio.create_task(witness.read(consumer), name="witness")
    try:
        yield witness
    finally:
        if reading.done():
            reading.result()
        reading.cancel()
        await asyncio.wait([reading])
        await consumer.stop()
