"""Rows that a dying broker tore apart are mended: every open request still ends."""

from dataclasses import replace

import pytest

from app.domain.client_limits import ClientLimits
from app.domain.records import (
    ExportCommanded,
    ExportFailed,
    ExportStarted,
    FilesRemoved,
    PackageAssembled,
    RequestConfirmed,
    RequestSettled,
)
from app.registrar.mend import LOST
from tests.unit.decisions.conftest import facts


@pytest.fixture
def running(pipeline):
    """An export that runs, with two requests, and a worker that does not answer."""
    pipeline.answers = False
    pipeline.export = pipeline.ask("r1", callback_urls=("http://a",))
    pipeline.ask("r2", client="b")
    return pipeline


def lose(pipeline, *keys):
    """Forget rows, and start again from those that are left."""
    for key in keys:
        del pipeline.rows[key]
    pipeline.start()


def forget_export(pipeline):
    """Forget all that the registrar knew of what runs; what was told of it stands."""
    lose(pipeline, *(key for key in pipeline.rows if key[0] not in ("plans", "progress")))


def told(pipeline, key):
    """The last word on a request or an export; None: a tombstone."""
    return [s.record for s in pipeline.sent if (s.topic, s.key) == ("export-progress", key)][-1]


def answer_all(pipeline):
    for order in list(pipeline.orders):
        pipeline.answer(order)
    pipeline.run()


def test_nothing_is_mended_where_rows_fit(running):
    before = dict(running.rows)
    assert running.registrar.due_at_ms() > running.now_ms
    answer_all(running)
    assert running.results.keys() == {"r1", "r2"}
    assert before.keys() != running.rows.keys()


def test_an_open_request_of_an_export_that_ended_is_settled_with_its_package(running):
    opened = running.rows["requests", "r1"], running.rows["bodies", "r1"]
    answer_all(running)
    del running.rows["results", "r1"]
    running.rows["requests", "r1"], running.rows["bodies", "r1"] = opened
    running.start()
    running.tick(1)
    assert running.results["r1"].success
    assert running.registrar.state.untold == {}


def test_an_open_request_whose_export_is_forgotten_fails_with_the_reason(running):
    export_id = running.export.export_id
    lose(running, ("exports", export_id), ("areas", export_id))
    running.tick(1)
    assert told(running, export_id) is None
    assert {running.results[key].error_reason for key in ("r1", "r2")} == {LOST}


def test_a_forgotten_export_is_told_of_no_more_when_its_request_comes_after_its_cancel(running):
    forget_export(running)
    cancel = ExportCommanded("r1", running.now_ms, "anonymous", "cancel")
    running.feed("export-registry", "r1", cancel)
    running.feed("export-registry", "r1", running.export)
    assert running.results["r1"].status == "Aborted"
    assert told(running, running.export.export_id) is None


def test_a_forgotten_export_is_told_of_no_more_when_its_request_is_refused_now(running):
    forget_export(running)
    running.registrar.rules = replace(running.registrar.rules, limits=ClientLimits(0))
    for _ in range(2):  # whoever dies before it is sent does so again
        running.sent.clear()
        running.feed("export-registry", "r1", running.export)
        assert told(running, "r1").verdict == "Refused"
        assert told(running, running.export.export_id) is None


def test_a_forgotten_export_that_goes_on_is_stopped_and_told_of_no_more(running):
    forget_export(running)
    running.tick(10)
    assert told(running, running.export.export_id) is None
    assert running.planner.due_at_ms() is None


def test_a_waiting_export_without_its_area_fails_and_the_next_one_starts(pipeline):
    pipeline.answers, pipeline.max_running = False, 1
    pipeline.start()
    boxes = {"r1": (0.0, 0.0, 9.0, 9.0), "r2": (20.0, 0.0, 29.0, 9.0), "r3": (40.0, 0.0, 49.0, 9.0)}
    exports = {key: pipeline.ask(key, box=box, max_zoom=6) for key, box in boxes.items()}
    pipeline.answers = True
    lose(pipeline, ("areas", exports["r2"].export_id))
    answer_all(pipeline)
    pipeline.tick(1)
    assert pipeline.results["r2"].error_reason == LOST
    assert pipeline.results["r1"].success
    assert pipeline.results["r3"].success


def test_a_running_export_without_its_area_goes_on_as_long_as_it_is_heard_of(running):
    lose(running, ("areas", running.export.export_id))
    running.tick(20)
    assert not running.records(RequestSettled)
    answer_all(running)
    assert running.results["r1"].success


def test_a_running_export_without_its_area_fails_when_nothing_is_heard_of_it(running):
    export_id = running.export.export_id
    lose(running, ("areas", export_id), ("plans", export_id), ("progress", export_id))
    running.tick(40)
    assert running.results["r1"].error_reason == LOST


def test_leftover_areas_and_bodies_are_dropped(running):
    export_id = running.export.export_id
    kept = {key: running.rows[key] for key in running.rows if key[0] in ("areas", "bodies")}
    failed = ExportFailed(export_id, running.orders[0].attempt, running.now_ms, "no source")
    running.feed("export-registry", export_id, failed)
    running.rows |= kept
    running.start()
    running.tick(6)
    assert {table for table, _ in running.rows}.isdisjoint({"areas", "bodies"})


def test_the_bodies_of_requests_whose_package_is_offered_are_no_leftovers(running):
    kept = {key: running.rows[key] for key in running.rows if key[0] == "bodies"}
    answer_all(running)
    running.start()
    running.tick(1)
    assert kept.items() <= running.rows.items()


def test_a_replayed_request_brings_back_its_body_and_the_area(running):
    body, area = running.rows["bodies", "r1"], running.rows["areas", running.export.export_id]
    lose(running, ("bodies", "r1"), ("areas", running.export.export_id))
    running.feed("export-registry", "r1", running.export)
    assert running.rows["bodies", "r1"] == body
    assert running.rows["areas", running.export.export_id] == area


def test_a_replayed_request_brings_back_its_addresses_beside_those_that_joined_since(pipeline):
    pipeline.answers = False
    first = pipeline.ask("r1", via_http=True, callback_urls=("http://a",))
    lose(pipeline, ("bodies", "r1"))
    pipeline.ask("r9", via_http=True, callback_urls=("http://b",))
    pipeline.feed("export-registry", "r1", first)
    body = pipeline.rows["bodies", "r1"]
    assert (body.callback_urls, body.bbox_json) == (("http://a", "http://b"), first.bbox_json)


@pytest.mark.parametrize("table", ["plans", "progress"])
def test_a_planner_that_lost_half_of_an_export_forgets_it_and_is_told_again(running, table):
    running.orders.clear()
    lose(running, (table, running.export.export_id))
    running.tick(40)
    answer_all(running)
    assert running.results["r1"].success
    assert not running.records(ExportFailed)


def test_a_plan_of_one_attempt_and_the_progress_of_another_are_no_export(running):
    export_id = running.export.export_id
    old = running.rows["progress", export_id]
    running.rows["progress", export_id] = replace(old, attempt="1-1", phase="assembled")
    running.start()
    running.tick(1)
    assert ("progress", export_id) not in running.rows
    running.tick(40)
    answer_all(running)
    assert running.results["r1"].success


def test_a_replayed_request_brings_back_a_result_that_was_confirmed_and_then_lost(running):
    answer_all(running)
    first = running.results["r1"]
    deliveries = [key for key in running.rows if key[0] == "deliveries"]
    lose(running, ("results", "r1"), *deliveries)
    running.feed("export-registry", "r1", running.export)
    assert running.results["r1"] == first
    assert [row.url for row in running.deliveries] == ["http://a"]


def test_a_request_that_is_judged_anew_keeps_the_addresses_that_joined_it(pipeline):
    """A coordinator died between the end of the export and that of its requests."""
    pipeline.answers = False
    first = pipeline.ask("r1", via_http=True, callback_urls=("http://a",))
    pipeline.ask("r9", via_http=True, callback_urls=("http://b",))
    opened = {key: row for key, row in pipeline.rows.items() if key[0] in ("requests", "bodies")}
    answer_all(pipeline)
    lose(pipeline, *(key for key in pipeline.rows if key[0] in ("results", "deliveries")))
    pipeline.rows |= opened
    pipeline.start()
    pipeline.feed("export-registry", "r1", first)
    assert pipeline.results["r1"].success
    assert [row.url for row in pipeline.deliveries] == ["http://a", "http://b"]


def test_an_address_that_joined_when_its_export_was_made_again_is_told(running):
    """The registrar forgot the end of the export, and completion has its result."""
    answer_all(running)
    first = running.results["r1"]
    again = replace(running.records(RequestSettled)[0], callback_urls=("http://a", "http://b"))
    running.feed("export-settlements", "r1", again)
    assert running.results["r1"] == first
    assert [row.url for row in running.deliveries] == ["http://a", "http://b"]


def test_a_result_that_is_told_again_calls_nobody_again(running):
    answer_all(running)
    before = running.deliveries
    running.feed("export-settlements", "r1", running.records(RequestSettled)[0])
    assert running.deliveries == before


def test_what_ended_right_before_a_takeover_is_told_again(running):
    """The broker may have lost what was told of it, and nobody else has a reason to say it."""
    answer_all(running)
    for _ in range(2):
        running.sent.clear()
        running.start()
        running.tick(1)
        assert told(running, running.export.export_id).state == "Completed"


@pytest.mark.parametrize("end", ["written", "failed"])
def test_a_result_that_was_confirmed_right_before_a_takeover_and_then_lost_comes_back(running, end):
    if end == "written":
        answer_all(running)
    failed = ExportFailed(running.export.export_id, running.orders[0].attempt, 0, "no source")
    running.feed("export-registry", running.export.export_id, failed)
    first = running.results
    lose(running, *(key for key in running.rows if key[0] in ("results", "deliveries")))
    running.tick(1)
    assert running.results == first
    assert [row.url for row in running.deliveries] == ["http://a"]


def test_a_result_whose_confirmation_outlives_it_comes_back(running):
    answer_all(running)
    confirmed = running.records(RequestConfirmed)[0]
    running.rows["requests", "r1"] = replace(running.rows["requests", "r1"], state="settled")
    first = running.results
    lose(running, *(key for key in running.rows if key[0] in ("results", "deliveries")))
    running.now_ms += 60_000
    running.feed("export-registry", "r1", confirmed)
    running.tick(1)
    assert running.results["r1"] == first["r1"]
    assert [row.url for row in running.deliveries] == ["http://a"]


def test_what_ended_long_before_a_takeover_is_not_told_again(running):
    answer_all(running)
    running.now_ms += 6_000
    other = running.ask("r3", box=(20.0, 0.0, 29.0, 9.0))
    answer_all(running)
    running.sent.clear()
    running.start()
    running.tick(1)
    assert {send.key for send in running.sent} == {other.export_id, "r3"}


@pytest.fixture(params=["settled", "confirmed"])
def unfounded(running, request):
    """Requests that ended well; the end of their export is forgotten, and their results are."""
    begun = {key: row for key, row in running.rows.items() if key[0] in ("exports", "areas")}
    answer_all(running)
    running.orders.clear()
    lose(running, *(key for key in running.rows if key[0] in ("results", "deliveries")))
    for key in ("r1", "r2"):
        row = running.rows["requests", key]
        running.rows["requests", key] = replace(row, state=request.param)
    running.rows |= begun
    running.start()
    return running


def test_a_request_waits_again_for_an_export_whose_end_was_forgotten(unfounded):
    unfounded.tick(40)
    answer_all(unfounded)
    assert unfounded.results["r1"].success
    assert unfounded.results["r2"].success
    assert [row.url for row in unfounded.deliveries] == ["http://a"]


def test_a_request_whose_whole_export_was_forgotten_fails_with_the_reason(unfounded):
    export_id = unfounded.export.export_id
    lose(unfounded, ("exports", export_id), ("areas", export_id))
    unfounded.tick(1)
    assert {unfounded.results[key].error_reason for key in ("r1", "r2")} == {LOST}


def test_a_request_of_a_forgotten_export_that_others_began_again_gets_that(running):
    answer_all(running)
    lose(running, *(key for key in running.rows if key[0] in ("exports", "results", "deliveries")))
    running.orders.clear()
    running.ask("r3", client="c")
    running.tick(1)
    answer_all(running)
    assert running.results["r1"].file_uri == running.results["r3"].file_uri


@pytest.mark.parametrize("state", ["settled", "confirmed"])
def test_a_request_of_a_forgotten_export_is_judged_anew_when_its_record_comes_again(running, state):
    answer_all(running)
    export_id = running.export.export_id
    settled = replace(running.rows["requests", "r1"], state=state)
    lose(running, *(key for key in running.rows if key[0] in ("exports", "results", "deliveries")))
    running.rows["requests", "r1"] = settled
    running.start()
    running.orders.clear()
    running.feed("export-registry", "r1", running.export)
    answer_all(running)
    assert running.results["r1"].success
    assert running.rows["exports", export_id].attempt in running.results["r1"].file_uri


@pytest.fixture
def came_after(pipeline):
    """r9 asked after r1 had cancelled; the coordinator that took it in was thought dead.

    Of its rows those of r9 are there, and that of the export is the other coordinator's.
    """
    pipeline.answers = False
    asked = pipeline.ask("r1")
    pipeline.cancel = ExportCommanded("r1", pipeline.now_ms, "anonymous", "cancel")
    pipeline.feed("export-registry", "r1", pipeline.cancel)
    pipeline.run()
    cancelled = pipeline.rows["exports", asked.export_id]
    pipeline.now_ms += 1_000
    pipeline.late = pipeline.ask("r9", client="b")
    pipeline.rows["exports", asked.export_id] = cancelled
    pipeline.start()
    return pipeline


def test_a_replayed_cancel_does_not_end_a_request_that_came_after_it(came_after):
    came_after.feed("export-registry", "r1", came_after.cancel)
    came_after.run()
    assert came_after.results.keys() == {"r1"}


def test_a_request_that_came_after_a_cancel_starts_anew_when_its_record_comes_again(came_after):
    came_after.feed("export-registry", "r9", came_after.late)
    came_after.answers = True
    came_after.run()
    answer_all(came_after)
    assert came_after.results["r1"].status == "Aborted"
    assert came_after.results["r9"].success


def test_a_request_that_came_after_a_cancel_is_not_told_that_its_caller_cancelled(came_after):
    came_after.tick(1)
    assert came_after.results["r9"].status == "Failed"
    assert came_after.results["r9"].error_reason == LOST


def test_a_request_is_not_offered_a_package_that_it_found_gone(pipeline):
    """The broker forgot that its export began again."""
    asked = pipeline.ask("r1")
    completed = pipeline.rows["exports", asked.export_id]
    pipeline.now_ms += 120_000
    pipeline.answers = False
    pipeline.ask("r9", client="b", packages=())
    pipeline.rows["exports", asked.export_id] = completed
    pipeline.start()
    pipeline.tick(1)
    assert pipeline.results["r9"].error_reason == LOST


def test_a_package_that_was_made_once_more_is_offered_as_it_is_now(pipeline):
    """A frozen coordinator ordered it again, after somebody had removed it by hand."""
    asked = pipeline.ask("r1")
    export = pipeline.rows["exports", asked.export_id]
    again = replace(export.facts, sha256="b" * 64, finished_at_ms=export.facts.finished_at_ms + 1)
    report = PackageAssembled(asked.export_id, export.attempt, pipeline.now_ms, again)
    pipeline.feed("export-plans", asked.export_id, report)
    pipeline.run()
    pipeline.ask("r2", client="b", packages=(export.attempt,))
    assert pipeline.results["r1"].sha256 == export.facts.sha256
    assert pipeline.results["r2"].sha256 == again.sha256


def test_another_attempt_begins_when_the_files_of_the_one_that_runs_are_removed(running):
    """The broker has forgotten that the attempt ended, and not that its files go."""
    first = running.records(ExportStarted)[0].attempt
    gone = FilesRemoved(running.export.export_id, first, running.now_ms + 1)
    running.orders.clear()
    running.feed("export-plans", running.export.export_id, gone)
    second = running.records(ExportStarted)[-1].attempt
    assert second != first
    assert running.rows["exports", running.export.export_id].removals[0].attempt == first
    assert {order.attempt for order in running.orders} == {second}
    answer_all(running)
    assert all(result.success for result in running.results.values())
    assert all(second in result.file_uri for result in running.results.values())


def test_an_attempt_without_its_area_goes_on_though_its_files_are_removed(running):
    """Nothing can begin in its place; what its ledgers lack, the assembly finds."""
    export_id = running.export.export_id
    attempt = running.records(ExportStarted)[0].attempt
    lose(running, ("areas", export_id))
    running.feed("export-plans", export_id, FilesRemoved(export_id, attempt, running.now_ms))
    answer_all(running)
    assert all(result.success for result in running.results.values())


def test_a_package_of_an_attempt_that_is_not_planned_any_more_is_looked_for_again(running):
    """Its files may have been removed, and the broker has forgotten all of that."""
    export_id = running.export.export_id
    made = list(running.orders)
    lose(running, ("plans", export_id), ("progress", export_id))
    running.orders.clear()
    late = PackageAssembled(
        export_id, made[0].attempt, running.now_ms, facts(made[0].then_assemble)
    )
    running.feed("export-plans", export_id, late)
    assert running.results == {}
    assert [order.attempt for order in running.orders] == [made[0].attempt]
    answer_all(running)
    assert all(result.success for result in running.results.values())


def test_a_request_whose_package_was_deleted_is_not_opened_again_when_another_attempt_runs(running):
    answer_all(running)
    for request_id, client in (("r1", "anonymous"), ("r2", "b")):
        order = ExportCommanded(request_id, running.now_ms, client, "delete")
        running.feed("export-registry", request_id, order)
    running.ask("r3", client="c")
    running.start()
    running.tick(1)
    rows = {key: running.rows["requests", key] for key in ("r1", "r2", "r3")}
    assert [rows[key].state for key in rows] == ["confirmed", "confirmed", "open"]
    assert rows["r1"].attempt != running.records(ExportStarted)[-1].attempt
    answer_all(running)
    assert all(result.success for result in running.results.values())


def test_a_request_told_long_ago_is_not_opened_again_when_its_package_was_lost_and_is_made_anew(
    running,
):
    answer_all(running)
    running.now_ms += 60_000
    running.ask("r3", client="c")  # admission has seen no package
    running.start()
    running.tick(1)
    assert [running.rows["requests", key].state for key in ("r1", "r2")] == ["confirmed"] * 2
