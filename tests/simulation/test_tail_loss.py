"""A broker that is killed and forgets up to 0.6 s: what its rows tear apart is mended."""

from tests.simulation.command import explained
from tests.simulation.search import Stage

SEEDS = 200


def test_a_broker_that_forgets_its_last_records_loses_no_export():
    stage = Stage()
    failure = stage.first_failure(range(SEEDS), tail_loss=True)
    assert failure is None, explained(failure, stage)
