"""Mean tile sizes by zoom, learned from finished packages."""

from hypothesis import given
from hypothesis import strategies as st

from app.domain.package_facts import ZoomCounts
from app.domain.tile_sizes import REMEMBERED_TILES, TileSize, learn


def counts(zoom, written, tile_bytes, missing=0):
    return ZoomCounts(zoom, written + missing, written, missing, 0, tile_bytes)


def test_a_package_teaches_each_of_its_zooms_and_leaves_the_others_alone():
    known = {9: TileSize(9_000, 5)}
    assert learn(known, [counts(3, 4, 40_000), counts(4, 2, 1_000, missing=2)]) == {
        3: TileSize(10_000, 4),
        4: TileSize(500, 2),
        9: TileSize(9_000, 5),
    }


def test_a_few_tiles_of_open_sea_do_not_make_a_country_small():
    country = learn({}, [counts(14, 50_000, 50_000 * 20_000)])
    assert learn(country, [counts(14, 4, 4 * 600)])[14].mean_bytes > 19_900


def test_a_layer_whose_tiles_become_larger_is_followed():
    sizes = learn({}, [counts(14, 10_000_000, 10_000_000 * 5_000)])
    sizes = learn(sizes, [counts(14, REMEMBERED_TILES, REMEMBERED_TILES * 25_000)])
    assert sizes[14].mean_bytes == 15_000


def test_a_zoom_without_any_tile_teaches_nothing():
    assert learn({}, [counts(5, 0, 0, missing=9)]) == {}


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 10**7), st.integers(1, 10**6)), max_size=20
    )
)
def test_a_mean_lies_between_the_smallest_and_the_largest_that_was_seen(packages):
    sizes, seen = {}, {}
    for zoom, written, each in packages:
        sizes = learn(sizes, [counts(zoom, written, written * each)])
        if written:
            seen.setdefault(zoom, []).append(each)
    assert sizes.keys() == seen.keys()
    for zoom, size in sizes.items():
        # Rounded down at each package.
        assert min(seen[zoom]) - len(packages) <= size.mean_bytes <= max(seen[zoom])
        assert size.mean_bytes >= 1
