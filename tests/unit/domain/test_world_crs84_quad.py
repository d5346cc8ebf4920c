"""The grid against the contract's golden numbers and morecantile."""

import json
import math

import morecantile
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidRequest
from app.domain.world_crs84_quad import (
    matrix_height,
    matrix_width,
    resolution_deg,
    resolution_m,
    tile_bounds,
    tile_size_deg,
    zoom_of_resolution,
)

ORACLE = morecantile.tms.get("WorldCRS84Quad")
ZOOMS = range(23)


@pytest.mark.parametrize("zoom", ZOOMS)
def test_resolutions_and_matrix_sizes_agree_with_morecantile(zoom):
    matrix = ORACLE.matrix(zoom)
    assert resolution_deg(zoom) == pytest.approx(matrix.cellSize, rel=1e-12)
    assert (matrix_width(zoom), matrix_height(zoom)) == (matrix.matrixWidth, matrix.matrixHeight)
    assert tile_size_deg(zoom) == resolution_deg(zoom) * 256


def test_resolutions_are_those_of_the_contract():
    assert resolution_deg(0) == 0.703125
    assert resolution_deg(14) == pytest.approx(0.0000429153442382812, rel=1e-14)
    assert resolution_deg(22) == pytest.approx(1.67638063430786e-7, rel=1e-14)
    assert resolution_m(0) == pytest.approx(78271.52, abs=0.005)
    assert 0.0185 < resolution_m(22) < 0.0187


@pytest.mark.parametrize(
    ("asked", "zoom"),
    [
        (0.703125, 0),
        (0.703125 * (1 + 9e-6), 0),
        (0.5, 0),
        (0.3515625, 1),
        (0.01098632813, 6),
        (0.0000429153442382812, 14),
        (2.14577e-05, 15),
        (2.14576721191406e-05, 15),
        (1.07288e-05, 16),
        (1.67638e-7, 22),
        (1.67638063430786e-7, 22),
        (1.67638063430786e-7 * (1 - 9e-6), 22),
    ],
)
def test_a_resolution_from_a_table_finds_its_zoom(asked, zoom):
    assert zoom_of_resolution(asked, field="targetResolution") == zoom


@pytest.mark.parametrize(
    "asked",
    [
        *(0.8, 0.703125 * (1 + 2e-5), 0.97638e-7, 1.67638063430786e-7 * (1 - 2e-5)),
        *(0, 0.0, -0.0, -1, -2.14577e-05, math.nan, math.inf, -math.inf, 10**400, 5e-324),
        *("5", "2.14577e-05", True, False, None, [], {}),
    ],
)
def test_a_resolution_that_is_no_zoom_is_refused_with_field_value_and_limit(asked):
    with pytest.raises(InvalidRequest, match=r"targetResolution is ") as refusal:
        zoom_of_resolution(asked, field="targetResolution")
    assert f"{json.dumps(asked):.80}" in str(refusal.value)


@pytest.mark.parametrize("asked", [0.8, 0.97638e-7, math.nan])
def test_a_resolution_out_of_reach_is_refused_with_both_limits(asked):
    with pytest.raises(InvalidRequest, match=r"1\.676380634307\d*e-07 .*0\.703125"):
        zoom_of_resolution(asked, field="targetResolution")


@given(st.sampled_from(ZOOMS), st.floats(-0.99e-5, 0.99e-5))
def test_rounding_a_resolution_never_changes_its_zoom(zoom, error):
    assert zoom_of_resolution(resolution_deg(zoom) * (1 + error), field="r") == zoom


@given(st.sampled_from(range(22)), st.floats(0.5001, 0.9999))
def test_between_two_zooms_the_coarser_counts(zoom, share):
    assert zoom_of_resolution(resolution_deg(zoom) * share, field="r") == zoom


@given(st.sampled_from(ZOOMS), st.floats(0, 1), st.floats(0, 1))
def test_tile_bounds_agree_with_morecantile(zoom, across, down):
    col = min(int(across * matrix_width(zoom)), matrix_width(zoom) - 1)
    row = min(int(down * matrix_height(zoom)), matrix_height(zoom) - 1)
    oracle = ORACLE.bounds(morecantile.Tile(col, row, zoom))
    assert tile_bounds(zoom, col, row).as_list() == pytest.approx(list(oracle), abs=1e-9)
