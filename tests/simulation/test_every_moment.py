"""One request, and one fault at each moment of its life, one run a moment."""

import pytest

from tests.simulation.asked import ONE_RANGE, SEVEN_RANGES, TWO_RANGES
from tests.simulation.command import explained
from tests.simulation.schedule import Asking, Fault, Schedule
from tests.simulation.search import Stage

URLS = ("http://a",)
STORIES = {
    "one range": (Asking(0, "r1", ONE_RANGE, urls=URLS),),
    "two ranges, joined, repeated": (
        Asking(0, "r1", TWO_RANGES, urls=URLS, via_http=True),
        Asking(300, "r2", TWO_RANGES, client="b"),
        Asking(2_500, "r3", TWO_RANGES, via_http=True, urls=("http://b",)),
    ),
    "seven ranges": (Asking(0, "r1", SEVEN_RANGES),),
}


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize(
    ("kind", "size"),
    [("kill", 0), ("freeze", 15_000), ("freeze", 60_000), ("unconfirmed", 0), ("lose", 0)],
)
def test_a_fault_at_any_moment_breaks_no_promise(story, kind, size):
    stage = Stage()
    moment = 1
    while True:
        schedule = Schedule(7, STORIES[story], (Fault(moment, kind, size),), lease_ms=20_000)
        trace = [] if moment % 20 == 0 else None
        failure = stage.play(schedule, trace)
        assert failure is None, explained(failure, stage)
        if trace is not None and not any("at moment" in line for line in trace):
            break
        moment += 1
    assert moment > 80
