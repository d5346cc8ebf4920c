"""How the planner hands out ranges: a window at a time, each until a ledger has it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.records import (
    AssemblePackage,
    AssemblyBeat,
    AssemblyFailed,
    ExportAssembled,
    ExportBeat,
    ExportFailed,
    ExportStarted,
    ExportStopped,
    RangesMissing,
    RangeSpan,
    RangeUnreadable,
    RangeWritten,
    WriteRange,
)
from app.domain.rows import ProgressRow
from app.planning.plan import WINDOW
from app.planning.state import is_done, missing_below, with_done, with_missing

EMPTY = ProgressRow("1-1", "writing", 0, b"", 0, (), 0, 0)


@pytest.fixture
def big(pipeline):
    """An export of many ranges whose worker answers only when told to."""
    pipeline.answers = False
    pipeline.range_bytes = 125_000
    pipeline.start()
    pipeline.export = pipeline.ask("r1", max_zoom=6)
    return pipeline


def ranges(pipeline):
    return [order for order in pipeline.orders if isinstance(order, WriteRange)]


def answer_all(pipeline):
    """Answer orders until none is left; returns how many there were."""
    answered = 0
    while answered < len(pipeline.orders):
        pipeline.answer(pipeline.orders[answered])
        pipeline.run()
        answered += 1
    return answered


def news(pipeline, kind, *values):
    attempt = ranges(pipeline)[0].attempt
    export_id = pipeline.export.export_id
    record = kind(export_id, attempt, pipeline.now_ms, *values)
    pipeline.feed("export-plans", export_id, record)


def progress(pipeline):
    return pipeline.rows["progress", pipeline.export.export_id]


def test_only_a_window_of_ranges_is_outstanding(big):
    assert len(big.orders) == WINDOW
    big.answer(big.orders[0])
    big.run()
    assert [order.range_number for order in ranges(big)] == list(range(WINDOW + 1))


def test_the_ranges_of_an_export_hold_each_tile_once_in_export_order(big):
    answer_all(big)
    tiles = [
        (run.zoom, col, row)
        for order in ranges(big)
        for run in order.runs
        for col in range(run.min_col, run.max_col + 1)
        for row in range(run.min_row, run.max_row + 1)
    ]
    assert tiles == sorted(set(tiles))
    assert len(tiles) == sum(zoom.tiles for zoom in big.export.tiles_by_zoom)
    assert big.results["r1"].success


def test_assembly_is_ordered_once_after_the_last_range(big):
    answer_all(big)
    assert [type(order) for order in big.orders[-2:]] == [WriteRange, AssemblePackage]
    assert len([o for o in big.orders if isinstance(o, AssemblePackage)]) == 1


def test_every_record_twice_writes_no_range_twice(pipeline):
    pipeline.copies = 2
    pipeline.range_bytes = 125_000
    pipeline.start()
    pipeline.ask("r1", max_zoom=5)
    assert pipeline.results["r1"].success
    numbers = {order.range_number for order in ranges(pipeline)}
    assert numbers == set(range(len(numbers)))


def test_duplicates_that_leases_cause_do_not_breed(big):
    first = ranges(big)[0]
    for _ in range(10):
        big.answer(first)
        big.run()
    assert len(big.orders) == WINDOW + 1


def test_a_replay_after_a_crash_sends_the_outstanding_window_again(big):
    big.start()
    before = len(big.orders)
    from app.domain.inbox import InboxPosition

    order = ranges(big)[0]
    written = RangeWritten(order.export_id, order.attempt, big.now_ms, 0, ())
    offset = big.offset + 1
    lost = big.planner.decide(written, InboxPosition(0, offset))
    big.carry_out(big.planner, replace(lost, sends=()))
    big.start()
    big.carry_out(big.planner, big.planner.decide(written, InboxPosition(0, offset)))
    big.run()
    assert [o.range_number for o in big.orders[before:]] == [1, 2, 3]


def test_a_start_that_comes_again_is_answered_with_how_far_the_export_is(big):
    (started,) = big.records(ExportStarted)
    orders, beats = len(big.orders), len(big.records(ExportBeat))
    for _ in range(100):
        big.feed("export-plans", started.export_id, started)
    assert len(big.orders) == orders
    assert len(big.records(ExportBeat)) == beats + 100


def test_a_range_whose_lease_ran_out_is_sent_again_with_a_longer_one(big):
    first = ranges(big)[0].lease_until_ms - big.now_ms
    big.tick(first / 1000)
    again = ranges(big)[WINDOW]
    assert again.range_number == 0
    assert again.lease_until_ms - big.now_ms == 2 * first


def test_an_unreadable_range_is_tried_again_after_a_wait_and_fails_the_export_at_last(big):
    for trial in range(4):
        before = len(big.orders)
        news(big, RangeUnreadable, 0, trial, False, "tile 3/1/2: timeout")
        assert len(big.orders) == before
        big.tick(70)
        assert big.orders[before].trial == trial + 1
    news(big, RangeUnreadable, 0, 4, False, "tile 3/1/2: timeout")
    assert big.records(ExportFailed)[0].reason == "tile 3/1/2: timeout"
    assert big.results["r1"].error_reason == "tile 3/1/2: timeout"


def test_an_old_report_of_an_unreadable_range_does_not_count_again(big):
    news(big, RangeUnreadable, 0, 0, False, "timeout")
    news(big, RangeUnreadable, 0, 0, False, "timeout")
    assert next(x for x in progress(big).leases if x.range_number == 0).trial == 1


def test_a_full_disk_fails_the_export_at_once(big):
    news(big, RangeUnreadable, 1, 0, True, "no space left")
    assert big.results["r1"].error_reason == "no space left"
    assert ("progress", big.export.export_id) not in big.rows


def test_ranges_that_the_ledgers_lack_are_written_again(big):
    big.answers = False
    while not isinstance(big.orders[-1], AssemblePackage):
        for order in list(ranges(big)):
            big.answer(order)
        big.run()
    count = len(big.orders)
    news(big, RangesMissing, (RangeSpan(1, 2),))
    assert [o.range_number for o in big.orders[count:]] == [1, 2]
    answer_all(big)
    assert big.results["r1"].success


def test_a_silent_assembly_is_ordered_again_and_a_beating_one_is_not(big):
    while not isinstance(big.orders[-1], AssemblePackage):
        for order in list(ranges(big)):
            big.answer(order)
        big.run()
    count = len(big.orders)
    big.tick(100)
    for _ in range(8):
        news(big, AssemblyBeat)
        big.tick(25)
    assert len(big.orders) == count
    big.tick(100)
    assert isinstance(big.orders[-1], AssemblePackage)
    assert len(big.orders) == count + 1


def test_a_failed_assembly_fails_the_export(big):
    news(big, AssemblyFailed, "every tile is missing")
    assert big.results["r1"].error_reason == "every tile is missing"


def test_a_running_export_beats_every_five_seconds(big):
    for _ in range(3):
        big.tick(5)
    beats = big.records(ExportBeat)
    assert len(beats) == 3
    row = big.rows["exports", big.export.export_id]
    assert row.beat_at_ms == big.now_ms


def test_a_beat_of_an_attempt_that_is_over_is_answered_with_a_stop(big):
    news_of = big.rows["progress", big.export.export_id]
    big.feed("export-registry", "x", ExportBeat(big.export.export_id, "1-1", 5, "writing", 0, 0, 0))
    assert big.records(ExportStopped)[-1].attempt == "1-1"
    assert progress(big) == news_of  # an older stop leaves the newer attempt alone


def test_a_lost_report_of_the_end_is_repeated_until_the_export_is_stopped(big):
    big.inboxes["export-registry"], registrar = Nobody(), big.registrar
    answer_all(big)
    assert "r1" not in big.results
    big.inboxes["export-registry"] = registrar
    big.tick(6)
    assert big.results["r1"].success
    assert len(big.records(ExportAssembled)) >= 2
    assert ("plans", big.export.export_id) not in big.rows


class Nobody:
    def decide(self, *_):
        from app.domain.decision import NOTHING

        return NOTHING

    def due_at_ms(self):
        return None


@given(st.permutations(range(40)))
def test_ranges_may_be_done_in_any_order(order):
    row = EMPTY
    for count, number in enumerate(order):
        assert not is_done(row, number)
        row = with_done(row, number)
        assert [n for n in range(40) if is_done(row, n)] == sorted(order[: count + 1])
    assert (row.base, row.done) == (40, b"")


@given(st.sets(st.integers(0, 60)), st.integers(0, 60), st.integers(0, 60))
def test_missing_ranges_become_undone_and_nothing_else(done, a, b):
    first, last = min(a, b), max(a, b)
    row = EMPTY
    for number in done:
        row = with_done(row, number)
    row = with_missing(row, first, last)
    left = {n for n in done if not first <= n <= last}
    assert {n for n in range(61) if is_done(row, n)} == left
    assert missing_below(row, 61) == [n for n in range(row.base, 61) if n not in left]


def test_an_export_whose_ranges_are_lost_again_and_again_fails_with_that_reason(big):
    for _ in range(11):
        news(big, RangesMissing, (RangeSpan(0, 0),))
    assert "lost 10 times in a row" in big.results["r1"].error_reason


def test_a_window_that_a_dying_broker_emptied_is_filled_again_at_the_next_look(big):
    """Done ranges that the row does not know to be ordered, and no lease of the others."""
    key = ("progress", big.export.export_id)
    row = EMPTY
    for number in (4, 5, 6):
        row = with_done(row, number)
    big.rows[key] = replace(row, attempt=progress(big).attempt, beat_at_ms=progress(big).beat_at_ms)
    big.orders.clear()
    big.start()
    big.tick(6)
    assert [order.range_number for order in ranges(big)] == [0, 1, 2]
    answer_all(big)
    assert big.records(ExportAssembled)
