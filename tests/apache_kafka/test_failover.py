"""How long partitions stand still when their owner dies or leaves, by real processes on Kafka.

`pytest -rP` prints what was measured.
"""

import asyncio
import itertools
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

# Between two records of one partition.
BEAT_S = 0.05
STATIC_SESSION_S = 30
"""What the partitions of a static member wait for when it does not come back."""


class Notes:
    """What the workers' logs say about who decided when."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def decided(self, instance: str) -> list[tuple[float, int]]:
        """Time (s since 1970) and partition of each decision of an instance, in order."""
        file = self.folder / f"{instance}.log"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        return [(at_s, what[0]) for at_s, _pid, kind, *what in lines if kind == "decide"]

    def partitions_since(self, instance: str, since_s: float) -> set[int]:
        return {partition for at_s, partition in self.decided(instance) if at_s > since_s}

    def longest_gap_s(self, instance: str, since_s: float) -> float:
        times = [since_s, *(at_s for at_s, _ in self.decided(instance) if at_s > since_s)]
        return max(later - earlier for earlier, later in itertools.pairwise([*times, time.time()]))


@asynccontextmanager
async def records_flow(bench: Any, stage: Any) -> AsyncIterator[None]:
    """Send to all six partitions while the block runs."""

    async def send_on_and_on() -> None:
        for number in itertools.count():
            for partition in range(6):
                record = stage.Written(f"k{partition}", str(number % 50))
                await bench.send(stage.INBOX, record, partition=partition)
            await asyncio.sleep(BEAT_S)

    sending = asyncio.create_task(send_on_and_on())
    try:
        yield
    finally:
        sending.cancel()
        await asyncio.wait([sending])


class Group:
    """The consumer group of the owners, as the broker tells of it in its log."""

    def __init__(self, cluster: Any, prefix: str) -> None:
        self.log, self.name = cluster.nodes[0].folder / "kafka.log", f"{prefix}coordinator"

    def told(self, words: str) -> list[str]:
        """Lines about the group that have these words."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if self.name in line and words in line]

    def rebalances(self) -> list[str]:
        return self.told("Preparing to rebalance")


@pytest.fixture
def group(apache_kafka: Any, topic_prefix: str) -> Group:
    return Group(apache_kafka, topic_prefix)


def tell(name: str, seconds: float) -> None:
    """Show a measurement; pytest -rP prints it."""
    sys.stdout.write(f"{name}: {seconds:.2f} s\n")


@pytest.fixture
async def two_owners(
    bench: Any, stage: Any, workers: Any, tmp_path: Path, eventually: Any
) -> AsyncIterator[tuple[Any, Notes]]:
    """Two owners that share the six partitions while records flow; the first one's process."""
    first = workers.start("one", "owner")
    workers.start("two", "owner")
    notes = Notes(tmp_path)
    await eventually(
        lambda: all(["ready"] in workers.log(name) for name in ("one", "two")), deadline_s=60
    )
    async with records_flow(bench, stage):
        started_s = time.time()

        def shared() -> bool:
            since_s = max(started_s, time.time() - 3)
            shares = [notes.partitions_since(name, since_s) for name in ("one", "two")]
            return all(len(share) == 3 for share in shares) and not set.intersection(*shares)

        await eventually(shared, deadline_s=60)
        yield first, notes


@pytest.fixture
def is_static(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_TEST_MEMBERSHIP", "static")


@pytest.fixture
def is_dynamic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_TEST_MEMBERSHIP", "dynamic")


async def test_a_killed_static_member_is_back_in_seconds_and_the_others_do_not_notice(
    is_static: None,
    two_owners: tuple[Any, Notes],
    workers: Any,
    group: Group,
    eventually: Any,
) -> None:
    first, notes = two_owners
    rebalances = group.rebalances()
    killed_s = time.time()
    first.kill()
    first.wait()
    workers.start("one", "owner")
    await eventually(lambda: len(notes.partitions_since("one", killed_s)) == 3, deadline_s=30)
    back_s = next(at_s for at_s, _ in notes.decided("one") if at_s > killed_s) - killed_s
    tell("static_back_s", back_s)
    assert back_s < STATIC_SESSION_S - 5
    # The broker's word, as a busy machine holds them up as well.
    assert group.rebalances() == rebalances
    assert len(group.told("Replacing previously mapped member")) == 1
    await eventually(lambda: len(notes.partitions_since("two", killed_s)) == 3)
    tell("static_gap_of_the_others_s", notes.longest_gap_s("two", killed_s))


async def test_the_partitions_of_a_killed_dynamic_member_go_to_the_others_after_its_session(
    is_dynamic: None, two_owners: tuple[Any, Notes], eventually: Any
) -> None:
    first, notes = two_owners
    killed_s = time.time()
    first.kill()
    await eventually(lambda: len(notes.partitions_since("two", killed_s)) == 6, deadline_s=40)
    taken_s = notes.longest_gap_s("two", killed_s)
    over_s = time.time() - killed_s
    tell("dynamic_taken_over_s", over_s)
    tell("dynamic_standstill_s", taken_s)
    assert over_s < STATIC_SESSION_S - 2


async def test_a_dynamic_member_that_is_stopped_leaves_and_the_others_go_on_at_once(
    is_dynamic: None, two_owners: tuple[Any, Notes], group: Group, eventually: Any
) -> None:
    first, notes = two_owners
    first.terminate()
    assert await asyncio.to_thread(first.wait, 120) == 0
    left_s = time.time()
    await eventually(lambda: len(notes.partitions_since("two", left_s)) == 6, deadline_s=20)
    over_s = time.time() - left_s
    tell("dynamic_left_s", over_s)
    # The broker's word: it was told, and waited for no session to end.
    assert "explicit `LeaveGroup` request" in group.rebalances()[-1]
    assert not group.told("expiration")


@pytest.mark.parametrize("kind", ["owner", "tasks"])
async def test_of_two_processes_with_one_name_the_first_ends_and_the_second_has_its_partitions(
    is_static: None, bench: Any, stage: Any, workers: Any, eventually: Any, kind: str
) -> None:
    first = workers.start("one", kind)
    await eventually(lambda: ["ready"] in workers.log("one"), deadline_s=30)
    async with records_flow(bench, stage):
        second = workers.start("one", kind)
        await eventually(lambda: first.poll() is not None, deadline_s=30)
        assert first.returncode == 70
        assert "instance_id_taken" in workers.output("one")
        handled = len(workers.log("one"))
        await eventually(lambda: len(workers.log("one")) > handled + 60, deadline_s=30)
        assert second.poll() is None


async def test_a_static_member_that_was_frozen_longer_than_its_session_goes_on(
    is_static: None, two_owners: tuple[Any, Notes], workers: Any, eventually: Any
) -> None:
    first, notes = two_owners
    frozen_s = time.time()
    first.send_signal(signal.SIGSTOP)
    await eventually(lambda: len(notes.partitions_since("two", frozen_s)) == 6, deadline_s=60)
    thawed_s = time.time()
    first.send_signal(signal.SIGCONT)

    async def shared_again() -> bool:
        if first.poll() is not None:  # as the supervisor would
            assert first.returncode == 70
            if len(workers.running) == 2:
                workers.start("one", "owner")
        return len(notes.partitions_since("one", thawed_s)) == 3

    await eventually(shared_again, deadline_s=40)
