"""Patch i: what was asked before a rebalance drains nothing after it."""

import asyncio
from typing import Any

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, ConsumerStoppedError

from app.kafka.faust_patches.pinned import original

original("faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records")

# Between the begin of a rebalance and the moment when Faust's own thread hears of it.
_REBALANCE_PAUSE_S = 0.02


async def fetch_records(
    self: Any,
    consumer: Any,
    active_partitions: Any,
    timeout: float | None = None,  # noqa: ASYNC109 - Faust's signature
    max_records: int | None = None,
) -> Any:
    """Patch i: stop waiting for records when the partitions are assigned anew.

    aiokafka's `fetched_records` does not end with its timeout while a rebalance is under way: it
    waits for the next assignment, then drains partitions of the old one that are in the new one
    too, at their new positions. Faust's flow is closed, so it drops what comes: rows of a
    changelog after recovery has sought it, records of a source after the seek to its commit.

    So this asks aiokafka only for what is there, and does the waiting itself.

    Upstream: none yet.
    """
    fetcher = consumer._fetcher  # noqa: SLF001 - as in Faust
    subscriptions = fetcher._subscriptions  # noqa: SLF001 - as in Faust
    if not self.consumer.flow_active:
        return {}
    if consumer._closed or fetcher._closed:  # noqa: SLF001 - as in Faust
        raise ConsumerStoppedError
    assignment = _assignment(subscriptions)
    until_s = asyncio.get_running_loop().time() + (timeout or 0)
    with subscriptions.fetch_context():
        while self.consumer.flow_active and _assignment(subscriptions) is assignment:
            if subscriptions.reassignment_in_progress:
                await asyncio.sleep(_REBALANCE_PAUSE_S)
                break
            # Without a timeout it never waits, so nothing can change between look and drain.
            records = await fetcher.fetched_records(
                active_partitions, timeout=0, max_records=max_records
            )
            left_s = until_s - asyncio.get_running_loop().time()
            if records or left_s <= 0:
                return records
            await _new_records(fetcher, assignment, left_s)
    return {}


def _assignment(subscriptions: Any) -> Any:
    subscription = subscriptions.subscription
    return None if subscription is None else subscription.assignment


async def _new_records(fetcher: Any, assignment: Any, at_most_s: float) -> None:
    """Wait for a fetch that brought something, or for another assignment.

    Raises:
        KafkaError: The coordination has failed.
    """
    waiter = fetcher._create_fetch_waiter()  # noqa: SLF001 - as aiokafka does it itself
    ends = [waiter] if assignment is None else [waiter, assignment.unassign_future]
    try:
        await asyncio.wait(ends, timeout=at_most_s, return_when=asyncio.FIRST_COMPLETED)
        if waiter.done():
            waiter.result()
    finally:
        waiter.cancel()


def apply() -> None:
    """Put it in place."""
    AIOKafkaConsumerThread._fetch_records = fetch_records  # noqa: SLF001 - the defect is there
