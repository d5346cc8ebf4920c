"""The two Faust apps and every setting of them, each with its reason.

Two apps, two consumer groups, two processes: an app with tables uses another assignor than one
without, and long handlers of the worker must never hold up the coordinator's rebalance.

They run inside a loop of ours: `await faust_app.start()`, `await faust_app.stop()`; stopping
waits for the handlers in progress, commits, and leaves the group. Nothing touches logging.
"""

import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faust
import structlog

from app.kafka import faust_patches, fetch_backoff, group_errors, group_fence, progress_watch
from app.kafka.edge import EXIT_BUG
from app.kafka.stable_assignor import StableTableAssignor, StableTaskAssignor
from app.kafka.topics import MAX_REQUEST_BYTES, TABLE_APP, TASK_APP

log = structlog.get_logger(__name__)

COORDINATOR = TABLE_APP
WORKER = TASK_APP

_STATIC_SESSION_S = 30.0
_DYNAMIC_SESSION_S = 10.0


@dataclass(frozen=True, slots=True)
class AppPlace:
    """Where an app runs and what it is called there.

    Attributes:
        brokers: Addresses `host:port`.
        datadir: Local folder of Faust; made if missing.
        partitions: Partitions of the inboxes; Faust's default for topics without a number.
        prefix: Stands before the group id, as before the topic names.
        instance_id: Stable name of this process: static membership, so that a restart heals
            in 3 s instead of a session. None: dynamic.
        embedded: The broker is the embedded one: it evicts no dead dynamic member, so an
            instance id is required; it answers empty fetches at once, so they are spaced; and
            it does not tell a group of a new assignment, so that is made from names alone.
        shared_folder: Folder that all processes of the embedded broker know; None: members join
            their group when they like.
        max_request_bytes: Largest request of the producer, and what a fetch asks for.
        stream_buffer: Records that wait in memory per agent. More only adds redelivery.
        leave: Ends the process at once; tests put their own here.
    """

    brokers: Sequence[str]
    datadir: Path
    partitions: int
    prefix: str = ""
    instance_id: str | None = None
    embedded: bool = False
    shared_folder: Path | None = None
    max_request_bytes: int = MAX_REQUEST_BYTES
    stream_buffer: int = 256
    leave: Callable[[int], None] = os._exit

    def __post_init__(self) -> None:
        """Refuse what would wedge the group."""
        if self.embedded and self.instance_id is None:
            raise ValueError(
                "the embedded broker never evicts a dead dynamic member: give an instance_id"
            )


class ServiceApp(faust.App):  # type: ignore[misc]  # Faust has no types that mypy follows
    """A Faust app with a fence, that ends its process when one of its services crashes.

    A crashed service makes Faust cancel the handlers in progress, which acknowledges their
    records, and then commit them. So the process goes first.
    """

    group_fence: group_fence.GroupFence
    leave: Callable[[int], None]
    task_assignor: StableTaskAssignor | None = None
    join_lock: Path | None = None
    # On the embedded broker the supervisor alone gives names, and a broker that was killed
    # forgets its members without any namesake.
    shares_its_broker: bool = False

    def _crash(self, reason: BaseException) -> None:
        log.critical("faust_crashed", app=self.conf.id, error=repr(reason))
        self.leave(EXIT_BUG)
        super()._crash(reason)

    def give_name_up(self) -> None:
        """End the process: another one has joined the group under its name."""
        log.critical("instance_id_taken", instance_id=self.conf.consumer_group_instance_id)
        self.leave(EXIT_BUG)

    def give_up_group(self, error: BaseException) -> None:
        """End the process: the coordination of its group can go on no more."""
        log.critical("group_coordination_failed", app=self.conf.id, error=repr(error))
        self.leave(EXIT_BUG)

    async def on_start(self) -> None:
        """Watch progress from the first moment on: a flow can stop in the first rebalance too."""
        await super().on_start()
        self.add_future(progress_watch.watch(self, lambda: self.leave(EXIT_BUG)))

    async def on_stop(self) -> None:
        """Wait for handlers, flush, then open the fence: what is left to send has no owner."""
        await super().on_stop()
        self.group_fence.retire()

    def coordinator(self) -> Any:
        """Find the group coordinator of aiokafka; None while there is no consumer."""
        consumer = self._consumer
        thread = None if consumer is None else consumer._thread  # noqa: SLF001 - no public way
        client = None if thread is None else thread._consumer  # noqa: SLF001 - no public way
        return None if client is None else client._coordinator  # noqa: SLF001 - no public way

    def is_ready(self) -> bool:
        """Whether it has partitions, has recovered its tables and is handling records."""
        return bool(
            self._consumer is not None
            and self.tables.recovery.completed.is_set()
            and not self.rebalancing
        )


def build_coordinator_app(place: AppPlace) -> ServiceApp:
    """Build the app of the stages that own tables: registrar, planner, completion."""
    return _build(COORDINATOR, place)


def build_worker_app(place: AppPlace) -> ServiceApp:
    """Build the app of the stages without tables: admission, writing, assembly."""
    return _build(WORKER, place)


def _build(name: str, place: AppPlace) -> ServiceApp:
    faust_patches.apply()
    group_fence.install()
    group_errors.install()
    if place.embedded:
        fetch_backoff.install()
    place.datadir.mkdir(parents=True, exist_ok=True)
    session_s = _session_s(place)
    faust_app = ServiceApp(
        place.prefix + name,
        **_group(place, session_s),
        **_reading(place),
        **_writing(place),
        **_tables(place),
        **_surroundings(place, name),
        **({"PartitionAssignor": StableTableAssignor} if place.embedded else {}),
    )
    faust_app.leave = place.leave
    faust_app.shares_its_broker = not place.embedded and place.instance_id is not None
    if place.embedded and place.instance_id is not None:
        faust_app.task_assignor = StableTaskAssignor(place.instance_id)
    if place.embedded and place.shared_folder is not None:
        faust_app.join_lock = place.shared_folder / f"{place.prefix}{name}.joining"
    faust_app.group_fence = group_fence.GroupFence(session_s, faust_app.coordinator)
    faust_app.finalize()
    return faust_app


def _session_s(place: AppPlace) -> float:
    """Tell how long silence lasts until the group gives our partitions away.

    A static member comes back under its own name long before that; for a dynamic one failover
    is session and join.
    """
    return _DYNAMIC_SESSION_S if place.instance_id is None else _STATIC_SESSION_S


def _group(place: AppPlace, session_s: float) -> dict[str, Any]:
    return {
        "broker": [f"kafka://{address}" for address in place.brokers],
        "consumer_group_instance_id": place.instance_id,
        "broker_session_timeout": session_s,
        "broker_heartbeat_interval": 1.0,
        "broker_rebalance_timeout": 60.0,  # over three times the longest handler
        "broker_request_timeout": 90.0,  # must exceed the session
    }


def _reading(place: AppPlace) -> dict[str, Any]:
    return {
        "broker_commit_interval": 0.5,  # bounds only what is redelivered
        "broker_commit_every": 10_000,
        "stream_buffer_maxsize": place.stream_buffer,
        "stream_wait_empty": True,  # False loses the record in flight at SIGTERM
        "consumer_auto_offset_reset": "earliest",  # "latest" can hang recovery (#651)
        "consumer_max_fetch_size": place.max_request_bytes,
    }


def _writing(place: AppPlace) -> dict[str, Any]:
    return {
        "producer_linger": 0.0,  # 5 ms cost 19 ms from end to end
        "producer_acks": -1,
        "producer_request_timeout": 60.0,  # the default of 1200 s hides a dead broker
        "producer_max_request_size": place.max_request_bytes,
    }


def _tables(place: AppPlace) -> dict[str, Any]:
    return {
        "store": "memory://",
        "table_standby_replicas": 0,
        "datadir": str(place.datadir),
    }


def _surroundings(place: AppPlace, name: str) -> dict[str, Any]:
    """Keep Faust to itself: no topics of its own, no web server, no log set-up.

    The assignor keeps a worker's partitions by its address, so that is made from the instance
    id; nothing listens there.
    """
    identity = place.instance_id or uuid.uuid4().hex
    return {
        "topic_partitions": place.partitions,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_enabled": False,
        "canonical_url": f"http://{identity}.{name}.invalid:6066",
        "logging_config": None,
    }
