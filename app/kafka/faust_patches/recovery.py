"""Patches c, g and h: how Faust starts reading again after a rebalance."""

import asyncio
from typing import Any

from aiokafka import TopicPartition
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped

from app.domain.errors import ExportServiceError
from app.kafka.faust_patches.overtaken import is_overtaken
from app.kafka.faust_patches.pinned import original

_wait = original("faust.tables.recovery:Recovery._wait")
original("faust.tables.recovery:Recovery.on_recovery_completed")
original("faust.tables.recovery:Recovery._resume_streams")


class RecoveryTooSlow(ExportServiceError):
    """The broker did not answer a recovery in time; only a new start can go on."""


async def wait(self: Any, coro: Any, timeout: float | None = None) -> None:  # noqa: ASYNC109 - Faust's signature
    """Patch h: an answer that does not come in time ends the process, not the recovery service.

    Faust takes the end of the time for the end of the service: its loop is left without a word,
    the member stays in its group, and no later rebalance opens its flow.

    Upstream: none yet.

    Raises:
        RecoveryTooSlow: The time is over; a crash, which ends the process.
    """
    try:
        await _wait(self, coro, timeout)
    except ServiceStopped as stopped:
        if self.should_stop:
            raise
        raise RecoveryTooSlow(f"no answer within {timeout} s") from stopped


async def on_recovery_completed(self: Any, generation_id: int = 0) -> None:
    """Patch c: clear the stream queues, then seek, then resume.

    Faust resumes the partitions, seeks, and then clears the queues: what was fetched meanwhile
    vanishes, and since the position has moved on it is never read again.

    Upstream: #596; pull request #217 covers half of it.
    """
    await self.app.on_rebalance_complete.send()
    self._set_recovery_ended()
    await _tell_tables(self)
    _give_way(self, generation_id)
    await _clear_seek_resume(self, generation_id)
    self.tables.on_actives_ready()
    if not self.app.assignor.assigned_standbys():
        self.tables.on_standbys_ready()
    self.app.on_rebalance_end()
    self.log.info("Worker ready")


async def resume_streams(self: Any, generation_id: int = 0) -> None:
    """Patch c for an app without tables, where Faust has the same order in another function."""
    await self.app.on_rebalance_complete.send()
    _give_way(self, generation_id)
    await _clear_seek_resume(self, generation_id)
    self.tables.on_actives_ready()
    self.tables.on_standbys_ready()
    self.app.on_rebalance_end()
    self.log.info("Worker ready")


async def _tell_tables(recovery: Any) -> None:
    callbacks = [
        table.on_recovery_completed(
            recovery.actives_for_table[table], recovery.standbys_for_table[table]
        )
        for table in recovery.tables.values()
    ]
    await asyncio.gather(*callbacks)


def _give_way(recovery: Any, generation_id: int) -> None:
    """Leave everything closed for the recovery that the next assignment starts (patch g).

    To be called after each await: another rebalance may have begun in any of them.

    Raises:
        RebalanceAgain: It has; Faust's recovery then waits for the next assignment.
    """
    if is_overtaken(recovery) or recovery.app.consumer_generation_id != generation_id:
        recovery.log.warning("Another rebalance has begun")
        raise RebalanceAgain


async def _clear_seek_resume(recovery: Any, generation_id: int) -> None:
    app, consumer = recovery.app, recovery.app.consumer
    assignment = consumer.assignment()
    app.flow_control.resume()  # clears the queues, while the partitions are still paused
    if assignment:
        await recovery._wait(  # noqa: SLF001 - raises when the next rebalance begins
            consumer.perform_seek(), timeout=app.conf.broker_request_timeout
        )
        _give_way(recovery, generation_id)
    changelogs = {tp for tp in assignment if recovery._is_changelog_tp(tp)}  # noqa: SLF001 - as in Faust
    await _stop_fetching(consumer, changelogs)
    _give_way(recovery, generation_id)
    recovery.completed.set()
    consumer.resume_partitions(assignment - changelogs)
    consumer.resume_flow()
    await app._fetcher.maybe_start()  # noqa: SLF001 - as in Faust
    _give_way(recovery, generation_id)


async def _stop_fetching(consumer: Any, changelogs: set[Any]) -> None:
    """Leave recovered changelogs out of the fetches, until the next assignment.

    Faust only stops delivering them: the client goes on asking for each of them in every fetch,
    which was more than half of an idle coordinator's CPU time and slowed every hop.
    """
    if not changelogs:
        return
    thread = consumer._thread  # noqa: SLF001 - no public way to aiokafka's consumer
    client = thread._ensure_consumer()  # noqa: SLF001 - as above
    # aiokafka takes no other tuples than its own.
    theirs = {TopicPartition(tp.topic, tp.partition) for tp in changelogs}

    def pause() -> None:
        # In the client's own thread nothing can revoke them between the question and the call.
        client.pause(*(theirs & client.assignment()))

    await thread.call_thread(pause)


def apply() -> None:
    """Put them in place."""
    Recovery._wait = wait  # noqa: SLF001 - the defect is there
    Recovery.on_recovery_completed = on_recovery_completed
    Recovery._resume_streams = resume_streams  # noqa: SLF001 - the defect is there
