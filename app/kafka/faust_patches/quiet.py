"""Settings that Faust hard-codes, and debug records that nobody reads."""

import logging
from pathlib import Path
from typing import Any

import aiokafka
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Producer

from app.kafka import group_errors, group_fence, join_turns
from app.kafka.faust_patches.pinned import original

_create_worker_consumer = original(
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer"
)
_new_producer = original("faust.transport.drivers.aiokafka:Producer._new_producer")

# Faust's 1500 ms make gaps of up to 1.5 s: a request that waits for one partition holds up those
# that were resumed after it was sent.
FETCH_MAX_WAIT_MS = 100

# Loggers whose debug records are made for every record or fetch, even when no handler wants them.
_HOT_LOGGERS = (
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.conn",
    "aiokafka.producer.sender",
    "faust.agents.agent",
    "faust.tables.recovery",
    "faust.topics",
    "faust.transport.consumer",
    "faust.transport.drivers.aiokafka",
    "mode.threads",
)


def create_worker_consumer(self: Any, transport: Any) -> Any:
    """Shorten how long the broker may hold an empty fetch; put in the app's own assignor.

    Faust hard-codes both for an app without tables.
    """
    consumer: aiokafka.AIOKafkaConsumer = _create_worker_consumer(self, transport)
    consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS  # noqa: SLF001 - read when it starts
    if hasattr(self.app, "give_up_group"):
        group_errors.guard_coordination(consumer, self.app.give_up_group)
    join_lock: Path | None = getattr(self.app, "join_lock", None)
    if join_lock is not None:
        join_turns.take_turns(consumer, join_lock)
    if getattr(self.app, "shares_its_broker", False):
        group_fence.guard_name(consumer, self.app.group_fence, self.app.give_name_up)
    assignor = getattr(self.app, "task_assignor", None)
    if assignor is not None and not self.app.tables.changelog_topics:
        consumer._partition_assignment_strategy = [assignor]  # noqa: SLF001 - same
    return consumer


def new_producer(self: Any, transactional_id: str | None = None) -> Any:
    """Put the app's fence before the producer's requests, when the app has one."""
    producer = _new_producer(self, transactional_id)
    fence = getattr(self.app, "group_fence", None)
    if fence is not None:
        group_fence.guard_producer(producer, fence, lambda: self.app.leave(70))
    return producer


def apply() -> None:
    """Put them in place."""
    AIOKafkaConsumerThread._create_worker_consumer = create_worker_consumer  # noqa: SLF001 - hard-coded there
    Producer._new_producer = new_producer  # noqa: SLF001 - no other way to the aiokafka producer
    for name in _HOT_LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
