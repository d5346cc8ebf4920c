"""What nobody orders to be removed goes all the same; packages and living attempts stay."""

import asyncio
import os

import pytest

from app.domain.errors import StorageUnavailable
from app.store.artifact_store import ArtifactStore
from app.writing.sweeper import ORPHAN_S, Sweeper

EXPORT, NOW_S = "ab" * 32, 1_800_000_000
GRACE_S = 3_600


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "exports")


@pytest.fixture
def sweeper(store):
    return Sweeper(store, GRACE_S, lambda: NOW_S * 1000)


def put(store, attempt, *names, age_s):
    """Files of an attempt that were last touched so long ago; returns the folder."""
    folder = store.attempt_folder(EXPORT, attempt)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x" * 100)
        os.utime(folder / name, (NOW_S - age_s, NOW_S - age_s))
    os.utime(folder, (NOW_S - age_s, NOW_S - age_s))
    return folder


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_a_late_writer_left_beside_a_package_goes_after_the_grace(store, sweeper):
    folder = put(store, "1-1", "p.gpkg", "p.json", "shard-w-1.gpkg.part", age_s=GRACE_S + 60)
    sweeper.sweep()
    assert names_in(folder) == ["p.gpkg", "p.json"]


def test_what_has_just_been_written_stays(store, sweeper):
    put(store, "1-1", "p.gpkg", "p.json", age_s=GRACE_S + 60)
    folder = put(store, "1-1", "shard-w-1.gpkg.part", age_s=60)
    sweeper.sweep()
    assert len(names_in(folder)) == 3


def test_a_package_is_never_swept_however_old(store, sweeper):
    folder = put(store, "1-1", "p.gpkg", "p.json", age_s=10 * ORPHAN_S)
    sweeper.sweep()
    assert names_in(folder) == ["p.gpkg", "p.json"]


def test_an_attempt_in_progress_stays_and_one_that_no_record_names_goes(store, sweeper):
    alive = put(store, "1-1", "shard-w-1.gpkg.part", age_s=2 * GRACE_S)
    orphan = put(store, "2-1", "shard-w-1.gpkg.part", "p.json", age_s=ORPHAN_S + 60)
    sweeper.sweep()
    assert names_in(alive) == ["shard-w-1.gpkg.part"]
    assert not orphan.exists()


def test_what_is_no_attempt_of_ours_is_left_alone(store, sweeper):
    strange = store.root / "notes" / "of-mine"
    strange.mkdir(parents=True)
    (strange / "readme.txt").write_text("keep")
    os.utime(strange, (0, 0))
    sweeper.sweep()
    assert (strange / "readme.txt").exists()


def test_a_store_that_is_not_there_yet_is_swept_without_complaint(sweeper):
    sweeper.sweep()


async def test_a_sweep_that_fails_in_any_way_is_tried_again(monkeypatch, eventually):
    monkeypatch.setattr("app.writing.sweeper.SHORTEST_PAUSE_S", 0.001)
    failures = [ValueError("what a folder"), StorageUnavailable("no answer")]

    class FailingStore:
        def leftovers(self, _now_s, **_ages):
            if failures:
                raise failures.pop()
            looked.set()
            return []

    looked = asyncio.Event()
    running = asyncio.create_task(Sweeper(FailingStore(), 0.0, lambda: 0).run())
    await asyncio.wait_for(looked.wait(), 60)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
