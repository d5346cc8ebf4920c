"""Whoever was promised a package hears in time that it goes."""

import pytest

from app.domain.records import ExportCommanded, RequestExpiring

HOUR_S = 3600
DAY_S = 24 * HOUR_S
DAY_MS = DAY_S * 1000
URL = "http://hook/1"


def warnings(pipeline):
    return pipeline.records(RequestExpiring)


def expiring(pipeline):
    return [row for row in pipeline.deliveries if row.event == "expiring"]


@pytest.fixture(params=[1, 2], ids=["once", "every record twice"])
def pipeline(pipeline, request):
    pipeline.copies = request.param
    return pipeline


def test_a_webhook_is_warned_three_days_before_its_package_goes(pipeline):
    pipeline.ask("r1", callback_urls=(URL,))
    pipeline.tick(27 * DAY_S - HOUR_S)
    assert not warnings(pipeline)
    pipeline.tick(2 * HOUR_S)
    (row,) = expiring(pipeline)
    assert (row.url, row.expires_at_ms) == (URL, warnings(pipeline)[0].expires_at_ms)


def test_a_warning_that_died_with_the_registrar_is_sent_again(pipeline):
    pipeline.ask("r1", callback_urls=(URL,))
    completion = pipeline.inboxes["export-settlements"]
    pipeline.tick(27 * DAY_S - 5)
    del pipeline.inboxes["export-settlements"]
    pipeline.tick(6)
    pipeline.inboxes["export-settlements"] = completion
    assert not expiring(pipeline)
    pipeline.tick(20)
    assert len(expiring(pipeline)) == 1


def test_no_more_is_said_once_both_warnings_are_out(pipeline):
    pipeline.ask("r1", callback_urls=(URL,))
    pipeline.tick(27 * DAY_S + 60)
    count = len(warnings(pipeline))
    pipeline.start()
    pipeline.tick(2 * DAY_S)
    assert len(warnings(pipeline)) == count
    assert len(expiring(pipeline)) == 1


def test_an_expiry_that_was_moved_is_warned_of_again(pipeline):
    pipeline.ask("r1", callback_urls=(URL,))
    pipeline.tick(28 * DAY_S)
    until = str(pipeline.now_ms + 30 * DAY_MS)
    record = ExportCommanded("r1", pipeline.now_ms, "anonymous", "extend", until)
    pipeline.feed("export-registry", "r1", record)
    pipeline.tick(28 * DAY_S)
    assert {row.expires_at_ms for row in expiring(pipeline)} >= {int(until)}
    assert len(expiring(pipeline)) == 2


@pytest.mark.parametrize("command", ["pin", "delete"])
def test_nobody_is_warned_of_what_does_not_go_or_is_wanted_no_more(pipeline, command):
    pipeline.ask("r1", callback_urls=(URL,))
    attempt = pipeline.rows["exports", pipeline.admitted("x").export_id].attempt
    pipeline.ask("r2", client="b", packages=(attempt,), callback_urls=("http://hook/2",))
    record = ExportCommanded("r1", pipeline.now_ms, "anonymous", command)
    pipeline.feed("export-registry", "r1", record)
    pipeline.tick(29 * DAY_S)
    warned = {known.request_id for known in warnings(pipeline)}
    assert warned == ({"r2"} if command == "delete" else set())


def test_a_registrar_that_was_away_until_the_end_warns_nobody(pipeline):
    pipeline.ask("r1", callback_urls=(URL,))
    pipeline.now_ms += 31 * DAY_MS
    pipeline.tick(60)
    assert not warnings(pipeline)
    assert pipeline.registrar.due_at_ms() > pipeline.now_ms


# --- how long a result is told


def test_the_result_of_a_pinned_package_is_told_as_long_as_it_stands(pipeline):
    pipeline.ask("r1", callback_urls=(URL,))
    for command in ("pin", "unpin"):
        record = ExportCommanded("r1", pipeline.now_ms, "anonymous", command)
        pipeline.feed("export-registry", "r1", record)
        assert pipeline.results
        pipeline.tick(400 * DAY_S if command == "pin" else 30 * DAY_S)
    assert not pipeline.results
    assert not pipeline.deliveries
    assert ("requests", "r1") not in pipeline.rows


def test_a_word_that_a_request_is_forgotten_is_said_twice_because_it_may_get_lost(pipeline):
    pipeline.ask("r1", callback_urls=(URL,))
    pipeline.tick(37 * DAY_S - 5)
    completion = pipeline.inboxes.pop("export-settlements")
    pipeline.tick(6)
    pipeline.inboxes["export-settlements"] = completion
    assert pipeline.results
    pipeline.tick(20)
    assert not pipeline.results


def test_a_result_whose_request_nobody_remembers_goes_in_the_end(pipeline):
    pipeline.ask("r1", callback_urls=(URL,))
    pipeline.rows = {key: row for key, row in pipeline.rows.items() if key[0] != "requests"}
    pipeline.start()
    pipeline.tick(6 * 365 * DAY_S)
    assert not pipeline.results
    assert not pipeline.deliveries
