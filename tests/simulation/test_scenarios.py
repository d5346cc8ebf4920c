"""Stories, one for each rule of design.md that exists: every promise is judged in each of them."""

from dataclasses import replace
from itertools import product

import pytest

from app.domain.records import (
    AdoptShards,
    AssemblePackage,
    ExportAssembled,
    ExportCommanded,
    ExportFailed,
    ExportStarted,
    ExportStopped,
    FilesRemoved,
    PackageAssembled,
    RangesMissing,
    RangeWritten,
    RemoveAttempt,
    RequestAdmitted,
    RequestConfirmed,
    RequestProgress,
    RequestSettled,
    ShardsAdopted,
    WriteRange,
)
from app.domain.topic_names import (
    EXPORT_PLANS,
    EXPORT_REGISTRY,
    EXPORT_SETTLEMENTS,
)
from app.planning.plan import WINDOW
from tests.simulation.asked import ONE_RANGE, SEVEN_RANGES, TWO_RANGES
from tests.simulation.scene import Scene
from tests.simulation.schedule import Asking
from tests.simulation.violation import Violation

URLS = ("http://a", "http://b")
R1 = Asking(0, "r1", TWO_RANGES, urls=URLS)
SMALL = Asking(0, "r1", ONE_RANGE)
LARGE = Asking(0, "r1", SEVEN_RANGES)


def verdicts(scene):
    return {record.request_id: record.verdict for record in scene.records(RequestProgress)}


@pytest.mark.parametrize("after_ms", range(0, 60, 3))
def test_a_join_in_the_moment_an_export_settles_gets_its_result(after_ms):
    scene = Scene(R1, seed=after_ms)
    late = Asking(0, "r2", TWO_RANGES, client="b", urls=("http://c",))

    def ask_soon(_record):
        scene.world.after(after_ms, lambda: scene.world.ask(late))

    scene.when(PackageAssembled, ask_soon).play()
    assert verdicts(scene)["r2"] in ("Joined", "Cached")
    assert scene.results["r2"].file_uri == scene.results["r1"].file_uri
    assert len({record.attempt for record in scene.records(ExportStarted)}) == 1


@pytest.mark.parametrize("kind", [RangeWritten, ExportFailed, ExportStarted, ExportStopped])
@pytest.mark.parametrize("seed", range(6))
def test_records_of_an_old_attempt_after_the_same_export_started_again_change_nothing(kind, seed):
    scene = Scene(LARGE, Asking(3_000, "r2", SEVEN_RANGES, client="b"), seed=seed)
    scene.when(RangeWritten, lambda _: scene.world.strike_next("disk-full", 2_000), nth=3)

    def old_records_come(record):
        if len({started.attempt for started in scene.records(ExportStarted)}) > 1:
            topic = EXPORT_REGISTRY if kind is ExportFailed else EXPORT_PLANS
            old = [known for known in scene.records(kind) if known.attempt != record.attempt]
            scene.again(old, topic, record.export_id)

    scene.when(WriteRange, old_records_come, nth=0).play()
    assert not scene.results["r1"].success
    assert scene.results["r2"].success


@pytest.mark.parametrize("moment", range(1, 24))
def test_a_frozen_registrar_that_wakes_after_a_join_changes_nothing(moment):
    scene = Scene(R1, seed=moment)
    joins = Asking(0, "r2", TWO_RANGES, client="b")

    def freeze(_record):
        scene.world.strike_next("freeze", 40_000, after=moment)
        scene.world.after(20_000, lambda: scene.world.ask(joins))

    scene.when(ExportAssembled, freeze).play()
    assert scene.results.keys() == {"r1", "r2"}
    assert any("goes on, fenced" in line for line in scene.trace)


@pytest.mark.parametrize("moment", range(1, 12))
def test_a_completion_that_wakes_within_its_result_repeats_it_byte_for_byte(moment):
    scene = Scene(R1, seed=moment)
    scene.when(
        RequestSettled, lambda _: scene.world.strike_next("freeze", 40_000, after=moment)
    ).play()
    assert scene.results["r1"].success


def test_a_lost_settlement_is_told_again():
    scene = Scene(R1).lose(RequestSettled).play()
    first, second = scene.records(RequestSettled)[:2]
    assert first == second
    assert scene.results["r1"].success


def test_a_lost_confirmation_is_asked_for_again():
    scene = Scene(R1).lose(RequestConfirmed).play()
    assert len(scene.records(RequestConfirmed)) == 2


@pytest.mark.parametrize("kind", [ExportStarted, PackageAssembled, ExportAssembled, ExportStopped])
def test_a_lost_record_of_an_export_is_healed(kind):
    scene = Scene(R1).lose(kind).play()
    assert scene.results["r1"].success
    assert len(scene.records(kind)) > 1


def test_every_range_order_may_be_lost_once():
    scene, lost = Scene(LARGE, lease_ms=8_000), set()

    def lose_first_of_each(order):
        scene.world.broker.lose_next = int(order.range_number not in lost)
        lost.add(order.range_number)

    scene.when(WriteRange, lose_first_of_each, nth=0).play()
    assert scene.results["r1"].success


def test_a_package_that_is_gone_when_asked_for_is_made_again_under_another_name():
    scene = Scene(R1, Asking(100_000, "r2", TWO_RANGES, client="b"))
    scene.when(RequestConfirmed, lambda _: scene.world.strike_next("gone")).play()
    first, second = scene.results["r1"], scene.results["r2"]
    assert first.success
    assert second.success
    assert first.package_name != second.package_name


def test_the_worker_of_a_single_range_dies_between_publishing_and_reporting():
    scene = Scene(SMALL).lose(PackageAssembled)
    scene.when(PackageAssembled, lambda _: scene.world.strike_next("kill")).play()
    assert scene.results["r1"].success
    assert scene.world.disk.commits == 1  # the package is read and told, not made again
    reports = scene.records(PackageAssembled)
    assert len(reports) > 1
    assert len({report.facts for report in reports}) == 1


def test_the_ranges_of_a_lost_shard_are_written_again():
    scene = Scene(LARGE)

    def lose_shard(_record):
        (folder,) = scene.world.disk.folders.values()
        for shard in folder.shards:
            shard.lost = True
        folder.shards = []

    scene.when(AssemblePackage, lose_shard).play()
    assert scene.records(RangesMissing)
    assert scene.results["r1"].success
    assert scene.world.disk.commits == 14


@pytest.mark.parametrize("asking", [SMALL, R1, LARGE])
def test_a_storm_of_duplicates_does_not_breed(asking):
    plain = Scene(asking).play()
    scene = Scene(asking)

    def come_three_times(record):
        scene.again([record, record], EXPORT_PLANS, record.export_id)

    scene.when(RangeWritten, come_three_times, nth=0)
    scene.when(PackageAssembled, come_three_times, nth=0).play()
    orders, plainly = scene.records(WriteRange), plain.records(WriteRange)
    assert len(orders) == len(plainly)
    assert scene.world.disk.commits == plain.world.disk.commits


def test_two_settlements_of_a_request_give_its_first_result():
    scene = Scene(R1)

    def another(record):
        late = replace(record, file_uri="http://elsewhere", status="Failed", facts=None)
        scene.world.after(5_000, lambda: scene.again([late], EXPORT_SETTLEMENTS, "r1"))

    scene.when(RequestSettled, another).play()
    assert scene.results["r1"].success


def test_a_repeat_whose_answer_dies_with_the_registrar_still_calls_its_new_webhook():
    scene = Scene(
        Asking(0, "r1", TWO_RANGES, via_http=True, urls=("http://a",)),
        Asking(5_000, "r2", TWO_RANGES, via_http=True, urls=("http://a", "http://new")),
    )

    def die_before_sending(record):
        told = [known for known in scene.records(RequestProgress) if known.request_id == "r2"]
        if record.request_id == "r2" and len(told) == 1:
            scene.world.strike_next("kill")

    scene.when(RequestProgress, die_before_sending, nth=0).play()
    assert verdicts(scene)["r2"] == "Repeated"


def test_an_export_that_waits_for_its_turn_starts_when_another_ends():
    scene = Scene(R1, Asking(10, "r2", SEVEN_RANGES), max_running=1).play()
    assert all(result.success for result in scene.results.values())


def test_the_second_of_two_requests_that_do_not_fit_together_is_refused():
    tight = 64 * 1024 * 1024 + 500_000
    scene = Scene(LARGE, Asking(0, "r2", TWO_RANGES), capacity_bytes=tight).play()
    assert sorted(result.success for result in scene.results.values()) == [False, True]


# --- cancels


def cancel_now(scene, asking):
    return lambda _record: scene.world.cancel(asking)


def test_a_cancel_that_overtakes_its_request_ends_it():
    early = replace(R1, after_ms=1_000, cancelled_after_ms=500)
    scene = Scene(early).play()
    assert scene.results["r1"].status == "Aborted"
    assert not scene.records(ExportStarted)


@pytest.mark.parametrize("kind", [ExportStarted, WriteRange, RangeWritten, PackageAssembled])
@pytest.mark.parametrize("seed", range(4))
def test_a_cancel_stops_the_work_and_leaves_no_files(kind, seed):
    scene = Scene(LARGE, seed=seed)
    scene.when(kind, cancel_now(scene, LARGE)).play()
    result = scene.results["r1"]
    if result.status == "Aborted":
        folders = scene.world.disk.folders.values()
        assert not any(folder.shards or folder.package for folder in folders)
    assert result.success or result.status == "Aborted"


def test_a_cancel_stops_within_a_window():
    scene = Scene(LARGE)
    scene.when(RangeWritten, cancel_now(scene, LARGE)).play()
    assert scene.results["r1"].status == "Aborted"
    assert scene.world.disk.commits <= 2 * WINDOW


@pytest.mark.parametrize("moment", range(1, 40, 3))
@pytest.mark.parametrize("kind", ["kill", "freeze"])
def test_a_registrar_that_dies_within_a_cancel_ends_it_all_the_same(kind, moment):
    joins = Asking(0, "r2", SEVEN_RANGES, client="b")
    scene = Scene(LARGE, joins, seed=moment)

    def strike(_record):
        scene.world.strike_next(kind, 40_000, after=moment)

    scene.when(RangeWritten, cancel_now(scene, LARGE)).when(ExportCommanded, strike).play()
    assert scene.results["r1"].status == "Aborted" or scene.results["r1"].success
    assert scene.results["r2"].success


def test_the_last_of_two_callers_stops_the_export():
    joins = Asking(0, "r2", SEVEN_RANGES, client="b")
    scene = Scene(LARGE, joins)
    scene.when(RangeWritten, cancel_now(scene, LARGE), nth=1)
    scene.when(RangeWritten, cancel_now(scene, joins), nth=2).play()
    assert {result.status for result in scene.results.values()} == {"Aborted"}


# --- files that go


@pytest.mark.parametrize("kind", [RemoveAttempt, FilesRemoved, ExportStopped])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_removal_is_ordered_until_it_is_answered(kind, nth):
    scene = Scene(LARGE).lose(kind, nth=nth)
    scene.when(RangeWritten, cancel_now(scene, LARGE)).play()
    assert not any(folder.shards for folder in scene.world.disk.folders.values())


@pytest.mark.parametrize("after_ms", range(89_700, 90_300, 25))
def test_a_package_is_not_swept_while_it_is_offered(after_ms):
    """The package is asked for again in the moment in which it expires."""
    again = Asking(after_ms, "r2", ONE_RANGE, client="b")
    scene = Scene(SMALL, again, package_ms=90_000, seed=after_ms).play()
    first, second = scene.results["r1"], scene.results["r2"]
    assert second.success
    # Either it was extended and offered, or it had expired and was made again.
    extended = second.expiration_time > first.expiration_time
    assert extended
    assert not scene.world.disk.folders[folder_of(second)].package  # 90 s later it went, too


def folder_of(result):
    export_id, attempt, _name = result.file_uri.split("/")[-3:]
    return export_id, attempt


def test_an_expired_export_leaves_neither_files_nor_rows():
    scene = Scene(R1, package_ms=90_000).play()
    assert scene.records(RemoveAttempt)
    assert not any(folder.package for folder in scene.world.disk.folders.values())


# --- going on where another attempt has failed


def failing(scene):
    """The source fails from the third range on, until the export has failed."""
    scene.when(RangeWritten, lambda _: setattr(scene.world, "unreadable_ranges", 20), nth=2)
    return scene.when(ExportFailed, lambda _: setattr(scene.world, "unreadable_ranges", 0))


RETRY = Asking(150_000, "r2", SEVEN_RANGES)


def test_a_retry_writes_only_what_the_failed_attempt_lacks():
    scene = failing(Scene(LARGE, RETRY)).play()
    assert not scene.results["r1"].success
    assert scene.results["r2"].success
    assert scene.records(AdoptShards)
    assert scene.world.disk.commits == 7


@pytest.mark.parametrize("kind", [AdoptShards, ShardsAdopted])
def test_a_lost_adoption_is_ordered_again(kind):
    scene = failing(Scene(LARGE, RETRY)).lose(kind).play()
    assert scene.results["r2"].success
    assert scene.world.disk.commits == 7


@pytest.mark.parametrize("moment", range(1, 14))
@pytest.mark.parametrize("kind", ["kill", "freeze"])
def test_an_adoption_that_is_cut_short_is_finished_or_done_without(kind, moment):
    scene = failing(Scene(LARGE, RETRY, seed=moment))
    scene.when(AdoptShards, lambda _: scene.world.strike_next(kind, 40_000, after=moment)).play()
    assert scene.results["r2"].success


@pytest.mark.parametrize("moment", range(1, 10))
def test_a_shard_is_adopted_while_its_old_owner_wakes_up(moment):
    """A worker freezes within a range, the export fails without it, is retried, and it wakes."""
    scene = failing(Scene(LARGE, RETRY, seed=moment))
    scene.when(
        WriteRange, lambda _: scene.world.strike_next("freeze", 151_000, after=moment), nth=4
    ).play()
    assert scene.results["r2"].success


def frozen_before_its_range(nth, moment, seed):
    """As above; meanwhile its shard is adopted, and its range is still to be begun."""
    scene = failing(Scene(LARGE, replace(RETRY, after_ms=100_000), seed=seed))
    return scene.when(
        WriteRange, lambda _: scene.world.strike_next("freeze", 101_000, after=moment), nth=nth
    )


FROZEN_BEFORE_ITS_RANGE = list(product((2, 3), range(9, 14), range(6)))


def test_a_worker_that_wakes_before_its_range_finds_that_its_shard_was_adopted():
    for place in FROZEN_BEFORE_ITS_RANGE:
        assert frozen_before_its_range(*place).play().results["r2"].success


def test_only_the_owner_row_keeps_that_worker_from_writing():
    def is_caught(place):
        scene = frozen_before_its_range(*place)
        scene.world.disk.checks_owner = False
        try:
            scene.play()
        except Violation as violation:
            return "which belongs to" in str(violation)
        return False

    assert any(is_caught(place) for place in FROZEN_BEFORE_ITS_RANGE)


# --- records that kill


@pytest.mark.parametrize(
    "kind", [ExportStarted, RangeWritten, PackageAssembled, ExportAssembled, RequestSettled]
)
def test_records_that_kill_their_process_fail_their_request_and_no_other(kind):
    scene = Scene(R1, Asking(100_000, "r2", ONE_RANGE))
    exports = []

    def kills(record):
        if type(record) is kind and not exports:
            exports.append(name_of(record))
        too_much = getattr(record, "facts", 1) is not None  # the bare settlement is harmless
        return type(record) is kind and name_of(record) == exports[0] and too_much

    scene.world.poison = kills
    scene.play()
    assert "died 3 times" in scene.results["r1"].error_reason
    assert any(type(record) is kind for record, _ in scene.world.witness.dead)
    assert scene.results["r2"].success


def name_of(record):
    return getattr(record, "export_id", None) or record.request_id


def test_a_request_that_kills_the_registrar_is_refused():
    scene = Scene(R1, Asking(5_000, "r2", SEVEN_RANGES))
    scene.world.poison = lambda r: isinstance(r, RequestAdmitted) and r.request_id == "r1"
    scene.play()
    assert "died 3 times" in scene.results["r1"].error_reason
    assert scene.results["r2"].success
