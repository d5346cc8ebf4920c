"""How much space a live export may still need."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.reservation import still_needed_bytes


@pytest.mark.parametrize(
    ("done", "written", "reserved"),
    [
        (0, 0, 12_500),
        (10, 1_000, 11_500),
        (10, 9_000, 3_500),  # coarse tiles are large: no word yet of the others
        (10, 10_000, 112_500),  # the estimate is used up with the tenth tile
        (50, 20_000, 25_000),
        (50, 2_000, 10_500),
        (99, 50_000, 631),
        (100, 50_000, 0),
        (100, 9_000, 3_500),
    ],
)
def test_what_is_left_is_reserved_as_large_as_what_was_seen(done, written, reserved):
    found = still_needed_bytes(
        estimated_bytes=10_000, tile_count=100, tiles_done=done, bytes_written=written
    )
    assert found == reserved


COUNTS = st.integers(0, 10**9)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_it_is_never_less_than_a_quarter_above_the_estimate_leaves(estimated, tiles, done, written):
    found = still_needed_bytes(
        estimated_bytes=estimated, tile_count=tiles, tiles_done=done, bytes_written=written
    )
    assert found >= max(0, estimated * 5 // 4 - written)
