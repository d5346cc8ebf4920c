"""The owner agent on the real broker: confirmed rows, Ticks, restarts, garbage, bugs."""

import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any


async def test_a_record_is_stored_and_copied(
    broker: str, topic_prefix: str, stage: Any, bench: Any, tmp_path: Path, eventually: Any
) -> None:
    running = stage.owner_app(broker, topic_prefix, "one", tmp_path)
    async with running:
        await bench.send(stage.INBOX, stage.Written("a", "hello"))

        async def copied() -> bool:
            return await bench.copied() == [stage.Copied("a", ("hello",))]

        await eventually(copied, deadline_s=20)
        (row,) = await bench.read(stage.CHANGELOG)
        name, version = row.headers[0]
        assert name == "row-version"
        assert version.endswith(b"-0-1")
        assert abs(int(version.partition(b"-")[0]) - time.time() * 1000) < 600_000
    assert running.exits == []


async def test_garbage_goes_to_the_dead_letters_and_the_next_record_is_handled(
    broker: str, topic_prefix: str, stage: Any, bench: Any, tmp_path: Path, eventually: Any
) -> None:
    async with stage.owner_app(broker, topic_prefix, "one", tmp_path):
        await bench.send(stage.INBOX, b"garbage", partition=2)
        await bench.send(stage.INBOX, stage.Written("a", "refuse"), partition=2)
        await bench.send(stage.INBOX, stage.Written("a", "good"), partition=2)

        async def copied() -> bool:
            return len(await bench.copied()) == 1

        await eventually(copied, deadline_s=20)
    garbage, refused = await bench.read("dead-letters", partitions=1)
    headers = dict(garbage.headers)
    assert (garbage.key, garbage.value) == (b"raw", b"garbage")
    assert headers["topic"].decode() == bench.topics.name(stage.INBOX)
    assert (headers["partition"], headers["offset"]) == (b"2", b"0")
    assert b"garbage" in headers["reason"]
    assert headers["at_ms"].isdigit()
    assert dict(refused.headers)["reason"] == b"not wanted here"


async def test_rows_survive_a_restart_and_a_deleted_row_stays_deleted(
    broker: str, topic_prefix: str, stage: Any, bench: Any, tmp_path: Path, eventually: Any
) -> None:
    async with stage.owner_app(broker, topic_prefix, "one", tmp_path):
        for text in ("first", "second"):
            await bench.send(stage.INBOX, stage.Written("kept", text), partition=1)
        await bench.send(stage.INBOX, stage.Written("gone", "first"), partition=1)
        await bench.send(stage.INBOX, stage.Written("gone", "remove"), partition=1)

        async def stored() -> bool:
            return len(await bench.read(stage.CHANGELOG)) == 4

        await eventually(stored, deadline_s=20)
    again = stage.owner_app(broker, topic_prefix, "one", tmp_path)
    async with again:
        await eventually(lambda: 1 in again.agents[0].partitions, deadline_s=20)
        assert again.agents[0].owner(1).notes == {"kept": stage.Note(("first", "second"))}


async def test_an_older_row_of_a_zombie_loses_at_recovery(
    broker: str, topic_prefix: str, stage: Any, bench: Any, tmp_path: Path, eventually: Any
) -> None:
    rows = [
        (b"a", stage.Note(("new",)), b"2000-10"),
        (b"a", stage.Note(("zombie",)), b"1000-90"),
        (b"dead", stage.Note(("new",)), b"2000-11"),
        (b"dead", None, b"2000-12"),
        (b"dead", stage.Note(("zombie",)), b"2000-11"),
        (b"b", stage.Note(("old",)), None),
        (b"b", stage.Note(("newer",)), b"1-0"),
    ]
    for key, row, version in rows:
        await bench.producer.send_and_wait(
            bench.topics.name(stage.CHANGELOG),
            None if row is None else bench.codec.encode(row),
            key=key,
            partition=3,
            headers=[] if version is None else [("row-version", version)],
        )
    running = stage.owner_app(broker, topic_prefix, "one", tmp_path)
    async with running:
        await eventually(lambda: 3 in running.agents[0].partitions, deadline_s=20)
        assert running.agents[0].owner(3).notes == {
            "a": stage.Note(("new",)),
            "b": stage.Note(("newer",)),
        }
        assert running.agents[0].tables[stage.TABLE].older_count == 2


async def test_a_tick_comes_only_when_a_row_is_due_and_only_to_its_partition(
    broker: str, topic_prefix: str, stage: Any, bench: Any, tmp_path: Path, eventually: Any
) -> None:
    running = stage.owner_app(broker, topic_prefix, "one", tmp_path)
    async with running:
        await eventually(running.app.is_ready, deadline_s=30)
        due_at_ms = time.time_ns() // 1_000_000 + 2500
        await bench.send(stage.INBOX, stage.Written("a", "x", due_at_ms), partition=4)
        await bench.send(stage.INBOX, stage.Written("b", "x"), partition=0)

        async def rung() -> bool:
            return stage.Copied("a", ("rung",)) in await bench.copied()

        await eventually(rung, deadline_s=20)
        ticks = [
            (record.partition, bench.codec.decode(record.value))
            for record in await bench.read(stage.INBOX)
            if b"Tick" in record.value
        ]
    assert [partition for partition, _ in ticks] == [4]
    assert due_at_ms <= ticks[0][1].at_ms < due_at_ms + 60_000


async def test_tables_of_one_partition_stand_beside_tables_of_six(
    broker: str, topic_prefix: str, stage: Any, bench: Any, tmp_path: Path, eventually: Any
) -> None:
    async with stage.owner_app(broker, topic_prefix, "one", tmp_path, single=True):
        for number in range(12):
            await bench.send(stage.INBOX, stage.Written(f"six-{number}", "x"))
            await bench.send(stage.SINGLE_INBOX, stage.Written(f"one-{number}", "x"))

        async def copied() -> bool:
            return len(await bench.copied()) == 24

        await eventually(copied, deadline_s=20)
    assert len(await bench.read(stage.SINGLE_CHANGELOG, partitions=1)) == 12
    again = stage.owner_app(broker, topic_prefix, "one", tmp_path, single=True)
    async with again:
        await eventually(lambda: 0 in again.agents[1].partitions, deadline_s=20)
        assert len(again.agents[1].owner(0).notes) == 12
        await eventually(lambda: len(again.agents[0].partitions) == 6, deadline_s=20)
        assert sum(len(again.agents[0].owner(p).notes) for p in range(6)) == 12


async def test_rows_of_lost_partitions_go_and_come_back_with_the_partition(
    broker: str,
    topic_prefix: str,
    stage: Any,
    bench: Any,
    tmp_path: Path,
    eventually: Any,
    workers: Any,
) -> None:
    running = stage.owner_app(broker, topic_prefix, "one", tmp_path)
    async with running:
        for partition in range(6):
            await bench.send(stage.INBOX, stage.Written(f"k{partition}", "x"), partition=partition)

        async def stored() -> bool:
            return len(await bench.read(stage.CHANGELOG)) == 6

        await eventually(stored, deadline_s=20)
        other = workers.start("two", "owner")
        table = running.agents[0].tables[stage.TABLE]
        await eventually(lambda: len(table.owned_partitions()) == 3, deadline_s=40)
        await eventually(lambda: len(running.agents[0].partitions) == 3, deadline_s=20)
        for partition in range(6):
            assert (partition in table.owned_partitions()) == bool(table.rows(partition))
        for partition in range(6):
            await bench.send(stage.INBOX, stage.Written(f"k{partition}", "y"), partition=partition)

        async def both_stored() -> bool:
            return len(await bench.read(stage.CHANGELOG)) == 12

        await eventually(both_stored, deadline_s=20)
        assert sum(event[0] == "decide" for event in workers.log("two")) == 3
        assert other.poll() is None


async def test_a_bug_ends_the_process_before_the_record_is_acknowledged(
    stage: Any, bench: Any, eventually: Any, workers: Any
) -> None:
    first = workers.start("one", "owner")
    await bench.send(stage.INBOX, stage.Written("a", "fine"), partition=5)
    await bench.send(stage.INBOX, stage.Written("a", "bug"), partition=5)
    await bench.send(stage.INBOX, stage.Written("a", "after"), partition=5)
    await eventually(lambda: first.poll() is not None, deadline_s=30)
    assert first.returncode == 70
    assert await bench.committed("coordinator", stage.INBOX, 5) <= 1
    assert workers.log("one")[-1] == ["decide", 5, 1, "bug"]


async def test_a_record_at_which_the_process_died_three_times_is_given_up(
    stage: Any, bench: Any, eventually: Any, workers: Any
) -> None:
    await bench.send(stage.INBOX, stage.Written("a", "die"), partition=5)
    await bench.send(stage.INBOX, stage.Written("a", "after"), partition=5)
    for _ in range(3):
        dying = workers.start("one", "owner")
        await eventually(lambda dying=dying: dying.poll() is not None, deadline_s=30)
        assert dying.returncode == -signal.SIGKILL
    workers.start("one", "owner")

    async def copied() -> bool:
        return await bench.copied() == [stage.Copied("a", ("after",))]

    await eventually(copied, deadline_s=30)
    (letter,) = await bench.read("dead-letters", partitions=1)
    assert b"died 3 times" in dict(letter.headers)["reason"]


async def test_records_survive_kill_9_in_the_middle_of_their_handlers(
    stage: Any, bench: Any, eventually: Any, workers: Any
) -> None:
    worker = workers.start("one", "tasks")
    await eventually(lambda: ["ready"] in workers.log("one"), deadline_s=30)
    # Four at a time, so that there is something left after the kills however slowly they are sent.
    begun = len(workers.log("one"))
    for number in range(60):
        await bench.send(stage.INBOX, stage.Written(f"k{number}", "slow 0.5"))
    for _ in range(2):
        await eventually(lambda begun=begun: len(workers.log("one")) > begun + 12, deadline_s=30)
        worker.kill()
        worker.wait()
        begun = len(workers.log("one"))
        worker = workers.start("one", "tasks")

    async def all_copied() -> bool:
        return len({copy.key for copy in await bench.copied()}) == 60

    await eventually(all_copied, deadline_s=40)
    ended = Counter(tuple(event[1:3]) for event in workers.log("one") if event[0] == "end")
    assert len(ended) == 60
