"""When the fence lets a write pass."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from app.kafka.group_fence import GroupFence, PartitionLost, boot_clock_s


class Group:
    """A coordinator as the fence sees it, and a clock to turn."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.coordinator: Any = SimpleNamespace(
            generation=3, _fence_generation=3, _fence_beat_s=1000.0
        )
        self.fence = GroupFence(10.0, lambda: self.coordinator, lambda: self.now_s)


async def test_a_recent_heartbeat_lets_a_write_pass() -> None:
    group = Group()
    group.now_s += 4.9
    await asyncio.wait_for(group.fence.fresh(3), timeout=60)


async def test_a_write_waits_until_the_group_is_heard_again() -> None:
    group = Group()
    group.now_s += 5.1
    write = asyncio.create_task(group.fence.fresh(3))
    await asyncio.sleep(0)
    assert not write.done()
    group.coordinator._fence_beat_s = group.now_s
    await asyncio.wait_for(write, timeout=60)
    assert group.fence.waits_count == 1


async def test_a_record_of_an_earlier_generation_is_lost() -> None:
    group = Group()
    group.coordinator.generation = group.coordinator._fence_generation = 4
    with pytest.raises(PartitionLost):
        await group.fence.fresh(3)


async def test_a_reset_generation_is_lost_for_background_sends_too() -> None:
    group = Group()
    group.coordinator.generation = -1
    with pytest.raises(PartitionLost):
        await group.fence.fresh()


async def test_background_sends_wait_while_a_join_is_under_way() -> None:
    group = Group()
    group.coordinator.generation = 4  # JoinGroup answered, SyncGroup has not
    assert not group.fence.is_fresh()
    write = asyncio.create_task(group.fence.fresh())
    await asyncio.sleep(0)
    assert not write.done()
    group.coordinator._fence_generation = 4
    await asyncio.wait_for(write, timeout=60)


async def test_nothing_passes_before_the_first_join_and_everything_after_the_end() -> None:
    fence = GroupFence(10.0, lambda: None)
    assert not fence.is_fresh()
    assert fence.age_s() is None
    fence.retire()
    await asyncio.wait_for(fence.fresh(3), timeout=60)


def test_the_clock_goes_on() -> None:
    assert boot_clock_s() <= boot_clock_s()
