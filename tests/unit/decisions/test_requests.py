"""What becomes of requests: one result each, whatever comes twice, joins, repeats or fails."""

from dataclasses import replace

import pytest

from app.domain.client_limits import ClientLimits
from app.domain.decision import NOTHING
from app.domain.inbox import InboxPosition
from app.domain.package_facts import PackageFacts, ZoomCounts
from app.domain.records import (
    ExportAssembled,
    ExportBeat,
    ExportFailed,
    ExportProgress,
    ExportStarted,
    RedeliveryAsked,
    RequestConfirmed,
    RequestProgress,
    RequestRefused,
    RequestSettled,
    WriteRange,
)
from app.planning.plan import WINDOW


def verdicts(pipeline):
    return {r.request_id: r.verdict for r in pipeline.records(RequestProgress)}


def test_a_small_export_takes_eight_records_from_request_to_result(pipeline):
    pipeline.ask("r1", callback_urls=("http://hook/1",))
    kinds = [
        type(send.record).__name__ for send in pipeline.sent if send.topic != "export-progress"
    ]
    assert kinds == [
        "ExportStarted",
        "WriteRange",
        "ExportAssembled",
        "RequestSettled",
        "ExportStopped",
        "RequestConfirmed",
    ]  # with ExportRequested, RequestAdmitted, PackageAssembled: 8 up to RequestSettled
    result = pipeline.results["r1"]
    assert result.success
    assert result.status == "Completed"
    assert result.file_uri.startswith("http://here/downloads/")
    assert result.file_uri.endswith(result.package_name)
    assert (result.tiles.expected, result.tiles.written, result.tiles.missing) == (5, 4, 1)
    assert [row.url for row in pipeline.deliveries] == ["http://hook/1"]


def test_nothing_is_left_running_after_a_result(pipeline):
    pipeline.ask("r1")
    left = {table for table, _ in pipeline.rows}
    assert left == {"requests", "bodies", "exports", "layers", "results"}
    assert pipeline.registrar.state.reserved_bytes() == 0


def test_every_record_twice_gives_the_same_single_result(pipeline):
    pipeline.copies = 2
    pipeline.ask("r1")
    twice = dict(pipeline.results)
    other = type(pipeline)()
    other.ask("r1")
    assert twice.keys() == other.results.keys() == {"r1"}
    assert len({s.file_uri for s in pipeline.records(RequestSettled)}) == 1


def test_a_request_with_the_same_id_and_another_body_leaves_the_first_alone(pipeline):
    pipeline.ask("r1")
    pipeline.ask("r1", request_digest="another")
    assert len(pipeline.dead) == 1
    assert "r1" in pipeline.dead[0]
    assert pipeline.results["r1"].success


def test_a_second_caller_joins_a_running_export_and_gets_its_own_result(pipeline):
    pipeline.answers = False
    pipeline.ask("r1", client="a", bbox_json="[0,0,40,40]")
    pipeline.ask("r2", client="b", bbox_json="[0.5,0.5,39.5,39.5]", callback_urls=("http://b",))
    assert verdicts(pipeline) == {"r1": "Accepted", "r2": "Joined"}
    assert len(pipeline.records(ExportStarted)) == 1
    for order in pipeline.orders:
        pipeline.answer(order)
    pipeline.run()
    assert pipeline.results["r1"].bbox_json == "[0,0,40,40]"
    assert pipeline.results["r2"].bbox_json == "[0.5,0.5,39.5,39.5]"
    assert pipeline.results["r1"].sha256 == pipeline.results["r2"].sha256


def test_a_repeat_over_http_is_answered_by_the_first_and_its_new_webhook_is_added(pipeline):
    pipeline.answers = False
    pipeline.ask("r1", via_http=True, callback_urls=("http://a",))
    pipeline.ask("r2", via_http=True, callback_urls=("http://a", "http://b"))
    progress = pipeline.records(RequestProgress)[-1]
    assert (progress.verdict, progress.repeats) == ("Repeated", "r1")
    for order in pipeline.orders:
        pipeline.answer(order)
    pipeline.run()
    called = sorted((row.request_id, row.url) for row in pipeline.deliveries)
    assert called == [("r1", "http://a"), ("r1", "http://b")]
    assert pipeline.results.keys() == {"r1", "r2"}


def test_a_repeat_may_write_the_numbers_of_its_box_differently(pipeline):
    for number, text in enumerate(("[0,0,40,40]", "[0.0,0,40.0,40]")):
        pipeline.ask(f"r{number}", via_http=True, bbox_json=text)
    assert verdicts(pipeline)["r1"] == "Repeated"


def test_a_finished_package_answers_at_once_and_lives_longer(pipeline):
    first = pipeline.ask("r1", client="a")
    attempt = pipeline.rows["exports", first.export_id].attempt
    before = pipeline.rows["exports", first.export_id].expires_at_ms
    pipeline.now_ms += 3_600_000
    pipeline.ask("r2", client="b", packages=(attempt,), looked_at_ms=pipeline.now_ms)
    assert verdicts(pipeline)["r2"] == "Cached"
    assert len(pipeline.records(ExportStarted)) == 1
    assert pipeline.results["r2"].file_uri == pipeline.results["r1"].file_uri
    assert pipeline.rows["exports", first.export_id].expires_at_ms > before


def test_a_repeat_over_http_after_the_end_has_its_new_webhook_called_and_no_old_one(pipeline):
    first = pipeline.ask("r1", via_http=True, callback_urls=("http://a",))
    attempt = pipeline.rows["exports", first.export_id].attempt
    urls = ("http://a", "http://b")
    pipeline.ask("r2", via_http=True, callback_urls=urls, packages=(attempt,))
    assert verdicts(pipeline)["r2"] == "Repeated"
    assert [r.url for r in pipeline.records(RedeliveryAsked)] == ["http://a", "http://b"]
    assert sorted(row.url for row in pipeline.deliveries) == ["http://a", "http://b"]
    assert {row.request_id for row in pipeline.deliveries} == {"r1"}


def test_a_repeat_that_is_replayed_asks_for_its_webhooks_again(pipeline):
    """The sends of the first run may have died with the process; completion calls none twice."""
    first = pipeline.ask("r1", via_http=True, callback_urls=("http://a",))
    attempt = pipeline.rows["exports", first.export_id].attempt
    repeat = pipeline.admitted(
        "r2", via_http=True, callback_urls=("http://a", "http://b"), packages=(attempt,)
    )
    decision = pipeline.registrar.decide(repeat, InboxPosition(0, 99))
    pipeline.carry_out(pipeline.registrar, replace(decision, sends=()))
    pipeline.start()
    pipeline.feed("export-registry", "r2", repeat)
    called = sorted((row.request_id, row.url) for row in pipeline.deliveries)
    assert called == [("r1", "http://a"), ("r1", "http://b")]


def test_a_package_that_is_gone_is_made_again_under_another_attempt(pipeline):
    first = pipeline.ask("r1")
    attempt = pipeline.rows["exports", first.export_id].attempt
    pipeline.now_ms += 3_600_000
    pipeline.ask("r2", packages=(), looked_at_ms=pipeline.now_ms)
    starts = pipeline.records(ExportStarted)
    assert len(starts) == 2
    assert starts[1].attempt != attempt
    assert pipeline.results["r2"].package_name != pipeline.results["r1"].package_name


def test_a_package_too_young_to_have_been_seen_is_offered(pipeline):
    first = pipeline.ask("r1")
    row = pipeline.rows["exports", first.export_id]
    young = replace(row, finished_at_ms=pipeline.now_ms - 1_000)
    pipeline.rows["exports", first.export_id] = young
    pipeline.start()
    pipeline.ask("r2", packages=(), looked_at_ms=pipeline.now_ms)
    assert verdicts(pipeline)["r2"] == "Cached"


def test_a_failed_export_settles_every_caller_with_the_reason_and_can_start_again(pipeline):
    pipeline.answers = False
    first = pipeline.ask("r1")
    pipeline.ask("r2", client="b")
    attempt = pipeline.rows["exports", first.export_id].attempt
    failed = ExportFailed(first.export_id, attempt, pipeline.now_ms, "the disk is full")
    pipeline.feed("export-registry", first.export_id, failed)
    for request_id in ("r1", "r2"):
        result = pipeline.results[request_id]
        assert (result.success, result.status) == (False, "Failed")
        assert result.error_reason == "the disk is full"
        assert (result.file_uri, result.package_name) == ("", "")
    pipeline.now_ms += 1_000
    pipeline.ask("r3")
    assert len({s.attempt for s in pipeline.records(ExportStarted)}) == 2


def test_a_refused_request_gets_a_failed_result_with_the_reason(pipeline):
    refused = RequestRefused("r1", 5, "d", "a", "x", "[1]", None, ("http://a",), 400, "bbox is [1]")
    pipeline.feed("export-registry", "r1", refused)
    assert pipeline.results["r1"].error_reason == "bbox is [1]"
    assert pipeline.records(RequestProgress)[0].http_status == 400
    assert [row.url for row in pipeline.deliveries] == ["http://a"]


def test_two_requests_that_fit_alone_but_not_together_never_both_pass(pipeline):
    pipeline.answers = False
    need = sum(z.tiles for z in pipeline.admitted("x").tiles_by_zoom) * 12_500 * 5 // 4
    free = need + need // 2 + 64 * 1024 * 1024
    pipeline.ask("r1", free_bytes=free)
    pipeline.ask("r2", free_bytes=free, box=(-40.0, 0.0, 0.0, 40.0))
    assert verdicts(pipeline) == {"r1": "Accepted", "r2": "Refused"}
    refused = pipeline.records(RequestProgress)[-1]
    assert refused.http_status == 507
    assert str(free) in refused.reason


def test_mean_tile_sizes_are_learned_from_finished_exports(pipeline):
    pipeline.ask("r1")
    assert pipeline.registrar.state.mean_bytes(pipeline.admitted("x").layer_id, 3, 0) == 10_000


def test_exports_beyond_the_cap_wait_and_the_most_urgent_goes_first(pipeline):
    pipeline.answers = False
    pipeline.max_running = 1
    pipeline.start()
    boxes = {
        "r1": (0.0, 0.0, 9.0, 9.0),
        "low": (20.0, 0.0, 29.0, 9.0),
        "high": (40.0, 0.0, 49.0, 9),
    }
    for request_id, box in boxes.items():
        pipeline.ask(request_id, box=box, max_zoom=6, priority=5000 if request_id == "high" else 1)
    assert len(pipeline.records(ExportStarted)) == 1
    pipeline.answers = True
    pipeline.answer(pipeline.orders[0])
    pipeline.run()
    started = [s.priority for s in pipeline.records(ExportStarted)]
    assert started == [1, 5000, 1]
    assert pipeline.results.keys() == set(boxes)


def test_waiting_makes_urgent_so_that_nothing_starves(pipeline):
    pipeline.answers = False
    pipeline.max_running = 0
    pipeline.start()
    old = pipeline.ask("old", priority=0)
    pipeline.now_ms += 200_000
    pipeline.ask("new", priority=1000, box=(-40.0, 0.0, 0.0, 40.0))
    assert next(pipeline.registrar.state.waiting.in_order()) == old.export_id


def test_a_silent_attempt_is_started_again_under_the_same_number(pipeline):
    pipeline.answers = False
    pipeline.ask("r1")
    pipeline.rows = {
        k: row for k, row in pipeline.rows.items() if k[0] not in ("plans", "progress")
    }
    pipeline.start()
    pipeline.tick(31)
    starts = pipeline.records(ExportStarted)
    assert len(starts) == 2
    assert starts[0].attempt == starts[1].attempt


def test_a_lost_settlement_is_told_again_until_it_is_confirmed(pipeline):
    class Deaf:
        def decide(self, *_):
            from app.domain.decision import NOTHING

            return NOTHING

        def due_at_ms(self):
            return None

    completion = pipeline.inboxes["export-settlements"]
    pipeline.inboxes["export-settlements"] = Deaf()
    pipeline.ask("r1")
    assert pipeline.results == {}
    pipeline.inboxes["export-settlements"] = completion
    pipeline.tick(11)
    assert pipeline.results["r1"].success
    settled = pipeline.records(RequestSettled)
    assert settled[0] == settled[1]
    pipeline.tick(11)
    assert len(pipeline.records(RequestSettled)) == 2


@pytest.mark.parametrize("survived", range(1, 7))
def test_a_crash_after_any_row_is_completed_by_the_replay(pipeline, survived):
    """The rows that were stored before the crash stay; the record comes again."""
    pipeline.answers = False
    record = pipeline.ask("r1")
    pipeline.ask("r2", client="b")
    (order,) = pipeline.orders
    assert isinstance(order, WriteRange)
    ended = ExportAssembled(
        record.export_id, order.attempt, 9, PackageFacts("p.gpkg", "p.json", 1, "ab", 1, ())
    )
    decision = pipeline.registrar.decide(ended, InboxPosition(0, 99))
    pipeline.carry_out(
        pipeline.registrar, replace(decision, stores=decision.stores[:survived], sends=())
    )
    pipeline.start()
    pipeline.feed("export-registry", record.export_id, ended)
    assert pipeline.results.keys() == {"r1", "r2"}
    assert all(result.success for result in pipeline.results.values())
    assert pipeline.registrar.state.untold == {}


@pytest.mark.parametrize("survived", range(2))
def test_a_crash_within_a_confirmation_leaves_a_request_that_can_be_told_again(pipeline, survived):
    """Older records are replayed before the confirmation: they meet the rows as they are."""
    confirmations = []
    pipeline.inboxes["export-registry"] = Ears(pipeline.registrar, confirmations)
    pipeline.ask("r1")
    (confirmed,) = confirmations
    (assembled,) = pipeline.records(ExportAssembled)
    decision = pipeline.registrar.decide(confirmed, InboxPosition(0, 99))
    pipeline.carry_out(pipeline.registrar, replace(decision, stores=decision.stores[:survived]))
    pipeline.start()
    pipeline.feed("export-registry", assembled.export_id, assembled)
    pipeline.feed("export-registry", "r1", confirmed)
    assert pipeline.results["r1"].success
    assert pipeline.registrar.state.untold == {}


class Ears:
    """A registrar that hears of confirmations and does not act on them."""

    def __init__(self, registrar, heard):
        self.registrar = registrar
        self.heard = heard

    def decide(self, record, position):
        if isinstance(record, RequestConfirmed):
            self.heard.append(record)
            return NOTHING
        return self.registrar.decide(record, position)

    def apply(self, store):
        self.registrar.apply(store)


DAY_S = 24 * 3600


def refused(request_id, now_ms):
    return RequestRefused(request_id, now_ms, "d", "a", "x", "[1]", None, (), 400, "bbox is [1]")


def test_a_refused_request_is_forgotten_after_fourteen_days(pipeline):
    pipeline.feed("export-registry", "r1", refused("r1", pipeline.now_ms))
    pipeline.tick(13 * DAY_S)
    assert ("requests", "r1") in pipeline.rows
    pipeline.tick(2 * DAY_S)
    assert ("requests", "r1") not in pipeline.rows


@pytest.mark.parametrize("restarted", [False, True])
def test_a_request_is_known_while_its_package_stands_and_a_week_more(pipeline, restarted):
    pipeline.ask("r1")
    pipeline.tick(36 * DAY_S)
    if restarted:
        pipeline.start()
    assert ("requests", "r1") in pipeline.rows
    pipeline.tick(2 * DAY_S)
    assert {table for table, _ in pipeline.rows}.isdisjoint({"requests", "bodies", "exports"})


def test_a_request_that_is_told_again_after_its_result_has_its_large_area(pipeline):
    corners = ",".join(f"[{x / 100},0]" for x in range(300))
    polygon = f'{{"type":"Polygon","coordinates":[[[0,1],{corners},[0,1]]]}}'
    record = pipeline.ask("r1", bbox_json=polygon, description="the coast")
    pipeline.tick(6)
    assert pipeline.rows["bodies", "r1"].bbox_json is None
    pipeline.feed("export-registry", "r1", record)
    first, second = pipeline.records(RequestProgress)
    assert (second.bbox_json, second.description) == (polygon, "the coast")
    assert replace(first, at_ms=0) == replace(second, at_ms=0)


def test_what_a_caller_asked_for_is_told_with_its_request(pipeline):
    pipeline.ask(
        "r1",
        description="the coast",
        priority=7,
        on_error="skip",
        callback_urls=("http://a",),
    )
    told = pipeline.records(RequestProgress)[0]
    assert (told.description, told.priority, told.on_error) == ("the coast", 7, "skip")
    assert (told.min_zoom, told.max_zoom, told.callback_urls) == (0, 3, ("http://a",))


def test_an_export_is_told_with_its_times_its_phase_and_its_package(pipeline):
    pipeline.answers = False
    record = pipeline.ask("r1", client="ann")
    told = pipeline.records(ExportProgress)[-1]
    assert (told.client, told.queued_at_ms, told.started_at_ms) == ("ann", *[pipeline.now_ms] * 2)
    assert (told.phase, told.min_zoom, told.max_zoom, told.finished_at_ms) == ("writing", 0, 3, 0)
    beat = ExportBeat(record.export_id, told.attempt, pipeline.now_ms, "assembling", 5, 1, 9)
    pipeline.feed("export-registry", record.export_id, beat)
    assert pipeline.records(ExportProgress)[-1].phase == "assembling"
    for order in pipeline.orders:
        pipeline.answer(order)
    pipeline.run()
    told = pipeline.records(ExportProgress)[-1]
    assert (told.state, told.phase, told.file_bytes) == ("Completed", "", 4096)
    assert told.package_name == pipeline.results["r1"].package_name


def test_tiles_that_were_left_out_are_told_apart_from_those_that_the_source_lacks(pipeline):
    pipeline.answers = False
    record = pipeline.ask("r1", on_error="skip")
    (order,) = pipeline.orders
    counts = (ZoomCounts(0, 2, 2, 0, 0, 200), ZoomCounts(3, 20, 11, 2, 7, 1100))
    facts = PackageFacts("p.gpkg", "p.json", 1, "ab", pipeline.now_ms, counts)
    ended = ExportAssembled(record.export_id, order.attempt, pipeline.now_ms, facts)
    pipeline.feed("export-registry", record.export_id, ended)
    told = pipeline.records(ExportProgress)[-1]
    assert (told.tiles_done, told.tiles_missing) == (22, 2)
    assert (pipeline.results["r1"].tiles.written, pipeline.results["r1"].tiles.missing) == (13, 9)


# --- limits of a client

ELSEWHERE = ((-40.0, 0.0, 0.0, 40.0), (0.0, -40.0, 40.0, 0.0), (60.0, 0.0, 80.0, 40.0))


@pytest.fixture
def limited(pipeline):
    pipeline.limits = ClientLimits(
        max_requests_per_minute=3, max_live_exports=2, max_export_bytes=10_000_000
    )
    pipeline.answers = False
    pipeline.start()
    return pipeline


def refusals(pipeline):
    told = pipeline.records(RequestProgress)
    return {t.request_id: (t.http_status, t.reason) for t in told if t.verdict == "Refused"}


def test_a_client_has_so_many_exports_at_a_time_and_others_have_theirs(limited):
    limited.ask("r1")
    limited.ask("r2", box=ELSEWHERE[0])
    limited.now_ms += 61_000
    limited.ask("r3", box=ELSEWHERE[1])
    limited.ask("other", box=ELSEWHERE[2], client="b")
    reason = "client 'anonymous' has 2 exports that wait or run; max_live_exports_per_client is 2"
    assert refusals(limited) == {"r3": (429, reason)}
    assert limited.results["r3"].error_reason == reason
    limited.ask("joins", client="anonymous")
    assert verdicts(limited)["joins"] == "Joined"


@pytest.mark.parametrize("restarted", [False, True])
def test_an_export_that_ended_makes_room_for_another(limited, restarted):
    limited.answers = True
    for number, box in enumerate(ELSEWHERE):
        limited.ask(f"r{number}", box=box)
    if restarted:
        limited.start()
    assert not refusals(limited)
    assert not limited.registrar.state.live_by_client


@pytest.mark.parametrize("restarted", [False, True])
def test_a_client_sends_so_many_requests_a_minute_by_kafka(limited, restarted):
    for number in range(3):
        limited.ask(f"r{number}")
    if restarted:
        limited.start()
    record = limited.ask("r3")
    limited.feed("export-registry", "r3", record)  # a replay is the same request
    limited.ask("other", client="b")
    assert refusals(limited) == {
        "r3": (
            429,
            "client 'anonymous' has sent 3 requests within a minute; max_requests_per_minute is 3",
        )
    }
    limited.now_ms += 60_000
    limited.ask("r4")
    assert verdicts(limited)["r4"] == "Joined"


def test_what_the_ingress_has_counted_and_accepted_is_not_refused_for_its_number(limited):
    for number in range(5):
        limited.ask(f"r{number}", via_http=True, bbox_json=f"[{number}]")
    assert not refusals(limited)


def test_an_export_beyond_the_largest_size_is_refused_with_both_sizes(limited):
    limited.ask("r1", max_zoom=8)
    ((status, reason),) = refusals(limited).values()
    assert status == 413
    assert reason.endswith("max_export_bytes is 10000000")


# --- places

GIANT = {"max_zoom": 8}
SMALL = {"max_zoom": 4}


@pytest.fixture
def busy(pipeline):
    """One place, which a giant has taken, and one spare place."""
    pipeline.max_running, pipeline.spare_running, pipeline.answers = 1, 1, False
    pipeline.start()
    pipeline.ask("giant", **GIANT)
    return pipeline


def running(pipeline):
    return set(pipeline.registrar.state.running)


def test_a_small_export_does_not_wait_for_a_giant_that_runs(busy):
    small = busy.ask("small", client="b", box=ELSEWHERE[0], **SMALL)
    assert small.export_id in running(busy)


def test_a_second_giant_does_wait(busy):
    other = busy.ask("other", client="b", box=ELSEWHERE[0], **GIANT)
    assert other.export_id not in running(busy)
    assert busy.registrar.due_at_ms() > busy.now_ms


def test_a_spare_place_that_gets_free_goes_to_the_next_small_one_before_a_giant_that_waits(busy):
    small = busy.ask("s1", client="b", box=ELSEWHERE[0], **SMALL)
    giant = busy.ask("g2", client="c", box=ELSEWHERE[1], priority=9_000, **GIANT)
    second = busy.ask("s2", client="d", box=ELSEWHERE[2], **SMALL)
    assert second.export_id not in running(busy)
    (order,) = [known for known in busy.orders if known.export_id == small.export_id]
    busy.answer(order)
    busy.run()
    assert second.export_id in running(busy)
    assert giant.export_id not in running(busy)


def test_clients_take_turns_after_a_restart_too(pipeline):
    pipeline.max_running, pipeline.answers = 1, False
    pipeline.start()
    boxes = [(10.0 * number, 0.0, 10.0 * number + 5, 5.0) for number in range(6)]
    for number, box in enumerate(boxes[:4]):
        pipeline.ask(f"a{number}", client="ann", box=box, max_zoom=6)
    pipeline.now_ms += 5_000
    last = pipeline.ask("b", client="bob", box=boxes[4], max_zoom=6)
    pipeline.start()
    for _ in range(2):
        pipeline.now_ms += 5_000
        pipeline.answer(pipeline.orders[-1])
        pipeline.run()
    starts = [known.export_id for known in pipeline.records(ExportStarted)]
    assert starts.index(last.export_id) == 2


def test_before_a_small_export_only_a_window_of_each_running_giant_is_ordered(busy):
    small = busy.ask("small", client="b", box=ELSEWHERE[0], priority=9_000, **SMALL)
    ordered = [known.export_id for known in busy.orders if isinstance(known, WriteRange)]
    assert ordered.index(small.export_id) == WINDOW
    assert len(ordered) == WINDOW + 1
