"""The mean tile size that a layer's record names, whatever stands there."""

import pytest

from app.domain.layer_record import LayerRecord


@pytest.mark.parametrize(
    ("written", "bytes_"),
    [
        ("20000", 20_000),
        ("20000.9", 20_000),
        ("0", 0),
        ("-5", 0),
        ("true", 0),
        ('"20000"', 0),
        ("null", 0),
        ("1000000000000", 10**12),
        ("1000000000001", 0),
        ("1e30", 0),
        ("12345678901234567890", 0),
    ],
)
def test_a_mean_that_cannot_be_counts_as_unknown(written, bytes_):
    record = LayerRecord.from_json(f'{{"id": "x", "meanTileBytes": {written}}}')
    assert record.mean_tile_bytes == bytes_
