"""How exports end early, how their files go, and how one goes on where another has failed."""

from dataclasses import replace

import pytest

from app.domain.records import (
    AdoptShards,
    ExportCommanded,
    ExportProgress,
    ExportStarted,
    ExportStopped,
    FilesRemoved,
    RangeSpan,
    RangeUnreadable,
    RedeliveryAsked,
    RemoveAttempt,
    RequestProgress,
    WriteRange,
)
from app.domain.rows import ExportRow
from app.planning.state import attempt_order
from app.registrar.attempts import start, to_be_removed
from app.registrar.rules import Moment

HOUR_S = 3600
DAY_S = 24 * HOUR_S


def cancel(pipeline, request_id, client="anonymous", command="cancel"):
    record = ExportCommanded(request_id, pipeline.now_ms, client, command)
    pipeline.feed("export-registry", request_id, record)


def removals(pipeline):
    return [order for order in pipeline.orders if isinstance(order, RemoveAttempt)]


@pytest.fixture(params=[1, 2], ids=["once", "every record twice"])
def waits(pipeline, request):
    """A pipeline whose worker has not answered yet; every record may be handled twice."""
    pipeline.copies = request.param
    pipeline.answers = False
    return pipeline


def test_a_cancelled_request_ends_aborted_and_its_export_stops(waits):
    record = waits.ask("r1")
    cancel(waits, "r1")
    result = waits.results["r1"]
    assert (result.success, result.status) == (False, "Aborted")
    assert waits.records(ExportStopped)[-1].export_id == record.export_id
    assert waits.records(ExportProgress)[-1].state == "Aborted"
    assert not waits.registrar.state.reserved_bytes()
    assert not waits.planner.state.progress


def test_the_files_of_a_cancelled_export_go_at_once_and_again_after_an_hour(waits):
    record = waits.ask("r1")
    waits.answers = True
    cancel(waits, "r1")
    waits.tick(1)
    attempt = waits.records(ExportStarted)[0].attempt
    assert {order.attempt for order in removals(waits)} == {attempt}
    count = len(removals(waits))
    waits.tick(2 * HOUR_S)
    assert len(removals(waits)) == 2 * count
    assert ("exports", record.export_id) not in waits.rows


def test_files_that_are_not_removed_are_asked_for_again(waits):
    waits.ask("r1")
    cancel(waits, "r1")
    waits.tick(300)
    assert len(removals(waits)) >= 4


def test_an_answer_that_nobody_asked_for_removes_nothing_from_the_list(waits):
    record = waits.ask("r1")
    attempt = waits.records(ExportStarted)[0].attempt
    cancel(waits, "r1")
    waits.feed("export-plans", "x", FilesRemoved(record.export_id, attempt, waits.now_ms))
    (removal,) = waits.registrar.state.exports[record.export_id].removals
    assert removal.again


def test_only_the_last_callers_cancel_stops_the_work(waits):
    waits.ask("r1")
    waits.ask("r2", client="b")
    cancel(waits, "r1")
    assert waits.results["r1"].status == "Aborted"
    assert not waits.records(ExportStopped)
    assert "r2" not in waits.results
    cancel(waits, "r2", client="b")
    assert waits.results["r2"].status == "Aborted"
    assert waits.records(ExportStopped)


def test_a_cancel_reaches_all_that_repeat_the_request(waits):
    waits.ask("r1", via_http=True)
    waits.ask("r2", via_http=True)
    cancel(waits, "r2")
    assert {result.status for result in waits.results.values()} == {"Aborted"}
    assert waits.results.keys() == {"r1", "r2"}


def test_a_cancel_that_overtakes_its_request_aborts_it(waits):
    cancel(waits, "r1")
    waits.ask("r1")
    assert waits.results["r1"].status == "Aborted"
    assert not waits.records(ExportStarted)
    assert waits.records(RequestProgress)[-1].verdict == "Cancelled"


def test_a_cancel_of_another_client_that_comes_first_is_not_obeyed(waits):
    cancel(waits, "r1", client="b")
    waits.ask("r1")
    assert "r1" not in waits.results
    assert waits.records(ExportStarted)


def test_nobody_cancels_the_request_of_another_client(waits):
    waits.ask("r1")
    cancel(waits, "r1", client="b")
    assert "r1" not in waits.results
    assert "not one of client 'b'" in waits.dead[0]


def test_a_cancel_after_the_end_leaves_the_result(pipeline):
    pipeline.ask("r1")
    cancel(pipeline, "r1")
    assert pipeline.results["r1"].success
    assert not removals(pipeline)


def test_a_cancel_of_an_export_that_waits_for_its_turn_leaves_nothing(waits):
    waits.max_running = 0
    waits.start()
    record = waits.ask("r1")
    cancel(waits, "r1")
    assert waits.results["r1"].status == "Aborted"
    assert ("exports", record.export_id) not in waits.rows
    assert not waits.registrar.state.waiting


def test_what_is_no_command_becomes_a_dead_letter(waits):
    waits.ask("r1")
    cancel(waits, "r1", command="explode")
    assert "command is 'explode'" in waits.dead[0]


def test_the_same_export_asked_for_after_a_cancel_starts_anew(waits):
    waits.ask("r1")
    cancel(waits, "r1")
    waits.answers = True
    waits.ask("r2")
    assert waits.results["r2"].success
    first, second = {started.attempt for started in waits.records(ExportStarted)}
    assert first != second
    cancel(waits, "r1")  # a replay, late
    assert waits.results["r2"].success


def test_a_package_expires_and_its_files_go_an_hour_after(pipeline):
    record = pipeline.ask("r1")
    pipeline.tick(30 * DAY_S - 60)
    assert not removals(pipeline)
    pipeline.tick(120)
    assert pipeline.records(ExportProgress)[-1].state == "Expired"
    pipeline.tick(HOUR_S - 300)
    assert not removals(pipeline)
    pipeline.tick(600)
    (order,) = removals(pipeline)
    assert order.attempt in pipeline.results["r1"].file_uri
    pipeline.tick(2 * HOUR_S)
    assert len(removals(pipeline)) == 2
    assert ("exports", record.export_id) not in pipeline.rows


def test_an_expired_package_is_not_offered_although_it_is_still_there(pipeline):
    record = pipeline.ask("r1")
    pipeline.tick(30 * DAY_S + 60)
    old = pipeline.results["r1"].package_name
    attempt = pipeline.records(ExportStarted)[0].attempt
    pipeline.ask("r2", packages=(attempt,))
    assert pipeline.results["r2"].success
    assert pipeline.results["r2"].package_name != old
    pipeline.tick(3 * HOUR_S)
    assert {order.attempt for order in removals(pipeline)} == {attempt}
    assert ("exports", record.export_id) in pipeline.rows


def test_a_package_that_is_offered_again_expires_later(pipeline):
    pipeline.ask("r1")
    attempt = pipeline.records(ExportStarted)[0].attempt
    name = pipeline.results["r1"].package_name
    pipeline.tick(29 * DAY_S)
    pipeline.ask("r2", client="b", packages=(attempt,))
    pipeline.tick(20 * DAY_S)
    assert pipeline.results["r2"].package_name == name
    assert not removals(pipeline)


def test_a_package_that_was_not_seen_keeps_its_folder_as_long_as_it_was_promised(pipeline):
    pipeline.ask("r1")
    first = pipeline.records(ExportStarted)[0].attempt
    pipeline.tick(120)
    pipeline.ask("r2", client="b", packages=())
    pipeline.tick(29 * DAY_S)
    assert not removals(pipeline)
    pipeline.tick(2 * DAY_S)
    assert first in {order.attempt for order in removals(pipeline)}


def fail_range(pipeline, number, *, fatal=False, reason="timeout"):
    """A worker cannot read a range, as often as it is asked."""
    for _ in range(5):
        asked = [o for o in pipeline.orders if isinstance(o, WriteRange)]
        order = [o for o in asked if o.range_number == number][-1]
        pipeline.feed(
            "export-plans",
            order.export_id,
            RangeUnreadable(
                order.export_id, order.attempt, pipeline.now_ms, number, order.trial, fatal, reason
            ),
        )
        if pipeline.results.get("r1"):
            return
        pipeline.tick(300)


@pytest.fixture
def failed(waits):
    """An export of many ranges that has failed at its third one."""
    waits.range_bytes = 50_000
    waits.start()
    waits.ask("r1", max_zoom=5)
    for order in [o for o in waits.orders if isinstance(o, WriteRange)][:2]:
        waits.answer(order)
    waits.run()
    fail_range(waits, 2)
    assert not waits.results["r1"].success
    return waits


def test_a_retry_takes_over_the_ranges_of_the_failed_attempt(failed):
    first = failed.records(ExportStarted)[0]
    failed.adoptable = (RangeSpan(0, 1), RangeSpan(5, 6))
    failed.answers = True
    failed.orders.clear()
    failed.ask("r2", max_zoom=5, retry_of="r1")
    assert failed.results["r2"].success
    (adopt, *_) = [o for o in failed.orders if isinstance(o, AdoptShards)]
    assert adopt.continues == first.attempt
    numbers = {o.range_number for o in failed.orders if isinstance(o, WriteRange)}
    assert not {0, 1, 5, 6} & numbers
    assert {2, 3, 4, 7} <= numbers


def test_ranges_are_cut_as_before_although_tiles_are_known_to_be_smaller_now(failed):
    first = failed.records(ExportStarted)[0]
    failed.ask("other", box=(-40.0, -40.0, 0.0, 0.0))
    failed.range_bytes = 10_000_000
    failed.start()
    failed.ask("r2", max_zoom=5, retry_of="r1")
    last = failed.records(ExportStarted)[-1]
    assert last.continues == first.attempt
    assert last.package.tiles_per_range == first.package.tiles_per_range


def test_the_files_of_a_failed_attempt_wait_a_day_for_a_retry(failed):
    failed.tick(23 * HOUR_S)
    assert not removals(failed)
    failed.tick(2 * HOUR_S)
    assert removals(failed)


def test_an_adoption_that_nobody_answers_is_given_up_and_everything_is_written(failed):
    failed.orders.clear()
    failed.ask("r2", max_zoom=5)
    failed.tick(1_200)
    assert len([o for o in failed.orders if isinstance(o, AdoptShards)]) >= 3
    assert any(isinstance(o, WriteRange) and o.range_number == 0 for o in failed.orders)


def test_a_full_disk_leaves_nothing_to_go_on_with(waits):
    waits.ask("r1", max_zoom=4)
    fail_range(waits, 0, fatal=True, reason="no space left")
    waits.tick(1)
    assert removals(waits)
    waits.ask("r2", max_zoom=4)
    assert waits.records(ExportStarted)[-1].continues is None


def test_a_removal_order_for_an_attempt_that_the_planner_still_has_ends_it(waits):
    record = waits.ask("r1")
    started = waits.records(ExportStarted)[0]
    order = RemoveAttempt(record.export_id, started.attempt, waits.now_ms)
    waits.feed("export-plans", record.export_id, order)
    assert not waits.planner.state.progress
    assert removals(waits)


def test_a_removal_order_for_an_older_attempt_leaves_the_running_one(waits):
    record = waits.ask("r1")
    started = waits.records(ExportStarted)[0]
    old = replace(started, attempt="1-1")
    order = RemoveAttempt(record.export_id, old.attempt, waits.now_ms)
    waits.feed("export-plans", record.export_id, order)
    assert record.export_id in waits.planner.state.progress


def test_a_result_is_forgotten_a_week_after_its_package_and_its_deliveries_with_it(pipeline):
    pipeline.ask("r1", callback_urls=("http://hook/1",))
    pipeline.tick(37 * DAY_S - HOUR_S)
    assert pipeline.results
    assert pipeline.deliveries
    pipeline.tick(2 * HOUR_S)
    assert not pipeline.results
    assert not pipeline.deliveries


def test_a_failure_is_forgotten_as_late_as_a_success(waits):
    waits.ask("r1")
    cancel(waits, "r1")
    waits.tick(37 * DAY_S - HOUR_S)
    assert waits.results
    waits.tick(2 * HOUR_S)
    assert not waits.results


def test_a_delivery_whose_request_nobody_remembers_is_forgotten_too(pipeline):
    ask = RedeliveryAsked("long gone", pipeline.now_ms, "http://hook/1")
    pipeline.feed("export-settlements", "long gone", ask)
    assert pipeline.deliveries
    pipeline.tick(4 * DAY_S)
    assert not pipeline.deliveries


def test_forgotten_exports_and_requests_leave_tombstones_for_those_who_show_them(waits):
    record = waits.ask("r1")
    waits.answers = True
    cancel(waits, "r1")
    waits.tick(15 * DAY_S)
    gone = {send.key for send in waits.sent if send.record is None}
    assert gone == {record.export_id, "r1"}
    assert all(send.topic == "export-progress" for send in waits.sent if send.record is None)


def test_an_attempt_is_never_named_like_one_whose_files_still_have_to_go():
    """A broker that has forgotten its last records gives their offsets again."""
    moment = Moment(now_ms=1_700_000_000_000, offset=7)
    waiting = ExportRow("waiting", "", "layer", 1000, 0, tile_count=1, estimated_bytes=1)
    first = start(waiting, moment)
    again = start(replace(waiting, removals=to_be_removed(first, 0).removals), moment)
    assert (first.attempt, again.attempt) == ("1700000000000-7", "1700000000001-7")
    assert attempt_order(again.attempt) > attempt_order(first.attempt)
