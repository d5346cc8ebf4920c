"""The broker as the ingress uses it: requests out, the view in, and whether it answers."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from app.domain.errors import TemporaryFailure
from app.domain.ingress_seal import IngressSeal
from app.domain.records import (
    ExportCommanded,
    ExportFinished,
    ExportProgress,
    ExportRequested,
    RequestProgress,
)
from app.domain.rows import DeliveryRow, LayerRow
from app.ingress.view import IngressView, Place
from app.kafka.codec import Codec
from app.kafka.delivery import DeliveryFailed
from app.kafka.producer import RecordProducer
from app.kafka.topic_admin import check_topics
from app.kafka.topic_view import TopicView, ViewedRecord
from app.kafka.topics import (
    EXPORT_FINISHED,
    EXPORT_PROGRESS,
    EXPORT_REQUESTS,
    Topics,
    changelog_name,
)

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

    def __init__(
        self,
        bootstrap: str,
        codec: Codec,
        topics: Topics,
        seal: IngressSeal,
        check_saving: Callable[[], None] = lambda: None,
    ) -> None:
        """Remember whom to send to; nothing is connected yet.

        Args:
            bootstrap: Kafka address.
            codec: Writes the records.
            topics: Names of the topics.
            seal: Says that the clients of the records were verified here.
            check_saving: Raises TemporaryFailure while the broker keeps nothing.
        """
        self._seal = seal
        self._check_saving = check_saving
        self._producer = RecordProducer(bootstrap, codec, topics, send_deadline_s=ACK_TIMEOUT_S)
        self._start: asyncio.Task[None] | None = None

    async def publish(self, asked: ExportRequested | ExportCommanded) -> None:
        """Send one record; see `RequestPublisher.publish`."""
        self._check_saving()
        await self._started()
        await self._producer.send(EXPORT_REQUESTS, asked.request_id, self._seal.sealed(asked))

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
    forget = {
        EXPORT_PROGRESS.name: view.forget_progress,
        EXPORT_FINISHED.name: view.forget_result,
        changelog_name("deliveries"): view.deliveries.drop,
        changelog_name("layers"): view.layers.forget,
    }

    def on_record(viewed: ViewedRecord) -> None:
        view.move_to(Place(viewed.topic, viewed.partition, viewed.offset))
        match viewed.record:
            case RequestProgress():
                view.request_progressed(viewed.record)
            case ExportProgress():
                view.export_progressed(viewed.record)
            case ExportFinished():
                view.export_finished(viewed.record)
            case DeliveryRow():
                view.delivery_changed(viewed.key, viewed.record)
            case LayerRow():
                view.layers.learn(viewed.key, viewed.record)
            case None:
                forget[viewed.topic](viewed.key)

    return TopicView(
        bootstrap,
        topics,
        forget,
        codec,
        on_record=on_record,
        on_reset=lambda _topic, _partition: view.begin_again(),
    )


async def watch_broker(
    is_there: Callable[[], bool], went_away: Callable[[], None], came_back: Callable[[], None]
) -> None:
    """Call back when the broker is away, and when it answers again; run it as a task.

    Args:
        is_there: Whether the broker answers, and keeps what it is told.
        went_away: Called when it does no longer.
        came_back: Called when it does again.
    """
    was_away = False
    while True:
        is_away = not is_there()
        if is_away != was_away:
            was_away = is_away
            (went_away if is_away else came_back)()
        await asyncio.sleep(WATCH_S)


class KafkaReadiness:
    """Ready: the broker answers and saves, its topics are there, and the view shows them all."""

    def __init__(
        self,
        bootstrap: str,
        topics: Topics,
        reader: TopicView,
        unsaved: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Remember whom to ask; nothing is asked yet.

        Args:
            bootstrap: Kafka address.
            topics: Names of the topics.
            reader: Feeds the view.
            unsaved: Says why the broker keeps nothing; None: it does.
        """
        self._unsaved = unsaved
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
        if (unsaved := self._unsaved()) is not None:
            problems.append(unsaved)
        return problems

    async def _ask(self) -> list[str]:
        try:
            report = await check_topics(self._bootstrap, self._topics, deadline_s=PROBE_TIMEOUT_S)
        except TemporaryFailure as error:
            return [f"the broker does not answer: {error}"]
        return [f"topic {name} is missing" for name in report.missing]
