import pytest

from app.domain.iso_time import iso_time, ms_of


@pytest.mark.parametrize("at_ms", [0, 1, 999, 1_700_000_000_123, 4_102_444_800_001])
def test_times_have_milliseconds_and_a_z_and_are_read_back_as_they_were(at_ms):
    text = iso_time(at_ms)
    assert len(text) == len("2026-11-23T03:26:33.000Z")
    assert text.endswith("Z")
    assert ms_of(text) == at_ms
