"""Patch c: the order in which Faust starts reading again after table recovery."""

import asyncio
from typing import Any

from aiokafka import TopicPartition
from faust.tables.recovery import Recovery

from app.kafka.faust_patches.pinned import original

original("faust.tables.recovery:Recovery.on_recovery_completed")
original("faust.tables.recovery:Recovery._resume_streams")


async def on_recovery_completed(self: Any, generation_id: int = 0) -> None:
    """Patch c: clear the stream queues, then seek, then resume.

    Faust resumes the partitions, seeks, and then clears the queues: what was fetched meanwhile
    vanishes, and since the position has moved on it is never read again.

    Upstream: #596; pull request #217 covers half of it.
    """
    await self.app.on_rebalance_complete.send()
    self._set_recovery_ended()
    await _tell_tables(self)
    if self.app.consumer_generation_id != generation_id:
        self.log.warning("Another rebalance has begun")
        return
    await _clear_seek_resume(self)
    self.tables.on_actives_ready()
    if not self.app.assignor.assigned_standbys():
        self.tables.on_standbys_ready()
    self.app.on_rebalance_end()
    self.log.info("Worker ready")


async def resume_streams(self: Any, generation_id: int = 0) -> None:
    """Patch c for an app without tables, where Faust has the same order in another function."""
    await self.app.on_rebalance_complete.send()
    if self.app.consumer_generation_id != generation_id:
        self.log.warning("Another rebalance has begun")
        return
    await _clear_seek_resume(self)
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


async def _clear_seek_resume(recovery: Any) -> None:
    app, consumer = recovery.app, recovery.app.consumer
    assignment = consumer.assignment()
    app.flow_control.resume()  # clears the queues, while the partitions are still paused
    if assignment:
        await recovery._wait(  # noqa: SLF001 - raises when the next rebalance begins
            consumer.perform_seek(), timeout=app.conf.broker_request_timeout
        )
    recovery.completed.set()
    consumer.resume_partitions(
        {tp for tp in assignment if not recovery._is_changelog_tp(tp)}  # noqa: SLF001 - as in Faust
    )
    await _stop_fetching(
        consumer,
        {tp for tp in assignment if recovery._is_changelog_tp(tp)},  # noqa: SLF001 - as in Faust
    )
    consumer.resume_flow()
    await app._fetcher.maybe_start()  # noqa: SLF001 - as in Faust


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
    """Put both in place."""
    Recovery.on_recovery_completed = on_recovery_completed
    Recovery._resume_streams = resume_streams  # noqa: SLF001 - the defect is there
