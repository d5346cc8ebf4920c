"""An assignment that depends on names alone."""

from types import SimpleNamespace
from typing import Any

import pytest

from app.kafka.faust_app import AppPlace, build_coordinator_app
from app.kafka.stable_assignor import StableTaskAssignor

PARTITIONS = {"six": set(range(6)), "also-six": set(range(6)), "one": {0}}
CLUSTER = SimpleNamespace(
    partitions_for_topic=PARTITIONS.get, available_partitions_for_topic=PARTITIONS.get
)


def shares(ids: dict[str, str]) -> dict[str, Any]:
    """Assign to members of these ids and names; shares by name."""
    members = {
        member_id: StableTaskAssignor(name).metadata(["six", "one"])
        for member_id, name in ids.items()
    }
    assigned = StableTaskAssignor("leader").assign(CLUSTER, members)
    return {name: assigned[member_id].assignment for member_id, name in ids.items()}


def test_new_member_ids_change_nothing() -> None:
    before = shares({"x1": "w1", "x2": "w2", "x3": "w3"})
    assert shares({"z": "w1", "a": "w3", "m": "w2"}) == before
    assert before["w1"] == [("one", [0]), ("six", [0, 3])]
    assert before["w3"] == [("six", [2, 5])]


def test_a_member_gets_only_topics_it_reads() -> None:
    old = StableTaskAssignor("a").metadata(["six"])
    new = StableTaskAssignor("b").metadata(["six", "one"])
    assigned = StableTaskAssignor("a").assign(CLUSTER, {"1": old, "2": new})
    assert dict(assigned["1"].assignment) == {"six": [0, 2, 4]}
    assert dict(assigned["2"].assignment) == {"one": [0], "six": [1, 3, 5]}


@pytest.mark.parametrize("order", [("1", "2", "3"), ("3", "1", "2")])
async def test_faust_forgets_earlier_assignments(order: tuple[str, ...], tmp_path: Any) -> None:
    def app(name: str) -> Any:
        return build_coordinator_app(
            AppPlace(["localhost:1"], tmp_path, 6, instance_id=name, embedded=True)
        )

    leader = app("w1").assignor
    metadata = {}
    for member_id in order:
        assignor = app(f"w{member_id}").assignor
        assignor._assignment.actives["six"] = [0, 1, 2, 3]  # what it says it had
        metadata[member_id] = assignor.metadata({"six", "also-six", "one"})
    assigned = leader.assign(CLUSTER, metadata)
    assert {m: sorted(assigned[m].assignment) for m in order} == {
        "1": [("also-six", [0, 3]), ("one", [0]), ("six", [0, 3])],
        "2": [("also-six", [1, 4]), ("one", []), ("six", [1, 4])],
        "3": [("also-six", [2, 5]), ("one", []), ("six", [2, 5])],
    }
