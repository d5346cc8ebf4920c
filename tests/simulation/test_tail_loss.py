"""A broker that is killed and forgets up to 0.6 s: what its rows tear apart is mended.

The workers here answer for a range of a package that stands; `app.writing.agent` stays silent, and
a planner that was rolled back then waits for ever.
"""

from app.domain.decision import Send
from app.domain.records import RangeWritten
from app.domain.topic_names import EXPORT_PLANS
from tests.simulation.command import explained
from tests.simulation.search import Stage
from tests.simulation.work_model import WorkModel

SEEDS = 200


class AnswersForPublished(WorkModel):
    """The package stands, so the range is done: its planner hears so, or has forgotten it."""

    @staticmethod
    def answer_published(memory, order):
        now_ms = memory.process.now_ms
        record = RangeWritten(order.export_id, order.attempt, now_ms, order.range_number, ())
        return (Send(EXPORT_PLANS, order.export_id, record),)


def test_a_broker_that_forgets_its_last_records_loses_no_export():
    stage = Stage(work=AnswersForPublished)
    failure = stage.first_failure(range(SEEDS), tail_loss=True)
    assert failure is None, explained(failure, stage)
