"""Covers are ready before the planner decides: the event loop has no time to compute them."""

import pytest

from app.domain.inbox import InboxPosition
from app.domain.records import ExportStarted, RangeWritten, Tick, WriteRange
from app.planning.owner import Covers, Planner


class NoTimeCovers(Covers):
    """Covers while a decision is made: whatever is not ready would hold up the event loop."""

    def of(self, started):
        assert self.has(started), f"the cover of {started.export_id} was not prepared"
        return super().of(started)


@pytest.fixture
def taken_over(pipeline):
    """Another process's planner, built from the rows of three running exports."""
    pipeline.answers = False
    pipeline.range_bytes = 50_000
    pipeline.start()
    for number in range(3):
        west = 40.0 * number
        pipeline.ask(f"r{number}", box=(west, 0.0, west + 40.0, 40.0))
    planner = Planner(NoTimeCovers())
    for (table, key), row in pipeline.rows.items():
        if table in ("plans", "progress"):
            planner.load(table, key, row)
    return pipeline, planner


def decide(pipeline, planner, record):
    """What the agent does: prepare in a thread, then decide."""
    for started in planner.plans_wanted(record):
        Covers.of(planner.covers, started)
    return planner.decide(record, InboxPosition(0, pipeline.offset + 1))


def test_a_tick_after_a_takeover_finds_the_covers_of_all_that_run(taken_over):
    pipeline, planner = taken_over
    late_ms = pipeline.now_ms + 3600 * 1000
    decision = decide(pipeline, planner, Tick(late_ms))
    again = [send for send in decision.sends if isinstance(send.record, WriteRange)]
    assert len({send.record.export_id for send in again}) == 3


def test_news_after_a_takeover_find_the_cover_of_their_export_only(taken_over):
    pipeline, planner = taken_over
    order = next(order for order in pipeline.orders if isinstance(order, WriteRange))
    news = RangeWritten(order.export_id, order.attempt, pipeline.now_ms, order.range_number, ())
    assert [plan.export_id for plan in planner.plans_wanted(news)] == [order.export_id]
    assert decide(pipeline, planner, news).stores
    assert len(planner.covers.ready) == 1


def test_news_of_what_does_not_run_want_no_cover(taken_over):
    pipeline, planner = taken_over
    (started, *_) = pipeline.records(ExportStarted)
    news = RangeWritten(started.export_id, "1-1", pipeline.now_ms, 0, ())
    assert planner.plans_wanted(news) == []
