"""The topic catalogue: every topic, its key, its records, who writes it and who reads it.

Nothing is created, checked or named anywhere else. README.md shows the same table to people.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.domain import records, rows

# Partitions of every topic that is split by key. One number for all: a Faust table needs as
# many partitions as its inbox, and records of one key must land on one worker.
PARTITIONS = 6

DAY_MS = 24 * 60 * 60 * 1000
SOURCE_RETENTION_MS = 7 * DAY_MS
DEAD_LETTER_RETENTION_MS = 30 * DAY_MS
# Older records are not handled any more: what they wait behind is about to be deleted.
OLDEST_HANDLED_MS = SOURCE_RETENTION_MS // 2

# A request body is at most 1 MB; 20,000 vertices are 0.3 MB of WKB and about 0.8 MB of JSON;
# a layer record and the area may stand beside it in one record.
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
# A dead letter is as large as its record and has headers besides.
DEAD_LETTER_HEADER_BYTES = 16 * 1024
# Largest request of any producer: every record that its topic takes can be buried whole.
MAX_REQUEST_BYTES = MAX_MESSAGE_BYTES + DEAD_LETTER_HEADER_BYTES

# Faust names a changelog {app id}-{table}-changelog; this is the app with the tables.
TABLE_APP = "coordinator"
# The other app, and the consumer group of the inboxes without tables.
TASK_APP = "worker"

CleanupPolicy = Literal["delete", "compact"]


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic of the catalogue.

    Attributes:
        name: Name without prefix, kebab case.
        key: What the record key is; it chooses the partition.
        partitions: Number of partitions, for good.
        cleanup_policy: `delete` for inboxes, `compact` for state.
        retention_ms: How long records stay, ms; None for compacted topics, which keep the
            newest record of each key.
        max_message_bytes: Largest batch of records that the broker takes, bytes.
        carries: Record classes; empty for dead letters, which are bytes of any kind.
        written_by: Stages that write it.
        read_by: Stages that read it.
    """

    name: str
    key: str
    partitions: int
    cleanup_policy: CleanupPolicy
    retention_ms: int | None
    max_message_bytes: int
    carries: tuple[type, ...]
    written_by: tuple[str, ...]
    read_by: tuple[str, ...]


def _inbox(
    name: str,
    key: str,
    carries: tuple[type, ...],
    written_by: tuple[str, ...],
    read_by: tuple[str, ...],
    partitions: int = PARTITIONS,
) -> TopicSpec:
    return TopicSpec(
        name=name,
        key=key,
        partitions=partitions,
        cleanup_policy="delete",
        retention_ms=SOURCE_RETENTION_MS,
        max_message_bytes=MAX_MESSAGE_BYTES,
        carries=carries,
        written_by=written_by,
        read_by=read_by,
    )


def _state(*spec: Any, **more: Any) -> TopicSpec:
    """A topic that keeps the newest record of each key; arguments as for `_inbox`."""
    return replace(_inbox(*spec, **more), cleanup_policy="compact", retention_ms=None)


def changelog_name(table: str) -> str:
    """Name the changelog of a table, without prefix.

    >>> changelog_name("requests")
    'coordinator-requests-changelog'
    >>> changelog_name("results")
    'export-finished'
    """
    if table == "results":
        return EXPORT_FINISHED.name
    return f"{TABLE_APP}-{table}-changelog"


EXPORT_REQUESTS = _inbox(
    "export-requests",
    "request_id",
    (records.ExportRequested, records.ExportCommanded),
    ("ingress", "producers", "admission"),
    ("admission",),
)
EXPORT_REGISTRY = _inbox(
    "export-registry",
    "request_id or export_id",
    (
        records.RequestAdmitted,
        records.RequestRefused,
        records.ExportCommanded,
        records.ExportBeat,
        records.ExportAssembled,
        records.ExportFailed,
        records.FilesRemoved,
        records.RequestConfirmed,
        records.Tick,
    ),
    ("admission", "planning", "completion", "registrar"),
    ("registrar",),
    partitions=1,
)
EXPORT_PLANS = _inbox(
    "export-plans",
    "export_id",
    (
        records.ExportStarted,
        records.ExportStopped,
        records.RemoveAttempt,
        records.RangeWritten,
        records.RangeUnreadable,
        records.RangesMissing,
        records.ShardsAdopted,
        records.PackageAssembled,
        records.AssemblyBeat,
        records.AssemblyFailed,
        records.FilesRemoved,
        records.Tick,
    ),
    ("registrar", "writing", "assembly", "planning"),
    ("planning",),
)
TILE_RANGE_WORK = _inbox(
    "tile-range-work",
    "export_id/lane",
    (
        records.WriteRange,
        records.AssemblePackage,
        records.AdoptShards,
        records.RemoveAttempt,
    ),
    ("planning",),
    ("writing", "assembly"),
)
EXPORT_SETTLEMENTS = _inbox(
    "export-settlements",
    "request_id",
    (
        records.RequestSettled,
        records.RequestExpiring,
        records.RequestForgotten,
        records.DeliveryTried,
        records.RedeliveryAsked,
        records.Tick,
    ),
    ("registrar", "completion"),
    ("completion",),
)
EXPORT_FINISHED = _state(
    "export-finished",
    "request_id",
    (records.ExportFinished,),
    ("completion",),
    ("ingress", "anyone"),
)
EXPORT_PROGRESS = _state(
    "export-progress",
    "request_id or export_id",
    (records.RequestProgress, records.ExportProgress),
    ("registrar",),
    ("ingress",),
)
DEAD_LETTERS = TopicSpec(
    name="dead-letters",
    key="original key",
    partitions=1,
    cleanup_policy="delete",
    retention_ms=DEAD_LETTER_RETENTION_MS,
    max_message_bytes=MAX_REQUEST_BYTES,
    carries=(),
    written_by=("every stage",),
    read_by=("operators",),
)


def _changelog(table: str, key: str, owner: str, partitions: int, row: type) -> TopicSpec:
    return _state(
        f"{TABLE_APP}-{table}-changelog",
        key,
        (row,),
        (owner,),
        (owner, "ingress") if table in ("deliveries", "layers") else (owner,),
        partitions,
    )


TABLE_CHANGELOGS = (
    _changelog("requests", "request_id", "registrar", 1, rows.RequestRow),
    _changelog("bodies", "request_id", "registrar", 1, rows.BodyRow),
    _changelog("exports", "export_id", "registrar", 1, rows.ExportRow),
    _changelog("areas", "export_id", "registrar", 1, rows.AreaRow),
    _changelog("layers", "layer_id", "registrar", 1, rows.LayerRow),
    _changelog("progress", "export_id", "planning", PARTITIONS, rows.ProgressRow),
    _changelog("plans", "export_id", "planning", PARTITIONS, rows.PlanRow),
    _changelog("deliveries", "delivery_id", "completion", PARTITIONS, rows.DeliveryRow),
)

CATALOGUE: tuple[TopicSpec, ...] = (
    EXPORT_REQUESTS,
    EXPORT_REGISTRY,
    EXPORT_PLANS,
    TILE_RANGE_WORK,
    EXPORT_SETTLEMENTS,
    EXPORT_FINISHED,
    EXPORT_PROGRESS,
    DEAD_LETTERS,
    *TABLE_CHANGELOGS,
)

_BY_NAME = {spec.name: spec for spec in CATALOGUE}


def topic_spec(name: str) -> TopicSpec:
    """Find a topic of the catalogue by its name without prefix.

    Raises:
        KeyError: The catalogue has no such topic; a mistake in our own code.
    """
    return _BY_NAME[name]


def carried_records() -> tuple[type, ...]:
    """List every record class that some topic carries, each once, in catalogue order."""
    return tuple(dict.fromkeys(record for spec in CATALOGUE for record in spec.carries))


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of the topics on one broker.

    Attributes:
        prefix: Stands before every name, so that several services or tests share a broker;
            put a separator at its end.

    >>> Topics("test-").name("export-plans")
    'test-export-plans'
    """

    prefix: str = ""

    def name(self, topic: TopicSpec | str) -> str:
        """Name a topic of the catalogue as the broker knows it.

        Raises:
            KeyError: The catalogue has no such topic.
        """
        return self.prefix + (topic.name if isinstance(topic, TopicSpec) else _BY_NAME[topic].name)

    def changelog(self, table: str) -> str:
        """Name the changelog topic of a table as the broker knows it."""
        return self.name(changelog_name(table))

    def table_app_id(self) -> str:
        """Name the Faust app with the tables, so that Faust names changelogs as we do."""
        return self.prefix + TABLE_APP

    def spec(self, name: str) -> TopicSpec:
        """Find the catalogue's entry of a topic by its name on the broker.

        Raises:
            KeyError: Not a topic of ours under this prefix.
        """
        if not name.startswith(self.prefix):
            raise KeyError(name)
        return _BY_NAME[name[len(self.prefix) :]]

    def __iter__(self) -> Iterator[tuple[str, TopicSpec]]:
        """Go through all topics: name on the broker, entry of the catalogue."""
        return ((self.name(spec), spec) for spec in CATALOGUE)
