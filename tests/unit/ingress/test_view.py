"""The view: what is told of a request, from the records alone."""

import asyncio

import pytest

from app.domain.records import ExportFinished, ExportProgress, RequestProgress, TilesTold
from app.ingress.view import IngressView, TaskStatus

EXPORT = "e" * 64
NOW_MS = 1_795_404_000_000
LATER = "2026-12-23T03:20:00.000Z"
EARLIER = "2026-10-23T03:20:00.000Z"


def said(request_id: str, verdict: str = "Accepted", **changes) -> RequestProgress:
    fields = {
        "request_id": request_id,
        "at_ms": 1,
        "client": "anonymous",
        "layer_id": "l",
        "bbox_json": None,
        "target_resolution_deg": None,
        "accepted_at_ms": 1,
        "verdict": verdict,
        "http_status": 200,
        "reason": None,
        "export_id": EXPORT,
        "repeats": None,
    }
    return RequestProgress(**fields | changes)


def ran(done: int, expected: int = 18, state: str = "In-Progress", **changes) -> ExportProgress:
    fields = {
        "export_id": EXPORT,
        "at_ms": 1,
        "attempt": "1-1",
        "state": state,
        "layer_id": "l",
        "priority": 1000,
        "tiles_expected": expected,
        "tiles_done": done,
        "tiles_missing": 0,
        "bytes_written": 0,
        "tiles_per_s": 0.0,
        "estimated_bytes": 1,
        "expires_at_ms": 0,
        "pinned": False,
        "reason": None,
        "changes": (),
        "learned": (),
    }
    return ExportProgress(**fields | changes)


def ended(request_id: str, status: str = "Completed", **changes) -> ExportFinished:
    success = status == "Completed"
    fields = {
        "request_id": request_id,
        "layer_id": "l",
        "success": success,
        "status": status,
        "error_reason": None if success else "no space left",
        "bbox_json": "[1,2,3,4]",
        "target_resolution_deg": None,
        "package_name": "p.gpkg" if success else "",
        "file_uri": f"http://x/downloads/{EXPORT}/1-1/p.gpkg" if success else "",
        "metadata_uri": "",
        "file_bytes": 1,
        "sha256": "",
        "tiles": TilesTold(18, 18, 0),
        "expiration_time": LATER if success else "",
        "finished_at": "2026-11-23T03:20:00.000Z",
    }
    return ExportFinished(**fields | changes)


@pytest.fixture
def view() -> IngressView:
    return IngressView()


def status(view: IngressView, request_id: str = "r") -> TaskStatus | None:
    return view.task_status(request_id, now_ms=NOW_MS)


def test_a_request_that_nobody_has_spoken_of_is_unknown(view):
    assert status(view) is None
    view.export_progressed(ran(1))
    assert status(view) is None


def test_an_accepted_request_is_pending_until_its_export_runs(view):
    view.request_progressed(said("r"))
    assert status(view) == TaskStatus(0, "Pending")
    view.export_progressed(ran(0, state="Pending"))
    assert status(view) == TaskStatus(0, "Pending")
    view.export_progressed(ran(9))
    assert status(view) == TaskStatus(50, "In-Progress")


def test_all_tiles_done_is_99_percent_until_the_result_stands(view):
    view.request_progressed(said("r"))
    view.export_progressed(ran(18, state="Completed"))
    assert status(view) == TaskStatus(99, "In-Progress")
    view.export_finished(ended("r"))
    assert status(view) == TaskStatus(100, "Completed")


def test_the_percentage_never_goes_back_though_an_attempt_starts_again(view):
    view.request_progressed(said("r"))
    view.export_progressed(ran(9))
    assert status(view) == TaskStatus(50, "In-Progress")
    view.export_progressed(ran(1, attempt="2-2"))
    assert status(view) == TaskStatus(50, "In-Progress")
    view.request_progressed(said("r"))
    assert status(view) == TaskStatus(50, "In-Progress")
    view.export_progressed(ran(12, attempt="2-2"))
    assert status(view) == TaskStatus(66, "In-Progress")


def test_a_failed_request_keeps_its_last_percentage(view):
    view.request_progressed(said("r"))
    view.export_progressed(ran(9))
    view.export_finished(ended("r", "Failed"))
    assert status(view) == TaskStatus(50, "Failed", ended("r", "Failed").error_reason)


def test_an_aborted_request_says_so(view):
    view.export_finished(ended("r", "Aborted"))
    assert status(view) == TaskStatus(0, "Aborted", ended("r", "Aborted").error_reason)


def test_a_refused_request_has_failed(view):
    view.request_progressed(said("r", "Refused", export_id=None, http_status=507))
    assert status(view) == TaskStatus(0, "Failed", said("r", "Refused", http_status=507).reason)


def test_a_result_counts_without_any_progress(view):
    view.export_finished(ended("r"))
    assert status(view) == TaskStatus(100, "Completed")


def test_a_repeat_follows_the_request_that_it_repeats(view):
    view.request_progressed(said("first"))
    view.export_progressed(ran(9))
    view.request_progressed(said("again", "Repeated", repeats="first"))
    assert status(view, "again") == TaskStatus(50, "In-Progress")
    view.export_finished(ended("first"))
    assert status(view, "again") == TaskStatus(100, "Completed")


def test_repeats_that_point_at_each_other_end(view):
    view.request_progressed(said("a", "Repeated", repeats="b"))
    view.request_progressed(said("b", "Repeated", repeats="a"))
    assert status(view, "a") is not None


def test_a_package_past_its_time_is_expired(view):
    view.export_finished(ended("r", expiration_time=EARLIER))
    assert status(view) == TaskStatus(100, "Expired")


def test_a_package_that_a_later_request_extended_is_not_expired(view):
    view.request_progressed(said("r"))
    view.export_finished(ended("r", expiration_time=EARLIER))
    view.export_progressed(ran(18, state="Completed", expires_at_ms=NOW_MS + 1))
    assert status(view) == TaskStatus(100, "Completed")
    view.export_progressed(ran(18, state="Completed", expires_at_ms=NOW_MS))
    assert status(view) == TaskStatus(100, "Expired")


def test_a_pinned_package_does_not_expire(view):
    view.request_progressed(said("r"))
    view.export_finished(ended("r", expiration_time=EARLIER))
    view.export_progressed(ran(18, state="Completed", pinned=True))
    assert status(view) == TaskStatus(100, "Completed")


def test_a_newer_attempt_does_not_extend_the_package_of_the_old_one(view):
    view.request_progressed(said("r"))
    view.export_finished(ended("r", expiration_time=EARLIER))
    view.export_progressed(ran(0, attempt="2-2", expires_at_ms=NOW_MS + 1))
    assert status(view) == TaskStatus(100, "Expired")


def test_tombstones_are_forgotten(view):
    view.request_progressed(said("r"))
    view.export_finished(ended("r"))
    view.forget_result("r")
    assert status(view) == TaskStatus(0, "Pending")
    view.forget_progress("r")
    assert status(view) is None
    view.forget_progress("never heard of")
    view.forget_result("never heard of")


def test_results_are_kept_without_the_callers_bbox(view):
    view.export_finished(ended("r", bbox_json="[" + "1," * 100_000 + "1]"))
    assert view.result("r").bbox_json is None


async def test_who_waits_is_woken_by_a_record_of_that_request(view):
    waiting = asyncio.create_task(view.wait_for("r", lambda: view.verdict("r"), 5))
    other = asyncio.create_task(view.wait_for("s", lambda: view.verdict("s"), 0.05))
    await asyncio.sleep(0)
    view.request_progressed(said("r"))
    assert (await waiting).verdict == "Accepted"
    assert await other is None


async def test_waiting_goes_on_until_there_is_what_was_looked_for(view):
    waiting = asyncio.create_task(view.wait_for("r", lambda: view.result("r"), 5))
    await asyncio.sleep(0)
    view.request_progressed(said("r"))
    await asyncio.sleep(0)
    assert not waiting.done()
    view.export_finished(ended("r"))
    assert (await waiting).success


async def test_what_is_there_already_needs_no_waiting(view):
    view.request_progressed(said("r"))
    assert await view.wait_for("r", lambda: view.verdict("r"), 0) is not None


async def test_those_who_gave_up_leave_nothing_behind(view):
    assert await view.wait_for("r", lambda: view.verdict("r"), 0.01) is None
    assert await view.wait_for("r", lambda: view.verdict("r"), -1) is None
    assert view._waiting == {}


def test_an_area_that_is_too_large_to_be_told_again_is_remembered(view):
    view.request_progressed(said("r", bbox_json="[1,2,3,4]"))
    view.request_progressed(said("r", deleted=True, area_omitted=True))
    assert view.verdict("r").bounds == (1, 2, 3, 4)
    assert view.areas.get("r") == "[1,2,3,4]"
