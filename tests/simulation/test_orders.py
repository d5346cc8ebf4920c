"""Stories of finished packages: kept, pinned, deleted, warned of; every promise is judged."""

from dataclasses import replace

import pytest

from app.domain.records import (
    ExportCommanded,
    ExportProgress,
    RemoveAttempt,
    RequestConfirmed,
    RequestExpiring,
    RequestProgress,
)
from tests.simulation.asked import ONE_RANGE
from tests.simulation.scene import Scene
from tests.simulation.schedule import Asking, Ordering

MINUTE_MS = 60_000
SHORT = 90_000
"""A package is offered for so long, ms."""

R1 = Asking(0, "r1", ONE_RANGE, urls=("http://a",))
R2 = Asking(10, "r2", ONE_RANGE, client="b", urls=("http://b",))
DEADLY = [("kill", 0), ("freeze", 40_000)]


def last_told(scene):
    return [known for known in scene.records(ExportProgress) if known.state == "Completed"][-1]


def packages(scene):
    return [folder.package for folder in scene.world.disk.folders.values() if folder.package]


def struck(scene, kind, moment):
    """The registrar is hit so many moments after it has been told to do something."""
    registrars = []

    def strike(record):
        registrars.append(record)
        if len(registrars) == 2:  # from a caller to admission, and from there
            scene.world.strike_next(kind, 40_000, after=moment)

    return scene.when(ExportCommanded, strike, nth=0)


@pytest.mark.parametrize(("kind", "size"), DEADLY)
@pytest.mark.parametrize("moment", range(1, 16))
def test_a_deletion_that_is_cut_short_is_finished(kind, size, moment):
    order = Ordering(5_000, "r1", "delete")
    scene = struck(Scene(R1, seed=moment, orders=(order,)), kind, moment).play()
    assert scene.results["r1"].success
    assert not packages(scene)
    told = [known for known in scene.records(RequestProgress) if known.request_id == "r1"]
    assert told[-1].deleted


@pytest.mark.parametrize(("kind", "size"), DEADLY)
@pytest.mark.parametrize("moment", range(1, 16))
def test_a_deletion_that_is_cut_short_takes_nothing_from_others(kind, size, moment):
    order = Ordering(5_000, "r1", "delete")
    scene = struck(Scene(R1, R2, seed=moment, orders=(order,)), kind, moment).play()
    assert len(packages(scene)) == 1
    assert not scene.records(RemoveAttempt)


@pytest.mark.parametrize(("kind", "size"), DEADLY)
@pytest.mark.parametrize("moment", range(1, 16))
def test_a_pin_that_is_cut_short_holds_all_the_same(kind, size, moment):
    order = Ordering(5_000, "r1", "pin")
    scene = Scene(R1, seed=moment, orders=(order,), package_ms=SHORT)
    struck(scene, kind, moment).play()
    assert len(packages(scene)) == 1
    assert last_told(scene).pinned


@pytest.mark.parametrize(("kind", "size"), DEADLY)
@pytest.mark.parametrize("moment", range(1, 16))
def test_an_extension_that_is_cut_short_holds_all_the_same(kind, size, moment):
    order = Ordering(5_000, "r1", "extend", argument=str(10 * MINUTE_MS))
    scene = Scene(R1, seed=moment, orders=(order,), package_ms=SHORT)
    struck(scene, kind, moment)
    gone_at_ms = []
    scene.when(RemoveAttempt, lambda record: gone_at_ms.append(record.at_ms)).play()
    assert gone_at_ms[0] >= last_told(scene).expires_at_ms > 1_700_000_000_000 + 9 * MINUTE_MS


@pytest.mark.parametrize("after_ms", range(0, 60, 4))
def test_a_package_that_is_asked_for_in_the_moment_of_its_deletion_is_whole_for_who_asked(after_ms):
    late = replace(R2, after_ms=5_000 + after_ms)
    order = Ordering(5_020, "r1", "delete")
    scene = Scene(R1, late, seed=after_ms, orders=(order,)).play()
    assert scene.results["r2"].success
    (package,) = packages(scene)
    assert package.facts.package_name == scene.results["r2"].package_name


@pytest.mark.parametrize("after_ms", range(89_800, 90_400, 40))
def test_an_extension_in_the_moment_of_the_expiry_is_kept_or_comes_too_late(after_ms):
    order = Ordering(after_ms, "r1", "extend", argument=str(10 * MINUTE_MS))
    scene = Scene(R1, seed=after_ms, orders=(order,), package_ms=SHORT).play()
    assert not packages(scene)
    assert scene.records(RemoveAttempt)


def test_a_lost_warning_is_sent_again():
    scene = Scene(R1, package_ms=SHORT).lose(RequestExpiring).play()
    assert len(scene.records(RequestExpiring)) == 2
    assert scene.world.witness.answered.total() == 2  # the result, and the warning


@pytest.mark.parametrize(("kind", "size"), DEADLY)
@pytest.mark.parametrize("moment", range(1, 10))
def test_a_registrar_that_dies_within_a_warning_warns_all_the_same(kind, size, moment):
    scene = Scene(R1, package_ms=SHORT, seed=moment)

    def strike_later(_record):
        warn_after_ms = SHORT // 2 - 2_000
        scene.world.after(warn_after_ms, lambda: scene.world.strike_next(kind, size, after=moment))

    scene.when(RequestConfirmed, strike_later).play()
    assert scene.world.witness.answered.total() == 2


@pytest.mark.parametrize("command", ["pin", "delete", "extend"])
def test_another_client_changes_nothing(command):
    argument = str(10 * MINUTE_MS) if command == "extend" else None
    order = Ordering(5_000, "r1", command, client="b", argument=argument)
    scene = Scene(R1, orders=(order,), package_ms=SHORT).play()
    plain = Scene(R1, package_ms=SHORT).play()
    assert last_told(scene).expires_at_ms - last_told(plain).expires_at_ms < 1_000
    assert not last_told(scene).pinned
    assert [reason for _, reason in scene.world.witness.dead] == [
        "request r1 is not one of client 'b'"
    ]
