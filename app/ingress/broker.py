"""The broker as the ingress uses it: requests out, the view in, and whether it answers."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

from app.domain.errors import TemporaryFailure
from app.domain.records import (
    ExportCommanded,
    ExportFinished,
    ExportProgress,
    ExportRequested,
    RequestProgress,
)
from app.ingress.view import IngressView, Place
from app.kafka.codec import Codec
from app.kafka.delivery import DeliveryFailed
from app.kafka.producer import RecordProducer
from app.kafka.topic_admin import check_topics
from app.kafka.topic_view import TopicView, ViewedRecord
from app.kafka.topics import EXPORT_FINISHED, EXPORT_PROGRESS, EXPORT_REQUESTS, Topics

ACK_TIMEOUT_S: Final = 5.0
"""How long a caller waits for the broker's acknowledgement before the answer is 503."""
PROBE_TIMEOUT_S: Final = 3.0
PROBE_AGE_S: Final = 1.0
"""A readiness probe within this time of the last one gets the same answer."""
WATCH_S: Final = 0.05
"""A lost connection shows for at least 0.1 s."""


class KafkaRequests:
    """Publishes requests, with a producer that connects when it is needed first.

    So an ingress may start before its broker, and answers 503 until that is there.
    """

    def __init__(self, bootstrap: str, codec: Codec, topics: Topics) -> None:
        """Remember whom to send to; nothing is connected yet."""
        self._producer = RecordProducer(bootstrap, codec, topics, send_deadline_s=ACK_TIMEOUT_S)
        self._start: asyncio.Task[None] | None = None

    async def publish(self, asked: ExportRequested | ExportCommanded) -> None:
        """Send one record; see `RequestPublisher.publish`."""
        await self._started()
        await self._producer.send(EXPORT_REQUESTS, asked.request_id, asked)

    async def stop(self) -> None:
        """Disconnect, within seconds."""
        if self._start is not None:
            self._start.cancel()
            await asyncio.wait([self._start])
        await self._producer.stop()

    async def _started(self) -> None:
        """Connect once for all who wait; a caller who leaves does not break the others' wait."""
        if self._start is None or (self._start.done() and self._start.exception() is not None):
            self._start = asyncio.create_task(self._producer.start(), name="start producer")
        try:
            async with asyncio.timeout(ACK_TIMEOUT_S):
                await asyncio.shield(self._start)
        except TimeoutError as error:
            raise DeliveryFailed(f"the broker did not answer within {ACK_TIMEOUT_S:g} s") from error


def read_into(view: IngressView, bootstrap: str, topics: Topics, codec: Codec) -> TopicView:
    """Build the reader that feeds a view; run it as a task.

    A partition that is read again because the broker lost its tail overwrites what is known.
    What was lost stays shown: the registrar says it again, or the next record of the key does.
    """

    def on_record(viewed: ViewedRecord) -> None:
        view.move_to(Place(viewed.topic, viewed.partition, viewed.offset))
        match viewed.record:
            case RequestProgress():
                view.request_progressed(viewed.record)
            case ExportProgress():
                view.export_progressed(viewed.record)
            case ExportFinished():
                view.export_finished(viewed.record)
            case None if viewed.topic == EXPORT_FINISHED.name:
                view.forget_result(viewed.key)
            case None:
                view.forget_progress(viewed.key)

    return TopicView(
        bootstrap, topics, [EXPORT_PROGRESS, EXPORT_FINISHED], codec, on_record=on_record
    )


class Connection(Protocol):
    """What tells whether the broker answered last time; `TopicView` is the real one."""

    @property
    def is_connected(self) -> bool:
        """Whether the broker answered last time."""
        ...


async def watch_broker(connection: Connection, came_back: Callable[[], None]) -> None:
    """Call back each time the broker answers again after it was away; run it as a task."""
    was_away = False
    while True:
        if not connection.is_connected:
            was_away = True
        elif was_away:
            was_away = False
            came_back()
        await asyncio.sleep(WATCH_S)


class KafkaReadiness:
    """Ready: the broker answers, every topic is there, and the view shows what the topics hold."""

    def __init__(self, bootstrap: str, topics: Topics, reader: TopicView) -> None:
        """Remember whom to ask; nothing is asked yet."""
        self._bootstrap = bootstrap
        self._topics = topics
        self._reader = reader
        self._asking = asyncio.Lock()
        self._asked_at_s = float("-inf")
        self._broker_problems: list[str] = []

    async def problems(self) -> list[str]:
        """Say what is missing; see `Readiness.problems`."""
        async with self._asking:
            if time.monotonic() - self._asked_at_s > PROBE_AGE_S:
                self._broker_problems = await self._ask()
                self._asked_at_s = time.monotonic()
        problems = list(self._broker_problems)
        if not self._reader.caught_up.is_set():
            problems.append("the view has not reached the end of its topics yet")
        elif not self._reader.is_connected:
            problems.append("the view has lost the broker")
        return problems

    async def _ask(self) -> list[str]:
        try:
            report = await check_topics(self._bootstrap, self._topics, deadline_s=PROBE_TIMEOUT_S)
        except TemporaryFailure as error:
            return [f"the broker does not answer: {error}"]
        return [f"topic {name} is missing" for name in report.missing]
