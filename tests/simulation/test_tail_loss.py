"""A broker that is killed and forgets up to 0.6 s: what its rows tear apart is mended."""

import pytest

from app.domain.records import ExportProgress
from tests.simulation.asked import TWO_RANGES
from tests.simulation.command import explained
from tests.simulation.scene import Scene
from tests.simulation.schedule import LONG_ASSEMBLY_MS, Asking
from tests.simulation.search import Stage

SEEDS = 300

FAILED_ONCE = (32220, 49286, 75137, 82261)
"""An attempt's end was forgotten and the removal of its files was not, or had happened: a package
that was gone was offered. In the last one a result was not told again, as the registrar's time had
stood still."""


def test_a_broker_that_forgets_its_last_records_loses_no_export():
    stage = Stage()
    failure = stage.first_failure(range(SEEDS), tail_loss=True)
    assert failure is None, explained(failure, stage)


@pytest.mark.parametrize("seed", FAILED_ONCE)
def test_what_was_once_lost_is_kept_now(seed):
    stage = Stage()
    failure = stage.first_failure([seed], tail_loss=True)
    assert failure is None, explained(failure, stage)


@pytest.mark.parametrize("after_ms", range(100))
def test_the_end_of_an_export_is_told_again_when_the_broker_has_forgotten_it(after_ms):
    scene = Scene(
        Asking(0, "r1", TWO_RANGES, via_http=True), seed=after_ms, assembly_ms=LONG_ASSEMBLY_MS
    )

    def lose_it(record):
        if record.state == "Completed" and not scene.world.witness.forgets:
            scene.lose_tails(after_ms)

    scene.when(ExportProgress, lose_it, nth=0).play()
