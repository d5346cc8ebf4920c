"""Reads whole topics without a group, from their first record on, and goes on for ever.

The reader's own state is rebuilt from the topics at each start; nothing is committed.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.conn import CloseReason
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, UnknownTopicOrPartitionError

from app.domain.decision import Record
from app.domain.errors import InvalidRecord
from app.kafka.codec import Codec
from app.kafka.topics import MAX_MESSAGE_BYTES, Topics, TopicSpec

log = structlog.get_logger(__name__)

# How long a quiet `getmany` waits before it looks whether the connection still stands.
_QUIET_MS = 250
_MAX_RECORDS = 500
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class ViewedRecord:
    """One record as the view read it.

    Attributes:
        topic: Name in the topic catalogue, without prefix.
        partition: Partition it stands in.
        offset: Its offset; may come again with other content when a broker lost its tail.
        timestamp_ms: When it was sent, ms since 1970 UTC.
        key: Its key; empty when it has none.
        record: The dataclass; None for a tombstone: the key is gone.
        headers: Pairs of name and value.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: str
    record: Record | None
    headers: tuple[tuple[str, bytes], ...]


@dataclass(slots=True)
class _Place:
    """How far one partition has been read.

    `last` is the last record seen, by which the partition is known again after the broker was
    away: its offset may have been given to another record meanwhile.
    """

    next_offset: int
    last: tuple[Any, ...] | None = None


class TopicView:
    """Calls back for every record of some topics, in order within each partition.

    A broker that went away is awaited. One that came back without its last records (noida-db
    loses up to 0.6 s when it is killed) gives their offsets to others: such a partition is read
    again from its beginning, after `on_reset`.

    Attributes:
        caught_up: Set when the view has reached what the topics held when it started; cleared
            while a partition is read again.
        invalid_count: Records skipped because their bytes are no record of ours.
        reset_count: Partitions read again from their beginning.

    Example:
        `view = TopicView(bootstrap, topics, [EXPORT_PROGRESS], codec, on_record=print)`
        `task = asyncio.create_task(view.run()); await view.caught_up.wait()`
    """

    def __init__(
        self,
        bootstrap: str,
        topics: Topics,
        names: Iterable[TopicSpec | str],
        codec: Codec,
        *,
        on_record: Callable[[ViewedRecord], None],
        on_reset: Callable[[str, int], None] = lambda _topic, _partition: None,
    ) -> None:
        """Say what to read; nothing is connected before `run`.

        Args:
            bootstrap: `host:port`, several with commas.
            topics: Names of the topics on the broker.
            names: Topics of the catalogue to read.
            codec: Bytes to records.
            on_record: Called for each record; what it raises ends `run`.
            on_reset: Called with topic and partition before that is read again: forget what
                came from it.
        """
        self.caught_up = asyncio.Event()
        self.invalid_count = 0
        self.reset_count = 0
        self._bootstrap = bootstrap
        self._codec = codec
        self._on_record = on_record
        self._on_reset = on_reset
        self._specs: dict[str, TopicSpec] = {}
        for topic in names:
            name = topics.name(topic)
            self._specs[name] = topics.spec(name)
        self._places: dict[TopicPartition, _Place] = {}
        self._to_recognise: set[TopicPartition] = set()
        self._targets: dict[TopicPartition, int] = {}
        self._connected = False

    @property
    def is_connected(self) -> bool:
        """Tell whether the broker answered last time; what the view shows may be old if not."""
        return self._connected

    def next_offsets(self) -> dict[tuple[str, int], int]:
        """Tell how far each partition has been read: the offset to come, by topic, partition."""
        return {
            (self._specs[tp.topic].name, tp.partition): place.next_offset
            for tp, place in self._places.items()
        }

    async def run(self) -> None:
        """Read until cancelled.

        Raises:
            Exception: Whatever `on_record` or `on_reset` raised.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._read_until_disconnected()
                pause_s = _FIRST_PAUSE_S
            except (KafkaError, OSError, TimeoutError) as error:
                log.info("topic_view_waits_for_broker", error=repr(error), pause_s=pause_s)
            self._connected = False
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _read_until_disconnected(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=MAX_MESSAGE_BYTES,
        )
        broken = _watch_connections(consumer)
        try:
            await consumer.start()
            await self._take_places(consumer)
            self._connected = True
            while not broken.is_set():
                self._look_whether_caught_up()
                try:
                    batches = await consumer.getmany(timeout_ms=_QUIET_MS, max_records=_MAX_RECORDS)
                except OffsetOutOfRangeError as error:
                    for tp in error.args[0]:
                        await self._start_again(consumer, tp)
                    continue
                for tp, batch in batches.items():
                    await self._take(consumer, tp, batch)
        finally:
            await _stop(consumer)

    async def _take_places(self, consumer: Any) -> None:
        # Naming a topic that is not there would make the broker create it, with one partition.
        missing = self._specs.keys() - await consumer.topics()
        if missing:
            raise UnknownTopicOrPartitionError(f"not there yet: {sorted(missing)}")
        partitions = [
            TopicPartition(name, partition)
            for name, spec in self._specs.items()
            for partition in range(spec.partitions)
        ]
        first = await consumer.beginning_offsets(partitions)
        end = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        self._targets = end
        self._to_recognise.clear()
        for tp in partitions:
            place = self._places.get(tp)
            if place is None:
                self._places[tp] = _Place(next_offset=first[tp])
                consumer.seek(tp, first[tp])
            elif place.last is None or not first[tp] < place.next_offset <= end[tp]:
                # Either nothing was read yet, or the record that was read last is gone.
                await self._start_again(consumer, tp, was_empty=place.last is None)
            else:
                # The last one once more: it must still be the same.
                consumer.seek(tp, place.last[0])
                self._to_recognise.add(tp)

    async def _start_again(
        self, consumer: Any, tp: TopicPartition, *, was_empty: bool = False
    ) -> None:
        first = (await consumer.beginning_offsets([tp]))[tp]
        self._targets[tp] = (await consumer.end_offsets([tp]))[tp]
        self._places[tp] = _Place(next_offset=first)
        self._to_recognise.discard(tp)
        consumer.seek(tp, first)
        if not was_empty:
            self.caught_up.clear()
            self.reset_count += 1
            log.warning("topic_view_starts_again", topic=tp.topic, partition=tp.partition)
            self._on_reset(self._specs[tp.topic].name, tp.partition)

    async def _take(self, consumer: Any, tp: TopicPartition, batch: Sequence[Any]) -> None:
        place = self._places[tp]
        if tp in self._to_recognise:
            if _identity(batch[0]) != place.last:
                await self._start_again(consumer, tp)
                return
            self._to_recognise.discard(tp)
            batch = batch[1:]
        for message in batch:
            self._show(message)
            place.next_offset = message.offset + 1
            place.last = _identity(message)

    def _show(self, message: Any) -> None:
        try:
            record = None if message.value is None else self._codec.decode(message.value)
        except InvalidRecord as error:
            self.invalid_count += 1
            log.warning(
                "invalid_record_skipped",
                topic=message.topic,
                partition=message.partition,
                offset=message.offset,
                reason=str(error),
            )
            return
        self._on_record(
            ViewedRecord(
                topic=self._specs[message.topic].name,
                partition=message.partition,
                offset=message.offset,
                timestamp_ms=message.timestamp,
                key=(message.key or b"").decode("utf-8", "replace"),
                record=record,
                headers=tuple(message.headers),
            )
        )

    def _look_whether_caught_up(self) -> None:
        # Not a comparison of positions: while a partition is being recognised its position lies
        # before its place.
        if self._targets:
            self._targets = {
                tp: end for tp, end in self._targets.items() if self._places[tp].next_offset < end
            }
        if not self._targets and not self._to_recognise:
            self.caught_up.set()


def _identity(message: Any) -> tuple[Any, ...]:
    """Tell a record from another one that got its offset."""
    return (message.offset, message.timestamp, message.key, hash(message.value))


def _watch_connections(consumer: Any) -> asyncio.Event:
    """Learn of a broker that went away; aiokafka reconnects by itself and tells nobody.

    A broker can come back without its tail and have given the same offsets again before the
    next fetch: only the broken connection shows that there is something to check.
    """
    broken = asyncio.Event()
    client = consumer._client  # noqa: SLF001 - aiokafka 0.14.0 is pinned; it has no public hook
    on_closed = client._on_connection_closed  # noqa: SLF001 - same

    def on_connection_closed(connection: Any, reason: CloseReason) -> None:
        on_closed(connection, reason)
        if reason in (
            CloseReason.CONNECTION_BROKEN,
            CloseReason.CONNECTION_TIMEOUT,
            CloseReason.OUT_OF_SYNC,
        ):
            broken.set()

    client._on_connection_closed = on_connection_closed  # noqa: SLF001 - same
    return broken


async def _stop(consumer: Any) -> None:
    """Stop a consumer whatever state it is in.

    While its broker is away `stop` cancels a waiting fetch, and lets that cancellation out as
    if it were ours: it would end the view without a word.
    """
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        for fetch in consumer._fetcher._pending_tasks:  # noqa: SLF001 - same as below
            fetch.cancel()
    finally:
        # `stop` gets here too unless it was cut short; closing twice is harmless.
        await consumer._client.close()  # noqa: SLF001 - aiokafka 0.14.0 is pinned; it has no public way
