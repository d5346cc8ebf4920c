"""What is told of one export: counts, rates, times, words."""

import json

import pytest

from app.domain.package_facts import ZoomCounts
from app.domain.records import ProgressChange
from app.ingress.bbox_memory import BboxMemory, bounds_of
from app.ingress.export_answers import Export, ExportListed
from app.ingress.export_body import export_body
from app.ingress.view import IngressView

NOW_MS = 20_000
EXPORT = "e" * 64


@pytest.fixture
def view() -> IngressView:
    return IngressView()


def body(view, request_id="r", *, whole=True, now_ms=NOW_MS):
    told = export_body(view, request_id, now_ms=now_ms, whole=whole)
    (Export if whole else ExportListed).model_validate(told)
    return told


def test_what_nobody_has_spoken_of_is_not_told(view, say, told):
    told(view, say.result("r"))
    assert export_body(view, "r", now_ms=NOW_MS, whole=True) is None


def test_a_running_export_tells_counts_rate_and_what_is_left(view, say, told):
    told(view, say.request("r", description="d", min_zoom=3, max_zoom=9, retry_of="q"))
    told(view, say.export(done=40, tiles_missing=4, tiles_per_s=10.0, phase="writing",
                          bytes_written=7, started_at_ms=5_000))  # fmt: skip
    one = body(view)
    assert one["tiles"] == {"expected": 100, "written": 36, "missing": 4, "failed": 0}
    assert one["bytes"] == {"written": 7, "estimated": 1_000}
    assert (one["percentage"], one["tilesPerSecond"], one["etaSeconds"]) == (40, 10.0, 7)
    assert (one["phase"], one["startedAt"]) == ("writing", "1970-01-01T00:00:05.000Z")
    assert (one["zoom"], one["minZoom"], one["description"], one["retryOf"]) == (9, 3, "d", "q")
    assert (one["bbox"], one["bounds"]) == ([1, 2, 3, 4], [1, 2, 3, 4])
    assert one["queuePosition"] is None


def test_without_a_rate_the_mean_since_the_start_tells_what_is_left(view, say, told):
    told(view, say.request("r"), say.export(done=50, started_at_ms=10_000))
    assert body(view)["etaSeconds"] == 11
    told(view, say.export(done=0, started_at_ms=10_000))
    assert body(view)["etaSeconds"] is None


def test_a_waiting_export_tells_its_place_by_priority_and_waiting_time(view, say, told):
    for name, priority, queued_at_ms in (("a", 0, 100), ("b", 0, 0), ("c", 2_000, 140_000)):
        told(view, say.request(name, export_id=name))
        told(view, say.export("Pending", export_id=name, priority=priority,
                              queued_at_ms=queued_at_ms))  # fmt: skip
    assert [body(view, name)["queuePosition"] for name in "abc"] == [3, 2, 1]
    told(view, say.export("In-Progress", export_id="c"))
    assert [body(view, name)["queuePosition"] for name in "abc"] == [2, 1, None]


def test_a_finished_export_tells_its_result_with_the_callers_area(view, say, told):
    counts = (ZoomCounts(0, 100, 97, 1, 2, 970),)
    changes = (ProgressChange(900, "Pending"), ProgressChange(5_000, "In-Progress"),
               ProgressChange(9_000, "Completed"))  # fmt: skip
    told(view, say.request("r"), say.result("r"))
    told(view, say.export("Completed", done=100, tiles_missing=1, learned=counts, changes=changes))
    one = body(view)
    assert (one["status"], one["percentage"]) == ("Completed", 100)
    assert one["tiles"] == {"expected": 100, "written": 97, "missing": 1, "failed": 2}
    assert one["result"]["bbox"] == [1, 2, 3, 4]
    assert one["history"] == [
        {"at": "1970-01-01T00:00:01.000Z", "status": "Pending"},
        {"at": "1970-01-01T00:00:05.000Z", "status": "In-Progress"},
        {"at": "1970-01-01T00:00:09.000Z", "status": "Completed"},
    ]
    listed = body(view, whole=False)
    assert listed["fileUri"] == one["result"]["fileUri"]
    assert not {"bbox", "history", "result"} & set(listed)


def test_a_request_that_joined_sees_the_history_from_its_own_start_on(view, say, told):
    changes = (ProgressChange(500, "Pending"), ProgressChange(700, "In-Progress"),
               ProgressChange(9_500, "Completed"))  # fmt: skip
    told(view, say.request("r", verdict="Joined"), say.export(done=3, changes=changes))
    assert body(view)["isDuplicated"]
    at = "1970-01-01T00:00:01.000Z"
    begun = [{"at": at, "status": "Pending"}, {"at": at, "status": "In-Progress"}]
    assert body(view)["history"] == begun
    told(view, say.result("r", "Aborted"))
    ended = {"at": "1970-01-01T00:00:09.000Z", "status": "Aborted"}
    assert body(view)["history"] == [*begun, ended]


def test_an_answer_from_an_earlier_package_ends_as_it_comes(view, say, told):
    changes = (ProgressChange(500, "Pending"), ProgressChange(700, "In-Progress"),
               ProgressChange(9_000, "Completed"))  # fmt: skip
    told(view, say.request("r", 15_000, verdict="Cached"), say.result("r"))
    told(view, say.export("Completed", done=100, changes=changes))
    at = "1970-01-01T00:00:15.000Z"
    assert body(view)["history"] == [
        {"at": at, "status": "Pending"},
        {"at": at, "status": "Completed"},
    ]


ENDED = {
    "Completed": (("Completed", 9_000), ("Expired", 11_000)),
    "Failed": (("Failed", 9_000),),
    "Aborted": (("Aborted", 9_000),),
}


@pytest.mark.parametrize("status", ENDED)
@pytest.mark.parametrize("is_made_again", [False, True])
def test_what_was_told_of_an_ended_export_stays_told_when_it_is_forgotten(
    view, say, told, status, is_made_again
):
    lived = (ProgressChange(1_000, "Pending"), ProgressChange(5_000, "In-Progress"))
    ended = tuple(ProgressChange(at_ms, state) for state, at_ms in ENDED[status])
    told(view, say.request("r"), say.result("r", status))
    told(view, say.export(ended[-1].state, done=60, tiles_missing=3, bytes_written=7,
                          expires_at_ms=86_400_000, changes=(*lived, *ended)))  # fmt: skip
    before = body(view)
    assert [one["status"] for one in before["history"]] == [
        change.state for change in (*lived, *ended)
    ]
    view.forget_progress(EXPORT)
    if is_made_again:
        told(view, say.export("Pending", attempt="", queued_at_ms=12_000))
    assert body(view) == before


def test_what_nobody_knows_any_more_is_null_and_the_rest_stays(view, say, told):
    told(view, say.request("r"), say.result("r", expiration_time="1970-01-01T00:00:19.000Z"))
    one = body(view)
    assert [change["status"] for change in one["history"]] == ["Pending", "Completed", "Expired"]
    assert one["expirationTime"] == one["history"][-1]["at"] == "1970-01-01T00:00:19.000Z"
    assert one["tiles"] == {"expected": 100, "written": 97, "missing": 3, "failed": 0}
    assert (one["bytes"], one["attempt"]) == (
        {"written": None, "estimated": None},
        "1795404000000-17",
    )
    told(view, say.request("s"), say.result("s", "Failed"))
    assert set(body(view, "s")["tiles"].values()) == {None}


def test_a_package_that_one_of_its_holders_deleted_went_then(view, say, told):
    told(view, say.request("r"), say.result("r"), say.request("s"), say.result("s"))
    told(view, say.export("Completed", done=100, expires_at_ms=86_400_000))
    told(view, say.request("r", deleted=True, at_ms=12_000))
    gone = {"at": "1970-01-01T00:00:12.000Z", "status": "Expired"}
    assert (body(view)["history"][-1], body(view)["expirationTime"]) == (gone, gone["at"])
    assert body(view, "s")["history"][-1]["status"] == "Completed"


def test_tiles_that_could_not_be_read_are_not_told_as_none(view, say, told):
    told(view, say.request("r"), say.export("Failed", done=30, tiles_missing=2))
    told(view, say.result("r", "Failed"))
    assert body(view)["tiles"] == {"expected": 100, "written": 28, "missing": 2, "failed": None}
    told(view, say.request("s", on_error="skip", export_id="f" * 64))
    told(view, say.export(done=30, export_id="f" * 64))
    assert body(view, "s")["tiles"]["failed"] is None


def test_a_failure_is_told_in_words(view, say, told):
    told(view, say.request("r"), say.export("Failed", done=30), say.result("r", "Failed"))
    one = body(view)
    assert (one["status"], one["errorReason"]) == ("Failed", "no space left")
    assert (one["result"]["success"], one["expirationTime"]) == (False, None)
    assert body(view, whole=False)["fileUri"] is None


def test_a_package_that_is_gone_is_expired(view, say, told):
    told(view, say.request("r"), say.result("r"), say.export("Completed", done=100))
    assert body(view)["status"] == "Completed"
    told(view, say.export("In-Progress", attempt="1795404999999-99"))
    assert body(view)["status"] == "Expired"
    told(view, say.export("Completed", done=100))
    assert body(view)["status"] == "Completed"
    view.forget_progress(EXPORT)
    assert body(view)["status"] == "Expired"


def test_a_package_that_its_caller_deleted_is_expired_for_that_caller_only(view, say, told):
    told(view, say.request("r"), say.result("r"), say.request("s"), say.result("s"))
    told(view, say.export("Completed", done=100), say.request("r", deleted=True))
    assert [body(view, name)["status"] for name in "rs"] == ["Expired", "Completed"]


def test_an_expired_export_says_when(view, say, told):
    changes = (ProgressChange(11_000, "Expired"),)
    told(view, say.request("r"), say.result("r"))
    told(view, say.export("Expired", done=100, changes=changes))
    assert body(view)["history"][-1] == {"at": "1970-01-01T00:00:11.000Z", "status": "Expired"}


def test_extending_and_pinning_are_told_by_the_exports_own_record(view, say, told):
    told(view, say.request("r"), say.result("r"))
    told(view, say.export("Completed", done=100, expires_at_ms=86_400_000 * 60))
    assert body(view)["expirationTime"] == "1970-03-02T00:00:00.000Z"
    assert body(view, now_ms=86_400_000 * 59)["status"] == "Completed"
    assert body(view, now_ms=86_400_000 * 60)["status"] == "Expired"
    told(view, say.export("Completed", done=100, expires_at_ms=1, pinned=True))
    assert (body(view)["status"], body(view)["pinned"]) == ("Completed", False)
    told(view, say.request("r", pinned=True))
    assert body(view)["pinned"]


def test_space_is_reserved_for_what_live_exports_still_write(view, say, told):
    told(view, say.export("Pending", export_id="a"), say.export(export_id="b", bytes_written=250))
    assert view.reserved_bytes == 1_250 + 1_000
    told(view, say.export("Completed", export_id="a"))
    assert view.reserved_bytes == 1_000
    view.forget_progress("b")
    assert view.reserved_bytes == 0


def test_large_areas_are_kept_compressed_and_the_oldest_dropped():
    large = json.dumps({"type": "Polygon", "coordinates": [[[i / 7, i / 9] for i in range(5_000)]]})
    memory = BboxMemory(budget_bytes=100_000)
    memory.put("small", "[1,2,3,4]")
    for number in range(5):
        memory.put(f"large{number}", large)
        memory.put(f"large{number}", large)
    assert memory.large_bytes <= 100_000
    assert memory.get("large4") == large
    assert memory.get("large0") is None
    assert memory.get("small") == "[1,2,3,4]"
    memory.drop("large4")
    memory.drop("large3")
    memory.put("small", None)
    assert memory.get("small") is None
    assert memory.large_bytes >= 0


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        (None, None),
        ("[170,-10,-170,10]", (170, -10, -170, 10)),
        ("[1,2]", None),
        ("{", None),
        ('{"type":"Polygon","coordinates":[[[1,2,9],[3,2,9],[3,4,9],[1,2,9]]]}', (1, 2, 3, 4)),
        ('{"features":[{"geometry":{"coordinates":[[[0,0],[5,6]]]}}]}', (0, 0, 5, 6)),
    ],
)
def test_the_box_around_any_area_is_told(text, bounds):
    assert bounds_of(text) == bounds
