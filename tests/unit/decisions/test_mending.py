"""Rows that a dying broker tore apart are mended: every open request still ends."""

from dataclasses import replace

import pytest

from app.domain.records import ExportFailed, RequestSettled
from app.registrar.mend import LOST


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
    assert {running.results[key].error_reason for key in ("r1", "r2")} == {LOST}


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
    kept = {key: running.rows[key] for key in running.rows if key[0] in ("areas", "bodies")}
    answer_all(running)
    running.rows |= kept
    running.start()
    running.tick(1)
    assert {table for table, _ in running.rows}.isdisjoint({"areas", "bodies"})


def test_a_replayed_request_brings_back_its_body_and_the_area(running):
    body, area = running.rows["bodies", "r1"], running.rows["areas", running.export.export_id]
    lose(running, ("bodies", "r1"), ("areas", running.export.export_id))
    running.feed("export-registry", "r1", running.export)
    assert running.rows["bodies", "r1"] == body
    assert running.rows["areas", running.export.export_id] == area


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
