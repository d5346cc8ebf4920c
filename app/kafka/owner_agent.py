"""The agent of a stage that owns tables: read, decide, store, confirm, send, acknowledge.

Consumes: the stage's one inbox, concurrency 1, so that everything about a key has one order.
Produces: changelog records of the stage's tables, then the records that its Owner decided.
Delivery: a record is acknowledged when everything is confirmed; a replay finds the rows stored
and the Owner answers with the same sends. Of a frozen process nothing passes the fence.
Failures: unreadable bytes to the dead letters; deliveries are tried again in place for ever; a
bug in a decision ends the process before it commits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from app.domain.decision import Decision, Record, Send, Store
from app.domain.errors import TemporaryFailure
from app.domain.inbox import InboxPosition
from app.domain.records import Tick
from app.domain.topic_names import EXPORT_FINISHED
from app.kafka import doorbell
from app.kafka.delivery import confirmed
from app.kafka.edge import Edge, Handling
from app.kafka.owned_table import OwnedTable, RowVersion

log = structlog.get_logger(__name__)

# A Tick that got lost (a broker that forgot its tail) must not stop the clock of a partition.
_TICK_TIMEOUT_MS = 30_000
_TICK_CHECK_S = 0.25


class Owner(Protocol):
    """The decoded state of one inbox partition and what it decides; pure, no I/O, no clock.

    `decide` must not change the state: the agent calls `apply` for each row when the broker has
    confirmed all of them, in the order in which they were decided.
    """

    def load(self, table: str, key: str, row: Record) -> None:
        """Take one row of the partition at recovery; rows come in no order."""

    def decide(self, record: Record, position: InboxPosition) -> Decision:
        """Decide about one record, from the state alone."""

    def apply(self, store: Store) -> None:
        """Change the state: this row is stored."""

    def due_at_ms(self) -> int | None:
        """When a Tick is wanted, ms since 1970 UTC; None: never. Called four times a second."""


@dataclass(slots=True)
class _OwnedPartition:
    owner: Owner
    now_ms: int
    term: int
    tick_sent_at_ms: int | None = None


@dataclass(slots=True)
class OwnerAgent:
    """The running agent of one stage; made by `attach_owner`.

    Attributes:
        handling: The wrapper around each record.
        tables: The stage's tables by name.
        make_owner: Makes an empty Owner for a partition.
        before: Prepares CPU work for the Owner's `decide` in a thread; None: nothing to prepare.
        partitions: The owned partitions, built from their rows at first use.
    """

    handling: Handling
    tables: Mapping[str, OwnedTable]
    make_owner: Callable[[int], Owner]
    before: Callable[[Any, Record], Awaitable[None]] | None = None
    partitions: dict[int, _OwnedPartition] = field(default_factory=dict)

    @property
    def edge(self) -> Edge:
        """What the app's agents share."""
        return self.handling.edge

    def owner(self, partition: int) -> Owner:
        """The Owner of a partition that this process owns; built from the rows if need be."""
        return self._owned(partition).owner

    def _owned(self, partition: int) -> _OwnedPartition:
        owned = self.partitions.get(partition)
        if owned is None:
            owned = self.partitions[partition] = self._build(partition)
        return owned

    def _build(self, partition: int) -> _OwnedPartition:
        owner = self.make_owner(partition)
        decode = self.edge.codec.decode
        newest_ms = newest_term = 0
        rows_count = 0
        for name, table in self.tables.items():
            newest_ms = max(newest_ms, table.newest_ms(partition))
            newest_term = max(newest_term, table.newest_term(partition))
            for key, value in table.rows(partition).items():
                owner.load(name, key.decode(), decode(value))
                rows_count += 1
        log.info(
            "owner_built", inbox=self.handling.inbox, partition=partition, rows_count=rows_count
        )
        return _OwnedPartition(owner, newest_ms, newest_term + 1)

    async def drop_all(self, *_: Any, **__: Any) -> None:
        """Forget every Owner: a rebalance has begun, and all handlers have ended."""
        self.partitions.clear()

    async def run(self, stream: Any) -> None:
        """Handle the inbox; the body of the Faust agent."""
        async for event in stream.events():
            await self.handling.handled(event, self._decided)

    async def _decided(self, record: Record, position: InboxPosition, message: Any) -> None:
        if self.before is not None:
            await self.before(self._owned(position.partition).owner, record)
        owned = self._owned(position.partition)
        decision = owned.owner.decide(record, position)
        if decision.stores:
            await self.handling.until_delivered(
                message, lambda: self._store(owned, decision.stores, position)
            )
            for store in decision.stores:
                owned.owner.apply(store)
        if decision.sends:
            await self.handling.until_delivered(
                message, lambda: self.edge.outbox.send_all(decision.sends)
            )
        if decision.dead_letter is not None:
            await self.handling.buried(message, decision.dead_letter)
        if isinstance(record, Tick):
            owned.tick_sent_at_ms = None

    async def _store(
        self, owned: _OwnedPartition, stores: Sequence[Store], position: InboxPosition
    ) -> None:
        owned.now_ms = max(owned.now_ms, self.edge.now_ms())
        version = RowVersion(owned.now_ms, position.offset, owned.term)
        encode = self.edge.codec.encode
        under_way: list[asyncio.Future[Any]] = []
        try:
            for store in stores:
                value = None if store.row is None else encode(store.row)
                table = self.tables[store.table]
                under_way.append(
                    await table.store(position.partition, store.key.encode(), value, version)
                )
        finally:
            await confirmed(under_way)
        changelogs = {self.tables[store.table].changelog_topic_name for store in stores}
        # Nobody waits for a changelog, but for the one that is the public topic of results.
        doorbell.ring(changelogs & {self.edge.topic_name(EXPORT_FINISHED)})

    async def tick_when_due(self) -> None:
        """Send a Tick to each partition that has something due; runs as long as the app."""
        faust_app = self.edge.faust_app
        while not faust_app.should_stop:
            if faust_app.tables.actives_ready and not faust_app.rebalancing:
                await self._tick_due_partitions()
            await faust_app.sleep(_TICK_CHECK_S)

    async def _tick_due_partitions(self) -> None:
        topic = self.edge.topic_name(self.handling.inbox)
        ours = [
            tp.partition
            for tp in self.edge.faust_app.assignor.assigned_actives()
            if tp.topic == topic
        ]
        for partition in ours:
            await self._tick_if_due(partition)

    async def _tick_if_due(self, partition: int) -> None:
        owned = self._owned(partition)
        now_ms = self.edge.now_ms()
        due_at_ms = owned.owner.due_at_ms()
        if due_at_ms is None or due_at_ms > now_ms:
            return
        sent_at_ms = owned.tick_sent_at_ms
        if sent_at_ms is not None and now_ms - sent_at_ms < _TICK_TIMEOUT_MS:
            return
        owned.tick_sent_at_ms = now_ms
        try:
            await self.edge.outbox.send(
                self.handling.inbox, str(partition), Tick(at_ms=now_ms), partition
            )
        except TemporaryFailure as error:
            owned.tick_sent_at_ms = None
            log.warning("tick_not_sent", inbox=self.handling.inbox, error=str(error))


def attach_owner(
    edge: Edge,
    *,
    inbox: str,
    tables: Mapping[str, str],
    partitions: int,
    make_owner: Callable[[int], Owner],
    before: Callable[[Any, Record], Awaitable[None]] | None = None,
    on_poison: Callable[[Record | None, str], Sequence[Send]] | None = None,
) -> OwnerAgent:
    """Add the one agent of a table-owning stage to the app; call before the app starts.

    Args:
        edge: What the app's agents share.
        inbox: Name of the inbox in the topic catalogue.
        tables: Name of each table and of its changelog, both as in the catalogue, e.g.
            `{"requests": "coordinator-requests-changelog"}`.
        partitions: Partitions of the inbox and of all those changelogs.
        make_owner: Makes an empty Owner for a partition number.
        before: Awaited with the Owner before each of its decisions, to do CPU work in a thread
            and keep its result where `decide` finds it; must be harmless when repeated.
        on_poison: What to send when a record is given up after the process died at it three
            times; gets the record and the reason.

    Returns:
        The agent; its `edge.outbox` sends for the stage's background tasks.
    """
    handling = Handling(edge, inbox)
    if on_poison is not None:
        handling.on_poison = on_poison
    agent = OwnerAgent(
        handling,
        {
            name: OwnedTable.add_to(
                edge.faust_app,
                name=name,
                changelog=edge.topic_name(changelog),
                partitions=partitions,
            )
            for name, changelog in tables.items()
        },
        make_owner,
        before,
    )
    edge.faust_app.on_partitions_revoked.connect(agent.drop_all)
    edge.faust_app.agent(edge.inbox_topic(inbox, partitions), name=f"{inbox}-owner", concurrency=1)(
        agent.run
    )
    edge.faust_app.task(agent.tick_when_due)
    return agent
