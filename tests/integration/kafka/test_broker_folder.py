"""Whether the embedded broker saves, seen in its folder; a full disk needs no mount here."""

import asyncio
import shutil

import pytest

from app.domain.errors import TemporaryFailure
from app.kafka import broker_folder
from app.kafka.broker_folder import SAVE_LIMIT_S, BrokerFolder, ask_to_save
from app.kafka.embedded_broker import EmbeddedBroker
from app.kafka.topic_admin import create_topics
from app.kafka.topics import Topics


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def folder(tmp_path, clock):
    """A folder in which something was saved."""
    (tmp_path / "kafka.json").write_text("{}")
    return BrokerFolder(tmp_path, clock)


def save_anew(folder):
    fresh = folder.folder / "kafka.tmp"
    fresh.write_text("{ }")
    fresh.rename(folder.folder / "kafka.json")


def test_a_saved_state_on_a_disk_with_space_is_no_problem(folder):
    assert folder.problem() is None
    assert sorted(path.name for path in folder.folder.iterdir()) == ["kafka.json"]


def test_a_folder_that_is_gone_is_named(tmp_path):
    gone = BrokerFolder(tmp_path / "broker")
    assert gone.problem() == (
        f"the broker cannot save its state in {tmp_path / 'broker'}: No such file or directory"
    )


def test_a_state_that_was_never_saved_is_told(tmp_path):
    assert "has not saved its state" in BrokerFolder(tmp_path).problem()


def test_space_for_a_second_copy_of_the_state_is_wanted(folder, monkeypatch):
    monkeypatch.setattr(broker_folder, "RESERVE_BYTES", 1 << 62)
    assert f"needs {(1 << 62) + 2} bytes to save its state" in folder.problem()


def test_a_save_that_does_not_end_is_a_failed_one_until_the_next_succeeds(folder, clock):
    (folder.folder / "kafka.tmp").touch()
    assert folder.problem() is None
    clock.now_s += SAVE_LIMIT_S + 0.1
    assert "could not save its last state" in folder.problem()
    save_anew(folder)
    assert folder.problem() is None


def test_slow_saves_one_after_the_other_are_no_problem(folder, clock):
    for _ in range(5):
        (folder.folder / "kafka.tmp").touch()
        assert folder.problem() is None
        clock.now_s += SAVE_LIMIT_S - 1
        assert folder.problem() is None
        save_anew(folder)
        (folder.folder / "kafka.tmp").touch()


def test_a_large_state_that_is_still_being_written_is_no_problem(folder, clock):
    with (folder.folder / "kafka.tmp").open("w") as unfinished:
        for _ in range(5):
            unfinished.write("more")
            unfinished.flush()
            assert folder.problem() is None
            clock.now_s += SAVE_LIMIT_S - 1
    assert folder.problem() is None
    clock.now_s += SAVE_LIMIT_S
    assert "could not save its last state" in folder.problem()


def test_a_state_counts_as_saved_when_it_was_replaced_wholly(folder):
    before = folder.mark()
    assert not folder.is_saved_since(before)
    save_anew(folder)
    assert folder.is_saved_since(before)
    (folder.folder / "kafka.tmp").touch()
    assert not folder.is_saved_since(before)


async def test_an_idle_broker_saves_when_it_is_asked_to(tmp_path, eventually):
    with EmbeddedBroker(tmp_path / "broker") as broker:
        await create_topics(broker.address, Topics())
        state = broker.data_dir / "kafka.json"
        await eventually(state.exists)
        shutil.rmtree(broker.data_dir)
        broker.make_folder_again()
        for _ in range(2):
            await ask_to_save(broker.address, "dead-letters")
            await eventually(state.exists)
            state.unlink()
        assert (broker.data_dir / "port").read_text() == f"{broker.port}\n"


async def test_a_broker_that_is_away_is_not_asked():
    with pytest.raises(TemporaryFailure, match="was not asked to save"):
        await asyncio.wait_for(ask_to_save("127.0.0.1:1", "dead-letters"), 60)


def test_what_a_kill_left_of_a_save_is_no_failed_save(tmp_path):
    (tmp_path / "kafka.tmp").write_text("cut")
    with EmbeddedBroker(tmp_path):
        assert not (tmp_path / "kafka.tmp").exists()
