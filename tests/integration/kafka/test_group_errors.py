"""A group whose leader forgets a member: nobody ends, and every partition has somebody."""

from pathlib import Path
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator

PARTITIONS = 6


async def test_a_member_that_its_leader_left_out_comes_in_again(
    broker: str,
    topic_prefix: str,
    stage: Any,
    bench: Any,
    tmp_path: Path,
    eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left_out: list[str] = []
    assign = GroupCoordinator._perform_assignment

    async def forget_the_other_once(self: Any, response: Any) -> Any:
        assignment = await assign(self, response)
        for other in set(assignment) - {self.member_id}:
            if not left_out:
                left_out.append(other)
                del assignment[other]
        return assignment

    monkeypatch.setattr(GroupCoordinator, "_perform_assignment", forget_the_other_once)
    one, two = (stage.owner_app(broker, topic_prefix, name, tmp_path) for name in ("one", "two"))
    async with one:
        await eventually(one.app.is_ready, deadline_s=30)
        async with two:
            await eventually(lambda: left_out and two.app.is_ready(), deadline_s=60)

            def partitions_of(running: Any) -> set[int]:
                assigned = running.app.consumer.assignment()
                return {tp.partition for tp in assigned if tp.topic.endswith(stage.INBOX)}

            def everything_has_one_owner() -> bool:
                ones, twos = partitions_of(one), partitions_of(two)
                return bool(ones and twos and not ones & twos and len(ones | twos) == PARTITIONS)

            await eventually(everything_has_one_owner, deadline_s=60)
            for partition in range(PARTITIONS):
                await bench.send(stage.INBOX, stage.Written(f"k{partition}", "x"), partition)

            async def all_copied() -> bool:
                return len({copy.key for copy in await bench.copied()}) == PARTITIONS

            await eventually(all_copied, deadline_s=60)
    assert one.exits == two.exits == []
