"""What callers order of a finished package, and what they cannot."""

from dataclasses import replace

import pytest

from app.domain.records import (
    ExportCommanded,
    ExportProgress,
    RedeliveryAsked,
    RemoveAttempt,
    RequestProgress,
    RequestRefused,
)

HOUR_S = 3600
DAY_S = 24 * HOUR_S
DAY_MS = DAY_S * 1000
URL = "http://hook/1"


def order(pipeline, command, request_id="r1", client="anonymous", argument=None, *, admin=False):
    record = ExportCommanded(request_id, pipeline.now_ms, client, command, argument, admin)
    pipeline.feed("export-registry", request_id, record)
    return record


def extend(pipeline, days, **more):
    return order(pipeline, "extend", argument=str(pipeline.now_ms + days * DAY_MS), **more)


def removals(pipeline):
    return [known for known in pipeline.orders if isinstance(known, RemoveAttempt)]


def export_told(pipeline):
    return pipeline.records(ExportProgress)[-1]


@pytest.fixture(params=[1, 2], ids=["once", "every record twice"])
def pipeline(pipeline, request):
    pipeline.copies = request.param
    return pipeline


@pytest.fixture
def shared(pipeline):
    """A package that two clients hold."""
    record = pipeline.ask("r1", callback_urls=(URL,))
    attempt = pipeline.records(ExportProgress)[-1].attempt
    pipeline.ask("r2", client="b", packages=(attempt,))
    return replace(record, packages=(attempt,))


# --- keep longer


def test_an_extended_package_is_kept_until_then(pipeline):
    pipeline.ask("r1")
    extend(pipeline, 90)
    assert export_told(pipeline).expires_at_ms == pipeline.now_ms + 90 * DAY_MS
    pipeline.tick(90 * DAY_S - HOUR_S)
    assert not removals(pipeline)
    pipeline.tick(3 * HOUR_S)
    assert removals(pipeline)


def test_an_extension_never_shortens_what_others_were_promised(pipeline):
    pipeline.ask("r1")
    before = export_told(pipeline).expires_at_ms
    extend(pipeline, 1)
    assert export_told(pipeline).expires_at_ms == before


def test_an_extension_reaches_no_further_than_the_limit(pipeline):
    pipeline.ask("r1")
    record = extend(pipeline, 5_000)
    assert export_told(pipeline).expires_at_ms == record.at_ms + 365 * DAY_MS
    pipeline.now_ms += DAY_MS
    pipeline.feed("export-registry", "r1", record)  # a replay, late
    assert export_told(pipeline).expires_at_ms == record.at_ms + 365 * DAY_MS


@pytest.mark.parametrize("argument", [None, "", "soon", "-5", "1.5", "9" * 19, "٣"])
def test_an_extension_to_no_time_is_a_dead_letter(pipeline, argument):
    pipeline.ask("r1")
    before = dict(pipeline.rows)
    order(pipeline, "extend", argument=argument)
    assert "must be ms since 1970" in pipeline.dead[0]
    assert pipeline.rows == before


# --- pin


def test_a_pinned_package_outlives_its_expiry_and_an_unpinned_one_goes(pipeline):
    pipeline.ask("r1")
    order(pipeline, "pin")
    assert export_told(pipeline).pinned
    pipeline.tick(200 * DAY_S)
    assert not removals(pipeline)
    assert ("requests", "r1") in pipeline.rows
    order(pipeline, "unpin")
    pipeline.tick(2 * HOUR_S)
    assert removals(pipeline)
    assert not export_told(pipeline).pinned


def test_a_package_stays_pinned_as_long_as_one_of_its_callers_pins_it(pipeline, shared):
    order(pipeline, "pin")
    order(pipeline, "pin", "r2", "b")
    order(pipeline, "unpin")
    assert export_told(pipeline).pinned
    pins = {told.request_id: told.pinned for told in pipeline.records(RequestProgress)}
    assert pins == {"r1": False, "r2": True}
    order(pipeline, "unpin", "r2", "b")
    assert not export_told(pipeline).pinned
    assert not pipeline.records(RequestProgress)[-1].pinned


def test_the_pin_of_a_caller_goes_with_its_deletion(pipeline, shared):
    order(pipeline, "pin")
    order(pipeline, "delete")
    assert not export_told(pipeline).pinned
    assert export_told(pipeline).state == "Completed"


def test_an_administrator_unpins_for_all(pipeline, shared):
    order(pipeline, "pin", "r2", "b")
    order(pipeline, "unpin", client="root", admin=True)
    assert not export_told(pipeline).pinned


@pytest.mark.parametrize("lost", ["requests", "exports"])
def test_a_pin_of_which_a_broker_forgot_one_row_is_mended(pipeline, lost):
    record = pipeline.ask("r1")
    key = (lost, "r1" if lost == "requests" else record.export_id)
    before = pipeline.rows[key]
    order(pipeline, "pin")
    pipeline.rows[key] = before
    pipeline.start()
    pipeline.tick(1)
    is_pinned = pipeline.rows["requests", "r1"].pinned
    assert export_told(pipeline).pinned == is_pinned == (lost == "exports")


# --- delete


def test_a_deleted_package_is_offered_no_more_and_goes_an_hour_later(pipeline):
    record = pipeline.ask("r1")
    order(pipeline, "delete")
    told = pipeline.records(RequestProgress)[-1]
    assert (told.request_id, told.deleted) == ("r1", True)
    assert export_told(pipeline).state == "Expired"
    pipeline.tick(HOUR_S - 60)
    assert not removals(pipeline)
    pipeline.tick(120)
    assert removals(pipeline)
    pipeline.tick(2 * HOUR_S)
    assert ("exports", record.export_id) not in pipeline.rows


def test_a_package_goes_only_with_the_last_caller_that_holds_it(pipeline, shared):
    order(pipeline, "delete")
    pipeline.tick(2 * HOUR_S)
    assert not removals(pipeline)
    assert export_told(pipeline).state == "Completed"
    order(pipeline, "delete", "r2", "b")
    pipeline.tick(2 * HOUR_S)
    assert removals(pipeline)


def test_an_administrator_deletes_for_all(pipeline, shared):
    order(pipeline, "delete", client="root", admin=True)
    assert export_told(pipeline).state == "Expired"
    pipeline.tick(2 * HOUR_S)
    assert removals(pipeline)


def test_a_deletion_reaches_all_that_repeat_the_request(pipeline):
    first = pipeline.ask("r1", via_http=True)
    attempt = export_told(pipeline).attempt
    pipeline.ask("r2", via_http=True, packages=(attempt,))
    order(pipeline, "delete", "r2")
    assert pipeline.rows["requests", "r1"].deleted
    assert pipeline.rows["requests", "r2"].deleted
    assert pipeline.rows["exports", first.export_id].state == "expired"


def test_who_has_deleted_a_package_and_asks_again_gets_an_answer_of_its_own(pipeline):
    pipeline.ask("r1", via_http=True)
    attempt = export_told(pipeline).attempt
    pipeline.ask("other", client="b", packages=(attempt,))
    order(pipeline, "delete")
    pipeline.ask("r2", via_http=True, packages=(attempt,))
    told = next(t for t in pipeline.records(RequestProgress) if t.request_id == "r2")
    assert (told.verdict, told.repeats) == ("Cached", None)


def test_a_package_that_was_made_again_is_not_answered_with_the_request_for_the_old_one(pipeline):
    pipeline.ask("r1", via_http=True)
    pipeline.tick(31 * DAY_S)
    pipeline.ask("other", client="b")
    attempt = export_told(pipeline).attempt
    pipeline.ask("r2", via_http=True, packages=(attempt,))
    told = next(t for t in pipeline.records(RequestProgress) if t.request_id == "r2")
    assert (told.verdict, told.repeats) == ("Cached", None)


def test_a_late_replay_of_a_deletion_leaves_the_package_that_was_made_since(pipeline):
    pipeline.ask("r1")
    record = order(pipeline, "delete")
    pipeline.ask("r2")
    pipeline.feed("export-registry", "r1", record)
    pipeline.tick(3 * HOUR_S)
    assert export_told(pipeline).state == "Completed"
    assert pipeline.rows["exports", pipeline.admitted("x").export_id].state == "completed"


def test_what_still_runs_is_cancelled_by_a_deletion(pipeline):
    pipeline.answers = False
    pipeline.ask("r1")
    order(pipeline, "delete")
    assert pipeline.results["r1"].status == "Aborted"


def test_a_deleted_request_with_a_large_area_says_that_it_lacks_it(pipeline):
    corners = ",".join(f"[{x / 100},0]" for x in range(300))
    polygon = f'{{"type":"Polygon","coordinates":[[[0,1],{corners},[0,1]]]}}'
    pipeline.ask("r1", bbox_json=polygon)
    pipeline.tick(6)
    order(pipeline, "delete")
    told = pipeline.records(RequestProgress)
    assert [(t.bbox_json is None, t.area_omitted) for t in (told[0], told[-1])] == [
        (False, False),
        (True, True),
    ]


# --- deliver again


def test_a_webhook_is_called_again_once_for_each_time_it_is_asked_for(pipeline):
    pipeline.ask("r1", callback_urls=(URL,))
    order(pipeline, "redeliver", argument=URL)
    pipeline.now_ms += 60_000
    order(pipeline, "redeliver", argument=URL)
    asked = {record.at_ms: record for record in pipeline.records(RedeliveryAsked)}
    assert [(record.url, record.again) for record in asked.values()] == [(URL, True)] * 2
    (row,) = pipeline.deliveries
    assert (row.state, row.asked_again_at_ms) == ("pending", max(asked))


def test_a_failed_result_can_be_delivered_again(pipeline):
    pipeline.answers = False
    pipeline.ask("r1")
    order(pipeline, "cancel")
    order(pipeline, "redeliver", argument=URL)
    assert [row.url for row in pipeline.deliveries] == [URL]


@pytest.mark.parametrize("url", [None, "", "ftp://x/", "http://", "http://x/" + "a" * 2_048])
def test_what_is_no_address_reaches_no_topic(pipeline, url):
    pipeline.ask("r1")
    order(pipeline, "redeliver", argument=url)
    assert "argument of redeliver" in pipeline.dead[0]
    assert not pipeline.records(RedeliveryAsked)


def test_nothing_is_delivered_before_there_is_a_result(pipeline):
    pipeline.answers = False
    pipeline.ask("r1")
    order(pipeline, "redeliver", argument=URL)
    assert not pipeline.records(RedeliveryAsked)


# --- who may


ARGUMENTS = {"extend": "1800000000000", "redeliver": URL}
COMMANDS = ["cancel", "extend", "pin", "unpin", "delete", "redeliver"]


@pytest.mark.parametrize("command", COMMANDS)
def test_nobody_orders_for_another_client(pipeline, command):
    pipeline.ask("r1")
    before = dict(pipeline.rows)
    order(pipeline, command, client="b", argument=ARGUMENTS.get(command))
    assert "not one of client 'b'" in pipeline.dead[0]
    assert pipeline.rows == before


@pytest.mark.parametrize("command", COMMANDS)
def test_an_administrator_may_order_for_everybody(pipeline, command):
    pipeline.answers = command != "cancel"
    pipeline.ask("r1", client="b")
    before, sent = dict(pipeline.rows), len(pipeline.sent)
    order(pipeline, command, client="root", argument=ARGUMENTS.get(command), admin=True)
    assert not pipeline.dead
    assert pipeline.rows != before or len(pipeline.sent) > sent


@pytest.mark.parametrize("command", ["extend", "pin", "unpin", "delete", "redeliver"])
def test_an_order_for_a_request_that_nobody_knows_is_a_dead_letter(pipeline, command):
    order(pipeline, command, argument=ARGUMENTS.get(command))
    assert "there is no request r1" in pipeline.dead[0]
    assert not pipeline.rows


@pytest.mark.parametrize("command", ["extend", "pin", "unpin"])
def test_there_is_nothing_to_keep_of_a_request_without_a_package(pipeline, command):
    pipeline.ask("r1")
    order(pipeline, "delete")
    before = dict(pipeline.rows)
    order(pipeline, command, argument=ARGUMENTS.get(command))
    assert (pipeline.rows, pipeline.dead) == (before, [])


@pytest.mark.parametrize("command", ["extend", "pin", "unpin", "delete"])
@pytest.mark.parametrize("survived", range(3))
def test_a_command_that_dies_within_its_rows_is_finished_by_its_replay(
    pipeline, shared, command, survived
):
    from app.domain.inbox import InboxPosition

    argument = str(pipeline.now_ms + 90 * DAY_MS)
    if command == "unpin":
        order(pipeline, "pin")
    record = ExportCommanded("r1", pipeline.now_ms, "anonymous", command, argument)
    decision = pipeline.registrar.decide(record, InboxPosition(0, 99))
    whole = {(store.table, store.key): store.row for store in decision.stores}
    pipeline.carry_out(
        pipeline.registrar, replace(decision, stores=decision.stores[:survived], sends=())
    )
    pipeline.start()
    pipeline.feed("export-registry", "r1", record)
    assert whole.items() <= pipeline.rows.items()
    assert export_told(pipeline).expires_at_ms == whole["exports", shared.export_id].expires_at_ms


# --- try again


def test_a_request_that_tries_another_again_must_name_one_of_its_client_that_ended(pipeline):
    pipeline.answers = False
    pipeline.ask("r1")
    pipeline.ask("open", retry_of="r1", box=(-40.0, 0.0, 0.0, 40.0))
    pipeline.ask("unknown", retry_of="r0", box=(-40.0, 0.0, 0.0, 40.0))
    pipeline.ask("other", retry_of="r1", client="b", box=(-40.0, 0.0, 0.0, 40.0))
    order(pipeline, "cancel")
    pipeline.ask("right", retry_of="r1", box=(-40.0, 0.0, 0.0, 40.0))
    reasons = {t.request_id: t.reason for t in pipeline.records(RequestProgress)}
    assert reasons == {
        "r1": None,
        "open": "retryOf is r1, which is still open; it must have ended otherwise",
        "unknown": "retryOf is r0; there is no such request",
        "other": "retryOf is r1; there is no such request",
        "right": None,
    }


def test_a_request_that_was_refused_is_not_tried_again(pipeline):
    refused = RequestRefused(
        "r1", pipeline.now_ms, "d", "a", "l", None, None, (), 400, "bbox is no JSON"
    )
    pipeline.feed("export-registry", "r1", refused)
    pipeline.ask("r2", retry_of="r1", client="a")
    reason = "retryOf is r1, which was refused: bbox is no JSON; send a new request"
    assert pipeline.results["r2"].error_reason == reason


def test_a_completed_request_is_not_tried_again_before_its_package_is_gone(pipeline):
    pipeline.ask("r1")
    pipeline.ask("r2", retry_of="r1")
    assert "which is Completed" in pipeline.results["r2"].error_reason
    order(pipeline, "delete")
    pipeline.ask("r3", retry_of="r1")
    assert pipeline.results["r3"].success
