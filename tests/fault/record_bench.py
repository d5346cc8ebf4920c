"""What the tests of bad records have beside the service: bytes in, letters and results out."""

import asyncio
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from app.domain.records import ExportRequested
from app.kafka.codec import Codec
from app.kafka.dead_letters import DeadLetter, read_dead_letters
from app.kafka.topics import Topics
from tests.topic_reading import ANSWER_S, records_now

ROOT = Path(__file__).resolve().parents[2]
CODEC = Codec.from_folder()
LARGEST_BYTES = 24 * 1024 * 1024


@dataclass
class RecordBench:
    """A stranger with a Kafka client.

    Attributes:
        broker: Kafka address of the running service.
    """

    broker: str

    def put(self, topic: str, *values: bytes | None, **more: Any) -> None:
        """Produce values to a topic and wait for the broker's word on each.

        Args:
            topic: Name of the topic.
            values: The records; None is a tombstone.
            more: `key`, `partition`, `timestamp` as of librdkafka.
        """
        refused: list[Any] = []
        producer = Producer(
            {
                "bootstrap.servers": self.broker,
                "acks": "all",
                "message.max.bytes": LARGEST_BYTES,
                "log_level": 0,
            }
        )
        for value in values:
            producer.produce(
                topic,
                value=value,
                on_delivery=lambda error, _: error is not None and refused.append(error),
                **more,
            )
        assert producer.flush(2 * ANSWER_S) == 0
        assert not refused

    def ask(self, request: ExportRequested, **more: Any) -> None:
        """Produce a request as a client of Kafka does."""
        self.put("export-requests", CODEC.encode(request), key=request.request_id, **more)

    def raise_limit(self, topic: str) -> None:
        """Let a topic take 24 MB, as an operator may have."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        resource.add_incremental_config(
            ConfigEntry(
                "max.message.bytes",
                str(LARGEST_BYTES),
                incremental_operation=AlterConfigOpType.SET,
            )
        )
        admin = AdminClient({"bootstrap.servers": self.broker, "log_level": 0})
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(ANSWER_S)

    async def letters(self, first_offset: int) -> list[DeadLetter]:
        """The dead letters that are there now, from one on."""
        found = read_dead_letters(self.broker, Topics(), first_offset=first_offset)
        return [letter async for letter in found]

    async def letter_count(self) -> int:
        """How many dead letters there are, which is the offset of the next one."""
        return await asyncio.to_thread(self._letter_count)

    def _letter_count(self) -> int:
        consumer = Consumer({"bootstrap.servers": self.broker, "group.id": "unused"})
        try:
            return int(
                consumer.get_watermark_offsets(TopicPartition("dead-letters", 0), timeout=ANSWER_S)[
                    1
                ]
            )
        finally:
            consumer.close()

    async def results_of(self, request_id: str) -> list[bytes]:
        """Every result of a request, as bytes."""
        return await asyncio.to_thread(self._results_of, request_id)

    async def result_of(self, request_id: str, deadline_s: float = 300) -> Any:
        """Wait for the result of a request."""
        end = time.monotonic() + deadline_s
        while not (found := await self.results_of(request_id)):
            assert time.monotonic() < end, f"{request_id} has no result after {deadline_s} s"
            await asyncio.sleep(0.1)
        return CODEC.decode(found[0])

    def _results_of(self, request_id: str) -> list[bytes]:
        consumer = Consumer(
            {"bootstrap.servers": self.broker, "group.id": "unused", "log_level": 0}
        )
        try:
            return [
                message.value()
                for message in records_now(consumer, "export-finished")
                if message.key() == request_id.encode()
            ]
        finally:
            consumer.close()

    def unread(self, group: str, topic: str, partitions: int) -> dict[int, int]:
        """Records of each partition that a group has not committed yet; only those above 0."""
        consumer = Consumer({"bootstrap.servers": self.broker, "group.id": group, "log_level": 0})
        try:
            places = [TopicPartition(topic, number) for number in range(partitions)]
            committed = {
                place.partition: max(place.offset, 0)
                for place in consumer.committed(places, timeout=ANSWER_S)
            }
            ends = {
                place.partition: consumer.get_watermark_offsets(place, timeout=ANSWER_S)[1]
                for place in places
            }
        finally:
            consumer.close()
        return {
            number: ends[number] - committed[number]
            for number in ends
            if ends[number] > committed[number]
        }

    async def command(self, *words: str) -> tuple[int, str]:
        """Run `export-service dead-letters` as a person does; its status and what it says."""
        ran = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-P", "-m", "app", "dead-letters", *words, "--broker", self.broker],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        return ran.returncode, ran.stdout + ran.stderr
