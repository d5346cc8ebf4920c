"""Reckoning with space: what is reserved, what is left, what still fits."""

from hypothesis import given
from hypothesis import strategies as st

from app.domain.package_facts import ZoomTiles
from app.domain.space import (
    BEAT_MARGIN_BYTES,
    available_bytes,
    estimate_bytes,
    largest_estimate_bytes,
    reservation_bytes,
)


def test_an_estimate_sums_tiles_times_their_mean_size():
    tiles = (ZoomTiles(0, 1), ZoomTiles(1, 4))
    assert estimate_bytes(tiles, {0: 10_000, 1: 500}) == 12_000


def test_a_margin_for_a_beat_is_never_available():
    assert available_bytes(BEAT_MARGIN_BYTES + 1_000, 400) == 600
    assert available_bytes(BEAT_MARGIN_BYTES, 400) == 0


@given(st.integers(0, 10**15))
def test_the_largest_estimate_is_the_last_one_that_can_be_reserved(available):
    largest = largest_estimate_bytes(available)
    assert reservation_bytes(largest) <= available < reservation_bytes(largest + 1)
