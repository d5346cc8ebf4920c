"""Creates the topics of the catalogue and says where a broker's topics differ from it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from app.domain.errors import TemporaryFailure
from app.kafka.topics import Topics, TopicSpec

_POLL_S = 0.05
# Between two tries at a broker that does not answer.
_PAUSE_S = 0.2
_TOPIC_ALREADY_EXISTS = 36
# Compaction works on closed segments only; Kafka closes them after a week or 1 GB, which would
# make every recovery read a week of beats.
_COMPACTED_SEGMENT_MS = 60 * 60 * 1000
_COMPACTED_DIRTY_RATIO = 0.1
# Tables are as long as their changelog: deletion forgets rows, and compaction records of an inbox.
_DANGEROUS = frozenset({"cleanup.policy"})


class TopicsUnavailable(TemporaryFailure):
    """The broker does not answer, or does not show the topics in time."""


@dataclass(frozen=True, slots=True)
class TopicReport:
    """How the topics of a broker compare with the catalogue; names are the broker's.

    Attributes:
        created: Topics that were made by this call.
        missing: Topics of the catalogue that the broker does not have.
        differences: One sentence for each topic and property that differs.
        dangers: Those of them with which the service would fail or lose what it knows.
    """

    created: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    dangers: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Nothing is missing and nothing differs."""
        return not self.missing and not self.differences

    @property
    def is_usable(self) -> bool:
        """The service can run on these topics, whatever else an operator has chosen for them."""
        return not self.missing and not self.dangers


def topic_configs(spec: TopicSpec) -> dict[str, str]:
    """Tell a topic's settings in Kafka's words.

    >>> from app.kafka.topics import EXPORT_REQUESTS
    >>> topic_configs(EXPORT_REQUESTS)["retention.ms"]
    '604800000'
    """
    configs = {
        "cleanup.policy": spec.cleanup_policy,
        "max.message.bytes": str(spec.max_message_bytes),
        "retention.bytes": "-1",
    }
    if spec.retention_ms is not None:
        configs["retention.ms"] = str(spec.retention_ms)
    if spec.cleanup_policy == "compact":
        configs["segment.ms"] = str(_COMPACTED_SEGMENT_MS)
        configs["min.cleanable.dirty.ratio"] = str(_COMPACTED_DIRTY_RATIO)
    return configs


async def create_topics(
    bootstrap: str,
    topics: Topics,
    *,
    replication_factor: int = 1,
    deadline_s: float = 30.0,
) -> TopicReport:
    """Create what is missing, wait until the broker shows it, and compare everything.

    Safe to call from several processes at once and again at each start.

    Args:
        bootstrap: `host:port`, several with commas.
        topics: Names of the topics.
        replication_factor: Copies of each partition; 3 on a cluster.
        deadline_s: How long broker and metadata may take, s.

    Raises:
        TopicsUnavailable: The broker does not answer, refuses a topic, or shows it too late.
    """
    created: list[str] = []

    async def create(admin: AIOKafkaAdminClient) -> TopicReport:
        existing = await _partition_counts(admin)
        new = [
            NewTopic(
                name=name,
                num_partitions=spec.partitions,
                replication_factor=replication_factor,
                topic_configs=topic_configs(spec),
            )
            for name, spec in topics
            if name not in existing
        ]
        if new:
            await _create(admin, new, created)
        while any(name not in existing for name, _ in topics):
            await asyncio.sleep(_POLL_S)
            existing = await _partition_counts(admin)
        differences, dangers = await _differences(admin, topics, existing)
        return TopicReport(created=tuple(created), differences=differences, dangers=dangers)

    return await _answered(bootstrap, create, deadline_s)


async def check_topics(bootstrap: str, topics: Topics, *, deadline_s: float = 5.0) -> TopicReport:
    """Compare the broker's topics with the catalogue; changes nothing.

    Raises:
        TopicsUnavailable: The broker does not answer in time.
    """

    async def check(admin: AIOKafkaAdminClient) -> TopicReport:
        existing = await _partition_counts(admin)
        missing = tuple(name for name, _ in topics if name not in existing)
        differences, dangers = await _differences(admin, topics, existing)
        return TopicReport(missing=missing, differences=differences, dangers=dangers)

    return await _answered(bootstrap, check, deadline_s)


async def _answered(
    bootstrap: str,
    ask: Callable[[AIOKafkaAdminClient], Awaitable[TopicReport]],
    deadline_s: float,
) -> TopicReport:
    """Ask until some broker answers: the client asks any one, which may be the one that is down."""
    error: Exception | None = None
    try:
        async with asyncio.timeout(deadline_s):
            while True:
                try:
                    async with _admin(bootstrap) as admin:
                        return await ask(admin)
                except (KafkaError, OSError) as failure:
                    error = failure
                await asyncio.sleep(_PAUSE_S)
    except TimeoutError as late:
        cause = error or late
        raise TopicsUnavailable(f"topics at {bootstrap}: {cause!r}") from cause


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, new: list[NewTopic], created: list[str]) -> None:
    answer = await admin.create_topics(new)
    refused = []
    for name, code, *words in answer.topic_errors:
        if code == 0:
            created.append(name)
        elif code != _TOPIC_ALREADY_EXISTS:  # another process was quicker
            refused.append((name, for_code(code), words))
    for name, error, words in refused:
        if error.retriable:
            raise error(f"{name}: {words}")
        raise TopicsUnavailable(f"{name} cannot be created: {error.__name__} {words}")


async def _partition_counts(admin: AIOKafkaAdminClient) -> dict[str, int]:
    # All topics: asking for one by name makes noida-db, and Kafka by default, create it.
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in await admin.describe_topics()
        if topic["error_code"] == 0
    }


async def _differences(
    admin: AIOKafkaAdminClient, topics: Topics, existing: dict[str, int]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Compare topics that are there; gives all differences, and the dangerous ones again."""
    present = [(name, spec) for name, spec in topics if name in existing]
    configs = await _configs(admin, [name for name, _ in present])
    found: list[str] = []
    dangers: list[str] = []
    for name, spec in present:
        if existing[name] != spec.partitions:
            dangers.append(f"{name}: {existing[name]} partitions, must be {spec.partitions}")
        actual = configs.get(name, {})
        for key, value in topic_configs(spec).items():
            if key in actual and not _same(actual[key], value):
                kind = dangers if key in _DANGEROUS else found
                kind.append(f"{name}: {key} is {actual[key]}, must be {value}")
    return (*dangers, *found), tuple(dangers)


def _same(actual: str, wanted: str) -> bool:
    return actual == wanted


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for answer in await admin.describe_configs(resources)
        for _code, _words, _kind, name, entries in answer.resources
    }
