"""The tests of the Kafka layer and of whole exports once more, on Apache Kafka.

Those of the agent loops run twice: with static and with dynamic membership, unless nobody leaves
the group in them or its session's end is all that would be waited for. Those that start or kill
the embedded broker, or start the service themselves, stay where they are.
"""

import importlib.util
import inspect
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
KAFKA_LAYER = TESTS / "integration" / "kafka"
WITH_GROUPS = [
    KAFKA_LAYER / "test_agent_loop_owner.py",
    KAFKA_LAYER / "test_drain.py",
    KAFKA_LAYER / "test_fence.py",
    KAFKA_LAYER / "test_faust_kills.py",
]
WITHOUT_GROUPS = [
    KAFKA_LAYER / "test_producer.py",
    KAFKA_LAYER / "test_topic_admin.py",
    KAFKA_LAYER / "test_topic_view.py",
    TESTS / "end_to_end" / "test_exports.py",
    TESTS / "end_to_end" / "test_kills.py",
]
ONCE = {
    "test_a_record_at_which_the_process_died_three_times_is_given_up",
    "test_a_second_sigterm_ends_at_once_and_the_record_is_handled_again",
    "test_a_tick_comes_only_when_a_row_is_due_and_only_to_its_partition",
    "test_rows_survive_a_restart_and_a_deleted_row_stays_deleted",
    "test_sigterm_leaves_what_waits_to_the_next_start",
    "test_tables_of_one_partition_stand_beside_tables_of_six",
}
NEED_A_BROKER = {"broker", "topics", "bench", "workers", "service"}


def same_as_in(file: Path) -> dict[str, Any]:
    """Take the tests of a file that run on whatever broker there is."""
    spec = importlib.util.spec_from_file_location(f"on_apache_kafka_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {
        name: member
        for name, member in vars(module).items()
        if name.startswith("test_") and NEED_A_BROKER & set(inspect.signature(member).parameters)
    }


for same_file in WITH_GROUPS:
    for same_name, same in same_as_in(same_file).items():
        how = "static_membership" if same_name in ONCE else "membership"
        globals()[same_name] = pytest.mark.usefixtures(how)(same)
for same_file in WITHOUT_GROUPS:
    globals().update(same_as_in(same_file))
