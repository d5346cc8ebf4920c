"""A few hundred seeds of the simulation: CI plays ten thousand with scripts/simulate."""

from tests.simulation.command import explained
from tests.simulation.coordinator import Shell
from tests.simulation.schedule import Fault, Schedule
from tests.simulation.search import Stage, told

SEEDS = 300


class Forgetful(Shell):
    """Acknowledges, and does nothing else."""

    def steps(self, decision):
        return iter([step for step in super().steps(decision) if step[0] == "ack"])


def test_three_hundred_seeds_keep_every_promise():
    stage = Stage()
    failure = stage.first_failure(range(SEEDS))
    assert failure is None, explained(failure, stage)


def test_a_seed_plays_the_same_every_time():
    for seed in range(20):
        first, second = [], []
        Stage().play(Schedule.of_seed(seed), first)
        Stage().play(Schedule.of_seed(seed), second)
        assert first == second
        assert first


def test_every_kind_of_fault_strikes_within_the_seeds_of_ci():
    struck = set()
    for seed in range(150):
        trace = []
        Stage().play(Schedule.of_seed(seed), trace)
        struck |= {line.split("** ")[1].split()[0] for line in trace if "at moment" in line}
    assert {"kill", "freeze", "unconfirmed", "duplicate", "lose", "stall", "shard"} <= struck
    assert {"source", "slow", "webhook", "disk-full", "gone", "echo", "catalogue"} <= struck


def test_a_failure_is_shrunk_to_what_it_takes_and_tells_how_to_replay_it():
    stage = Stage(shell=Forgetful)
    schedule = Schedule.of_seed(3)
    failure = stage.play(Schedule(3, schedule.askings, (*schedule.faults, Fault(1, "webhook", 1))))
    small = stage.shrunk(failure)
    assert small.schedule.faults == ()
    assert len(small.schedule.askings) == 1
    text = explained(failure, stage)
    assert "scripts/simulate --seed 3 --trace" in text
    assert told(small.schedule) in text
