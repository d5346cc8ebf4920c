"""Deaths counted by record."""

from pathlib import Path

from app.domain.inbox import InboxPosition
from app.kafka.black_box import BlackBox

AT = InboxPosition(2, 71)
BESIDE = InboxPosition(2, 72)


def test_a_record_in_hand_at_three_deaths_is_poison(tmp_path: Path) -> None:
    path = tmp_path / "run" / "in-hand"
    for _ in range(3):
        box = BlackBox.open(path)
        assert not box.is_poison(AT)
        assert box.take_up(AT) is not None  # and the process dies
    assert BlackBox.open(path).is_poison(AT)


def test_a_record_that_is_handled_at_last_is_forgiven(tmp_path: Path) -> None:
    for _ in range(2):
        BlackBox.open(tmp_path / "in-hand").take_up(AT)
    box = BlackBox.open(tmp_path / "in-hand")
    slot = box.take_up(AT)
    assert slot is not None
    box.put_down(slot, AT)
    assert BlackBox.open(tmp_path / "in-hand").deaths == {}


def test_an_exit_of_our_own_blames_only_the_record_at_fault(tmp_path: Path) -> None:
    box = BlackBox.open(tmp_path / "in-hand")
    box.take_up(BESIDE)
    box.take_up(AT)
    box.close_on_exit(AT)
    assert BlackBox.open(tmp_path / "in-hand").deaths == {AT: 1}


def test_more_records_than_slots_are_not_counted(tmp_path: Path) -> None:
    box = BlackBox.open(tmp_path / "in-hand")
    slots = [box.take_up(InboxPosition(0, offset)) for offset in range(70)]
    assert slots.count(None) == 6


def test_a_damaged_count_does_not_keep_the_process_from_starting(tmp_path: Path) -> None:
    (tmp_path / "in-hand.json").write_text("{")
    (tmp_path / "in-hand").write_bytes(b"short")
    assert BlackBox.open(tmp_path / "in-hand").deaths == {}
