"""A Faust table that knows which rows are its own, and which of two rows is the newer.

Faust's memory store keeps the rows of partitions that the worker has lost (8 foreign rows of 30
after a rebalance), confirms no write, and takes the last changelog record of a key for the
newest, even when a frozen process wrote it long after it had lost the partition.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Never, Self

import faust
import structlog

from app.kafka.delivery import Post, hand_over

log = structlog.get_logger(__name__)

VERSION_HEADER = "row-version"

# A tombstone's version is remembered this long, so that an older row that comes after it (from a
# process that was frozen) stays dead. Longer than any session or rebalance timeout.
TOMBSTONE_MEMORY_MS = 60 * 60 * 1000

FEW_VERSIONS = 1_024
"""So many are not looked through."""


class RowVersion(NamedTuple):
    """When and by whom a row was written; of two rows of one key the higher rank is the newer.

    The term comes first because the clock of a process that was frozen may be ahead of that of
    its successor; the time comes before the offset because a broker that loses its tail gives
    offsets again.

    Attributes:
        now_ms: Clock of the owner, ms since 1970 UTC, never going back within a partition.
        offset: Inbox offset of the record that wrote the row.
        term: Counts the owners of the partition: one more than any found in its rows.

    >>> RowVersion.from_headers(RowVersion(1700000000000, 7, 3).headers())
    RowVersion(now_ms=1700000000000, offset=7, term=3)
    """

    now_ms: int
    offset: int
    term: int = 0

    @property
    def rank(self) -> tuple[int, int, int]:
        """What decides between two versions."""
        return (self.term, self.now_ms, self.offset)

    def headers(self) -> list[tuple[str, bytes]]:
        """Write the version as the header of a changelog record."""
        return [(VERSION_HEADER, b"%d-%d-%d" % self)]

    @classmethod
    def from_headers(cls, headers: Iterable[tuple[str, bytes]] | None) -> Self:
        """Read the version of a changelog record; one without a readable header is the oldest."""
        for name, value in headers or ():
            if name == VERSION_HEADER:
                parts = value.split(b"-")
                if len(parts) in (2, 3) and all(part.isdigit() for part in parts):
                    return cls(*map(int, parts))
        return cls(-1, -1)


class PartitionRows:
    """Rows of one partition, each with its version; tombstones leave their version behind."""

    __slots__ = ("_sweep_at", "_versions", "newest_ms", "newest_term", "next_offset", "rows")

    def __init__(self) -> None:
        """Start empty."""
        self.rows: dict[bytes, bytes] = {}
        self.newest_ms = 0
        self.newest_term = 0
        self.next_offset = 0
        self._versions: dict[bytes, RowVersion] = {}
        self._sweep_at = FEW_VERSIONS

    def put(self, key: bytes, value: bytes | None, version: RowVersion) -> bool:
        """Take a row unless a newer one is known; of two with one version the later wins.

        Returns:
            Whether it was taken.
        """
        if version.rank < self._versions.get(key, version).rank:
            return False
        self._versions[key] = version
        self.newest_term = max(self.newest_term, version.term)
        self.newest_ms = max(self.newest_ms, version.now_ms)
        if value is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = value
        if len(self._versions) >= self._sweep_at:
            self.forget_tombstones()
        return True

    def forget_tombstones(self) -> None:
        """Drop versions of rows deleted so long ago that no older row can still come.

        That is done when there are twice as many versions as the last time left, too: an owner
        that never loses its partition would keep each row that it ever deleted.
        """
        until = self.newest_ms - TOMBSTONE_MEMORY_MS
        self._versions = {
            key: version
            for key, version in self._versions.items()
            if key in self.rows or version.now_ms >= until
        }
        self._sweep_at = max(FEW_VERSIONS, 2 * len(self._versions))


class OwnedTable(faust.Table):  # type: ignore[misc]  # Faust has no types that mypy follows
    """Rows of bytes by partition, for the partitions this process owns and no others.

    Attributes:
        foreign_count: Changelog records met for partitions that are not owned.
        older_count: Changelog records that lost against a newer row of their key.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        """Use `OwnedTable.add_to`; this is Faust's own signature."""
        super().__init__(app, **options)
        self._owned: dict[int, PartitionRows] = {}
        self.foreign_count = 0
        self.older_count = 0

    @classmethod
    def add_to(cls, faust_app: Any, *, name: str, changelog: str, partitions: int) -> "OwnedTable":
        """Make a table and register it with the app.

        Args:
            faust_app: The app; it must not have started.
            name: Name of the table.
            changelog: Name of the changelog topic on the broker.
            partitions: Partitions of the changelog: as many as the inbox of its owner.
        """
        topic = faust_app.topic(
            changelog,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            partitions=partitions,
            compacting=True,
            acks=False,
            internal=True,
            allow_empty=True,
            maxsize=131_072,  # Faust's own for changelogs: reading them needs no back-pressure
        )
        table = cls(
            faust_app,
            name=name,
            key_type=bytes,
            value_type=bytes,
            partitions=partitions,
            changelog_topic=topic,
            beacon=faust_app.tables.beacon,
        )
        faust_app.tables.add(table)
        return table

    def rows(self, partition: int) -> Mapping[bytes, bytes]:
        """Look at the rows of one partition; empty when it is not owned."""
        owned = self._owned.get(partition)
        return MappingProxyType(owned.rows if owned else {})

    def newest_ms(self, partition: int) -> int:
        """Tell the highest time in the versions of a partition, ms since 1970 UTC; 0: none."""
        owned = self._owned.get(partition)
        return owned.newest_ms if owned else 0

    def newest_term(self, partition: int) -> int:
        """Tell the highest term in the versions of a partition; 0: none."""
        owned = self._owned.get(partition)
        return owned.newest_term if owned else 0

    def owned_partitions(self) -> frozenset[int]:
        """List the partitions whose rows this process holds."""
        return frozenset(self._owned)

    async def store(
        self, partition: int, key: bytes, value: bytes | None, version: RowVersion
    ) -> "asyncio.Future[Any]":
        """Send one row to the changelog; the row changes here when the broker confirms it.

        Args:
            partition: Partition of the inbox record that is being handled.
            key: Key of the row.
            value: The row; None deletes it.
            version: Written beside it, see RowVersion.

        Returns:
            The confirmation to come; await it before the next step that relies on the row.

        Raises:
            DeliveryFailed: The producer could not take it.
        """
        post = Post(self.changelog_topic_name, key, value, partition, version.headers())
        future = await hand_over(self.app, post)
        future.add_done_callback(self._on_confirmed(partition, key, value, version))
        return future

    def _on_confirmed(
        self, partition: int, key: bytes, value: bytes | None, version: RowVersion
    ) -> Callable[["asyncio.Future[Any]"], None]:
        def take(future: "asyncio.Future[Any]") -> None:
            if future.cancelled() or future.exception() is not None:
                return
            owned = self._owned.get(partition)
            if owned is not None:
                owned.put(key, value, version)
                owned.next_offset = max(owned.next_offset, future.result().offset + 1)

        return take

    def persisted_offset(self, tp: Any) -> int | None:
        """Tell recovery where to go on: rows of a partition that was kept are not read again."""
        owned = self._owned.get(tp.partition)
        return owned.next_offset - 1 if owned and owned.next_offset else None

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        """Take rows at recovery: newest version of each key, owned partitions only.

        Faust puts a record of a partition that was just lost into the buffer of whichever table
        came before it, so the topic is checked too.
        """
        for event in batch:
            message = event.message
            owned = self._owned.get(message.partition)
            if owned is None or message.topic != self.changelog_topic_name:
                self.foreign_count += 1
                continue
            owned.next_offset = max(owned.next_offset, message.offset + 1)
            version = RowVersion.from_headers(message.headers)
            if not owned.put(message.key, message.value, version):
                self.older_count += 1
                log.warning("older_row_dropped", table=self.name, offset=message.offset)

    async def on_rebalance(
        self,
        assigned: set[Any],
        revoked: set[Any],
        newly_assigned: set[Any],
        generation_id: int = 0,
    ) -> None:
        """Drop the rows of partitions that were lost, before recovery reads the new ones."""
        topic = self.changelog_topic_name
        ours = {tp.partition for tp in assigned if tp.topic == topic}
        fresh = {tp.partition for tp in newly_assigned if tp.topic == topic}
        self._owned = {
            partition: PartitionRows()
            if partition in fresh
            else self._owned.get(partition) or PartitionRows()
            for partition in ours
        }
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    async def on_recovery_completed(self, active_tps: set[Any], standby_tps: set[Any]) -> None:
        """Forget old tombstones once everything has been read."""
        for owned in self._owned.values():
            owned.forget_tombstones()
        await super().on_recovery_completed(active_tps, standby_tps)

    def __setitem__(self, key: Any, value: Any) -> Never:
        """Refuse: a write through the mapping is confirmed by nobody."""
        raise TypeError(f"table {self.name}: use store(), it is confirmed")

    def __delitem__(self, key: Any) -> Never:
        """Refuse: a write through the mapping is confirmed by nobody."""
        raise TypeError(f"table {self.name}: use store(), it is confirmed")
