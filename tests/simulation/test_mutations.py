"""The net catches fish: every deliberate mistake breaks a promise that the simulation watches."""

from itertools import chain

import pytest

from tests.simulation.mutations import MUTATIONS

SEEDS = 6_000


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_deliberate_mistake_is_caught(mutation):
    assert mutation.caught_within(chain([mutation.seed], range(SEEDS)))


def test_there_are_many_kinds_of_mistakes():
    assert len({mutation.name for mutation in MUTATIONS}) >= 30
