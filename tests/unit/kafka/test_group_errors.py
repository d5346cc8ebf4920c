"""What a member does when its group's leader has left it out."""

from types import SimpleNamespace

import pytest

from app.kafka import group_errors
from app.kafka.group_errors import MOST_JOINS_IN_VAIN


@pytest.fixture
def join(monkeypatch: pytest.MonkeyPatch):
    """Join a group whose broker answers so; what came of it, and how often it is joined again."""
    rejoins: list[None] = []
    coordinator = SimpleNamespace(
        request_rejoin=lambda: rejoins.append(None), _client=SimpleNamespace()
    )
    rebalance = SimpleNamespace(group_id="coordinator", _coordinator=coordinator)

    async def answered(answer: tuple[str, bytes] | None):
        async def broker(_rebalance):
            return answer

        monkeypatch.setattr(group_errors, "_perform_group_join", broker)
        return await group_errors.perform_group_join(rebalance), len(rejoins)

    return answered


async def test_a_member_that_was_left_out_joins_again(join) -> None:
    assert await join(("stable", b"")) == (None, 1)
    assert await join(("stable", b"\0\1")) == (("stable", b"\0\1"), 1)


async def test_a_member_that_is_left_out_again_and_again_gives_up(join) -> None:
    for joins in range(1, MOST_JOINS_IN_VAIN + 1):
        assert await join(("stable", b"")) == (None, joins)
    assert await join(("stable", b"")) == (("stable", b""), MOST_JOINS_IN_VAIN)


async def test_an_assignment_is_taken_as_it_is_and_ends_the_count(join) -> None:
    for joins in range(1, 2 * MOST_JOINS_IN_VAIN):
        assert await join(("stable", b"")) == (None, joins)
        assert await join(("stable", b"\0\1")) == (("stable", b"\0\1"), joins)


async def test_a_join_that_failed_is_tried_again_as_before(join) -> None:
    assert await join(None) == (None, 0)
