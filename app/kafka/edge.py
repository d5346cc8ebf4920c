"""What every agent of an app shares at its Kafka edge, and the one wrapper around a handler.

Faust acknowledges a record whose handler raised: it is lost. So no exception leaves `handled`:
a temporary failure is tried again in place, a bad record becomes a dead letter, and what stays
unexplained ends the process before anything is committed.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from app.domain.decision import Record, Send
from app.domain.errors import InvalidRecord, TemporaryFailure
from app.domain.inbox import InboxPosition
from app.kafka.belonging import RecordTooOld, check_age, check_type, is_waited_for
from app.kafka.black_box import BlackBox
from app.kafka.delivery import Outbox, RecordCodec, RecordTooLarge, bury
from app.kafka.group_fence import GroupFence, PartitionLost

log = structlog.get_logger(__name__)

# sysexits.h: EX_SOFTWARE. The supervisor starts the process again with backoff.
EXIT_BUG = 70

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


def system_now_ms() -> int:
    """The wall clock, ms since 1970 UTC."""
    return time.time_ns() // 1_000_000


def _timestamp_ms(message: Any) -> int:
    """Kafka's timestamp of Faust's message, ms since 1970 UTC; 0: it has none."""
    return 0 if message.timestamp is None else round(message.timestamp * 1000)


def _no_sends(_record: Record | None, _reason: str) -> Sequence[Send]:
    return ()


@dataclass(slots=True)
class Edge:
    """What the agents of one app need besides their own decisions.

    Attributes:
        faust_app: App of `build_coordinator_app` or `build_worker_app`.
        codec: Records to bytes and back.
        topic_name: From a name in the topic catalogue to the name on the broker.
        run_folder: Local folder for the count of deaths by record; None: deaths are not counted.
        dead_letters: Name of the dead-letter topic in the catalogue.
        now_ms: Wall clock, ms since 1970 UTC.
        leave: Ends the process at once, without commits; tests put their own here.
        outbox: Sends for background tasks.
        suspects: Held while a record is handled that was in hand when the process died.
    """

    faust_app: Any
    codec: RecordCodec
    topic_name: Callable[[str], str]
    run_folder: Path | None = None
    dead_letters: str = "dead-letters"
    now_ms: Callable[[], int] = system_now_ms
    leave: Callable[[int], None] = os._exit
    outbox: Outbox = field(init=False)
    suspects: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        """Make the outbox."""
        self.outbox = Outbox(self.faust_app, self.codec, self.topic_name)

    @property
    def fence(self) -> GroupFence:
        """The app's fence against zombies."""
        fence: GroupFence = self.faust_app.group_fence
        return fence

    def inbox_topic(self, inbox: str, partitions: int | None = None) -> Any:
        """Make the Faust topic of an inbox: raw bytes, tombstones too, nothing created."""
        return self.faust_app.topic(
            self.topic_name(inbox),
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            allow_empty=True,
            partitions=partitions,
        )


@dataclass(slots=True)
class Handling:
    """The wrapper around the handlers of one inbox.

    Attributes:
        edge: What the app's agents share.
        inbox: Name of the inbox in the topic catalogue.
        on_poison: Sends that give up a record at which the process died again and again, or a
            waited-for one that is too old, e.g. a failed result; gets the record and the reason.
        temporary_failures_s: How long a temporary failure of the handler's own is tried again
            in place before it counts as a bug, seconds; deliveries are tried for ever.
        black_box: Counts deaths by record.
    """

    edge: Edge
    inbox: str
    on_poison: Callable[[Record | None, str], Sequence[Send]] = _no_sends
    temporary_failures_s: float = 300.0
    black_box: BlackBox | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Look what the last process of this name left behind."""
        if self.edge.run_folder is not None:
            path = self.edge.run_folder / f"in-hand-{self.inbox}"
            try:
                self.black_box = BlackBox.open(path)
            except OSError as error:
                log.warning("deaths_not_counted", path=str(path), reason=str(error))

    async def handled(
        self, event: Any, work: Callable[[Record, InboxPosition, Any], Awaitable[None]]
    ) -> None:
        """Handle one record to its end: done, buried, or the process is gone.

        Args:
            event: Faust's event.
            work: Gets the decoded record, its position and Faust's message. It raises
                InvalidRecord to bury the record and TemporaryFailure to be called again.
        """
        message = event.message
        position = InboxPosition(message.partition, message.offset)
        if self.black_box is not None and self.black_box.is_suspect(position):
            # One at a time: the next death then blames the culprit alone.
            async with self.edge.suspects:
                await self._handled(message, position, work)
        else:
            await self._handled(message, position, work)

    async def _handled(
        self,
        message: Any,
        position: InboxPosition,
        work: Callable[[Record, InboxPosition, Any], Awaitable[None]],
    ) -> None:
        slot = None if self.black_box is None else self.black_box.take_up(position)
        try:
            await self._decoded_and_worked(message, position, work)
        except asyncio.CancelledError:
            raise
        except PartitionLost:
            log.error("partition_lost", inbox=self.inbox, partition=position.partition)  # noqa: TRY400 - expected after a freeze, no trace needed
            self._give_up(slot, position, blame=False)
            return
        except BaseException:
            log.exception(
                "handler_bug",
                inbox=self.inbox,
                partition=position.partition,
                offset=position.offset,
            )
            self._give_up(slot, position, blame=True)
            return
        if self.black_box is not None and slot is not None:
            self.black_box.put_down(slot, position)

    def _give_up(self, slot: int | None, position: InboxPosition, *, blame: bool) -> None:
        try:
            if self.black_box is not None and slot is not None:
                self.black_box.close_on_exit(position if blame else None)
        finally:  # whatever happens: who returns from here has acknowledged the record
            self.edge.leave(EXIT_BUG)

    async def _decoded_and_worked(
        self,
        message: Any,
        position: InboxPosition,
        work: Callable[[Record, InboxPosition, Any], Awaitable[None]],
    ) -> None:
        try:
            record = self._decode(message)
            check_type(record, self.inbox)
        except InvalidRecord as error:
            await self.buried(message, str(error))
            return
        try:
            check_age(record, _timestamp_ms(message), self.edge.now_ms())
        except RecordTooOld as error:
            await self._give_up_record(message, record, str(error), tell=is_waited_for(record))
            return
        if self.black_box is not None and self.black_box.is_poison(position):
            reason = f"the process died {self.black_box.limit} times at this record"
            await self._give_up_record(message, record, reason)
            self.black_box.forget(position)
            return
        try:
            await self._until_it_works(message, lambda: work(record, position, message))
        except InvalidRecord as error:
            await self.buried(message, str(error))

    def _decode(self, message: Any) -> Record:
        if message.value is None:
            raise InvalidRecord("an inbox carries no tombstones")
        return self.edge.codec.decode(message.value)

    async def _give_up_record(
        self, message: Any, record: Record, reason: str, *, tell: bool = True
    ) -> None:
        """Bury a record that will not be handled, and tell those who wait for it."""
        sends = self.on_poison(record, reason) if tell else ()
        try:
            await self.until_delivered(message, lambda: self.edge.outbox.send_all(sends))
        except RecordTooLarge as error:
            # Or it would end the process here, each time anew.
            log.error("nobody_told", inbox=self.inbox, reason=reason, error=str(error))  # noqa: TRY400 - expected of a record at the size limit
        await self.buried(message, reason)

    async def buried(self, message: Any, reason: str) -> None:
        """Put the record into the dead letters; returns when the broker has confirmed it."""
        edge = self.edge
        at_ms = edge.now_ms()
        await self.until_delivered(
            message, lambda: bury(edge.outbox, edge.dead_letters, message, reason, at_ms)
        )

    async def until_delivered(self, message: Any, send: Callable[[], Awaitable[None]]) -> None:
        """Send until the broker has confirmed it, as long as the partition is ours.

        Raises:
            PartitionLost: It is no longer ours.
            DeliveryRefused: The broker will never take it.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            await self.edge.fence.fresh(message.generation_id)
            try:
                await send()
            except TemporaryFailure as error:
                log.warning("delivery_tried_again", inbox=self.inbox, error=str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                return

    async def _until_it_works(self, message: Any, work: Callable[[], Awaitable[None]]) -> None:
        pause_s = _FIRST_PAUSE_S
        give_up_at_s = time.monotonic() + self.temporary_failures_s
        while True:
            await self.edge.fence.fresh(message.generation_id)
            try:
                await work()
            except TemporaryFailure as error:
                if time.monotonic() >= give_up_at_s:
                    raise
                log.warning("handler_tried_again", inbox=self.inbox, error=str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                return
