"""The one form of a set of tiles, against plain Python sets."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import RequestTooLarge
from app.domain.matrix_tiles import MatrixTiles
from app.domain.tile_range import TileRun

ZOOM = 4
LIMITS = st.tuples(st.integers(0, 31), st.integers(0, 31)).map(sorted)
ROWS = st.tuples(st.integers(0, 15), st.integers(0, 15)).map(sorted)
BLOCKS = st.lists(st.tuples(LIMITS, ROWS).map(lambda pair: [*pair[0], *pair[1]]), min_size=1)


def matrix_of(blocks, max_runs=10_000):
    return MatrixTiles.of_blocks(ZOOM, np.array(blocks, np.int64), max_runs=max_runs)


def tiles_of(blocks):
    return {
        (ZOOM, col, row)
        for min_col, max_col, min_row, max_row in blocks
        for col in range(min_col, max_col + 1)
        for row in range(min_row, max_row + 1)
    }


def digest_of(matrix):
    digest = hashlib.sha256()
    matrix.digest_into(digest)
    return digest.hexdigest()


@given(BLOCKS)
def test_blocks_are_united_in_export_order(blocks):
    matrix = matrix_of(blocks)
    expected = sorted(tiles_of(blocks))
    found = [tile for run in matrix.runs_between(0, matrix.tile_count) for tile in run.tiles()]
    assert found == expected
    assert matrix.tile_count == len(expected)
    assert tiles_of(matrix.blocks().tolist()) == set(expected)


@given(BLOCKS, st.randoms())
def test_the_same_tiles_have_the_same_digest_however_they_were_cut(blocks, random):
    pieces = [[col, col, row, row] for _, col, row in tiles_of(blocks)]
    random.shuffle(pieces)
    assert digest_of(matrix_of(pieces)) == digest_of(matrix_of(blocks))


@given(BLOCKS, BLOCKS)
def test_other_tiles_have_another_digest(some, others):
    same_tiles = tiles_of(some) == tiles_of(others)
    assert (digest_of(matrix_of(some)) == digest_of(matrix_of(others))) == same_tiles


@given(BLOCKS, st.data())
def test_any_stretch_of_positions_can_be_read(blocks, data):
    matrix = matrix_of(blocks)
    start = data.draw(st.integers(0, matrix.tile_count - 1))
    end = data.draw(st.integers(start + 1, matrix.tile_count))
    found = [tile for run in matrix.runs_between(start, end) for tile in run.tiles()]
    assert found == sorted(tiles_of(blocks))[start:end]


def test_alike_neighbours_merge_and_columns_with_several_runs_stay_apart():
    matrix = matrix_of([[0, 3, 0, 9], [4, 5, 0, 2], [4, 5, 6, 9], [6, 9, 0, 9], [12, 13, 0, 9]])
    assert list(matrix.runs_between(0, matrix.tile_count)) == [
        TileRun(ZOOM, 0, 3, 0, 9),
        *(TileRun(ZOOM, 4, 4, 0, 2), TileRun(ZOOM, 4, 4, 6, 9)),
        *(TileRun(ZOOM, 5, 5, 0, 2), TileRun(ZOOM, 5, 5, 6, 9)),
        TileRun(ZOOM, 6, 9, 0, 9),
        TileRun(ZOOM, 12, 13, 0, 9),
    ]


def test_blocks_that_touch_make_one_run():
    matrix = matrix_of([[0, 3, 0, 4], [0, 3, 5, 9], [4, 7, 0, 9]])
    assert list(matrix.runs_between(0, 80)) == [TileRun(ZOOM, 0, 7, 0, 9)]


def test_too_many_runs_are_refused_before_they_are_made():
    comb = [[0, 31, row, row] for row in range(0, 16, 2)] + [[5, 5, 1, 1]]
    with pytest.raises(RequestTooLarge, match="25 runs of tiles at zoom 4, more than 24"):
        matrix_of(comb, max_runs=24)
