"""A stage for tests: notes by key, copied to whoever asks. Also a process of its own.

As a script: notebook_stage.py BROKER PREFIX INSTANCE FOLDER [owner|tasks]. It logs one JSON line
an event to FOLDER/<instance>.log and stops at SIGTERM.

EXPORT_TEST_MEMBERSHIP says how its apps belong to their group: `embedded` (the default, static and
with what the embedded broker needs besides), `static` or `dynamic`.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from app.bootstrap.process import run_faust, run_until_stopped
from app.domain.decision import NOTHING, Decision, Send, Store
from app.domain.errors import InvalidRecord
from app.domain.inbox import InboxPosition
from app.domain.records import Tick
from app.kafka.edge import Edge
from app.kafka.faust_app import AppPlace, ServiceApp, build_coordinator_app, build_worker_app
from app.kafka.owner_agent import OwnerAgent, attach_owner
from app.kafka.task_agent import attach_handlers
from app.kafka.topics import Topics
from app.settings import Settings

INBOX, TABLE, CHANGELOG, OUTBOX = (
    "export-plans",
    "progress",
    "coordinator-progress-changelog",
    "export-settlements",
)
SINGLE_INBOX, SINGLE_TABLE, SINGLE_CHANGELOG = (
    "export-registry",
    "requests",
    "coordinator-requests-changelog",
)


@dataclass(frozen=True, slots=True)
class Written:
    key: str
    text: str
    due_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Copied:
    key: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Note:
    texts: tuple[str, ...]
    due_at_ms: int = 0


class JsonCodec:
    kinds: ClassVar = {kind.__name__: kind for kind in (Written, Copied, Note, Tick)}

    def encode(self, record: Any) -> bytes:
        return json.dumps([type(record).__name__, asdict(record)]).encode()

    def decode(self, payload: bytes) -> Any:
        try:
            kind, fields = json.loads(payload)
            fields = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
            return self.kinds[kind](**fields)
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidRecord(f"no record: {payload[:20]!r}") from error


class Notebook:
    """The Owner: one note a key; a text that is known is only copied again."""

    def __init__(self, partition: int, table: str = TABLE, note: Callable[..., None] | None = None):
        self.partition, self.table = partition, table
        self.notes: dict[str, Note] = {}
        self.log = note or (lambda *_: None)

    def load(self, table: str, key: str, row: Any) -> None:
        assert table == self.table
        self.notes[key] = row

    def decide(self, record: Any, position: InboxPosition) -> Decision:
        self.log("decide", self.partition, position.offset, getattr(record, "text", "tick"))
        if isinstance(record, Tick):
            return self._ring(record)
        if record.text == "bug":
            raise ZeroDivisionError
        if record.text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if record.text == "refuse":
            return Decision(dead_letter="not wanted here")
        old = self.notes.get(record.key, Note(()))
        if record.text in old.texts:
            return Decision(sends=(Send(OUTBOX, record.key, Copied(record.key, old.texts)),))
        if record.text == "remove":
            return Decision(stores=(Store(self.table, record.key, None),))
        new = Note((*old.texts, record.text), record.due_at_ms)
        return Decision(
            stores=(Store(self.table, record.key, new),),
            sends=(Send(OUTBOX, record.key, Copied(record.key, new.texts)),),
        )

    def _ring(self, tick: Tick) -> Decision:
        due = [k for k, n in self.notes.items() if 0 < n.due_at_ms <= tick.at_ms]
        if not due:
            return NOTHING
        return Decision(
            stores=tuple(Store(self.table, k, Note((*self.notes[k].texts, "rung"))) for k in due),
            sends=tuple(Send(OUTBOX, k, Copied(k, ("rung",))) for k in due),
        )

    def apply(self, store: Store) -> None:
        if store.row is None:
            self.notes.pop(store.key, None)
        else:
            self.notes[store.key] = store.row

    def due_at_ms(self) -> int | None:
        return min((n.due_at_ms for n in self.notes.values() if n.due_at_ms), default=None)


@dataclass(slots=True)
class Running:
    app: ServiceApp
    edge: Edge
    agents: list[OwnerAgent]
    exits: list[int]

    async def __aenter__(self) -> Self:
        await self.app.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.app.stop()


def membership() -> str:
    """How the apps belong to their group."""
    on_other_broker = "static" if "EXPORT_TEST_BROKER" in os.environ else "embedded"
    return os.environ.get("EXPORT_TEST_MEMBERSHIP", on_other_broker)


def place(broker: str, prefix: str, instance: str, folder: Path, exits: list[int]) -> AppPlace:
    return AppPlace(
        brokers=broker.split(","),
        datadir=folder / instance,
        shared_folder=folder,
        partitions=6,
        prefix=prefix,
        instance_id=None if membership() == "dynamic" else instance,
        embedded=membership() == "embedded",
        leave=exits.append,
    )


def owner_app(
    broker: str,
    prefix: str,
    instance: str,
    folder: Path,
    *,
    single: bool = False,
    note: Callable[..., None] | None = None,
    leave: Callable[[int], None] | None = None,
) -> Running:
    exits: list[int] = []
    app = build_coordinator_app(place(broker, prefix, instance, folder, exits))
    app.leave = leave or exits.append
    edge = Edge(
        app,
        JsonCodec(),
        Topics(prefix).name,
        run_folder=folder / f"run-{instance}",
        leave=leave or exits.append,
    )
    agents = [
        attach_owner(
            edge,
            inbox=INBOX,
            tables={TABLE: CHANGELOG},
            partitions=6,
            make_owner=lambda partition: Notebook(partition, TABLE, note),
        )
    ]
    if single:
        agents.append(
            attach_owner(
                edge,
                inbox=SINGLE_INBOX,
                tables={SINGLE_TABLE: SINGLE_CHANGELOG},
                partitions=1,
                make_owner=lambda partition: Notebook(partition, SINGLE_TABLE, note),
            )
        )
    return Running(app, edge, agents, exits)


def tasks_app(
    broker: str,
    prefix: str,
    instance: str,
    folder: Path,
    handlers: dict[type, Any],
    *,
    concurrency: int = 1,
    leave: Callable[[int], None] | None = None,
) -> Running:
    exits: list[int] = []
    app = build_worker_app(place(broker, prefix, instance, folder, exits))
    app.leave = leave or exits.append
    edge = Edge(
        app,
        JsonCodec(),
        Topics(prefix).name,
        run_folder=folder / f"run-{instance}",
        leave=leave or exits.append,
    )
    attach_handlers(edge, inbox=INBOX, handlers=handlers, concurrency=concurrency)
    return Running(app, edge, [], exits)


def main(broker: str, prefix: str, instance: str, folder: Path, kind: str) -> None:
    """Run the stage as the service runs its own: with the same signals and the same end."""
    file = (folder / f"{instance}.log").open("a", buffering=1)

    def note(*what: Any) -> None:
        file.write(json.dumps([time.time(), os.getpid(), *what]) + "\n")

    async def work(record: Written, position: InboxPosition) -> Decision:
        note("begin", position.partition, position.offset, record.text)
        if record.text.startswith("slow"):
            await asyncio.sleep(float(record.text.split()[1]))
        if record.text == "bug":
            raise ZeroDivisionError
        note("end", position.partition, position.offset, record.text)
        return Decision(sends=(Send(OUTBOX, record.key, Copied(record.key, (record.text,))),))

    async def live(stop: asyncio.Event) -> None:
        if kind == "owner":
            running = owner_app(broker, prefix, instance, folder, note=note, leave=os._exit)
        else:
            running = tasks_app(
                broker, prefix, instance, folder, {Written: work}, concurrency=4, leave=os._exit
            )

        async def note_ready() -> None:
            while not running.app.is_ready():  # noqa: ASYNC110 - Faust has no event for it
                await asyncio.sleep(0.02)
            note("ready")

        noting = asyncio.create_task(note_ready())
        await run_faust(running.app, stop)
        noting.cancel()
        note("stopped")

    note("boot")
    run_until_stopped(Settings(data_dir=folder, embedded=membership() == "embedded"), live)


if __name__ == "__main__":
    main(*sys.argv[1:4], Path(sys.argv[4]), sys.argv[5])
