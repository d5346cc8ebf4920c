"""Which exports and which requests are the same."""

import pytest
import shapely

from app.domain.export_cover import ExportCover
from app.domain.export_identity import export_id, request_digest
from app.domain.requested_area import parse_bbox

LAYER = "7b4f0a8e-5d1c-4a53-9a6b-0f2f6a1d3c11"


def cover(bbox, zooms=(0, 14)):
    return ExportCover.of([(parse_bbox(bbox), *zooms)], max_tiles=10**9)


def ring(west, south, east, north):
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def identity(bbox=(34.81, 31.95, 34.82, 31.96), zooms=(0, 14), **changes):
    parts = {"layer_id": LAYER, "layer_version": "1.0", "on_error": "fail"} | changes
    layer = parts.pop("layer_id"), parts.pop("layer_version")
    return export_id(*layer, cover(bbox, zooms), **parts)


def test_an_export_id_is_64_hexadecimal_digits_and_stays_the_same():
    assert identity() == identity()
    assert len(bytes.fromhex(identity())) == 32


def test_the_id_of_the_golden_export_is_that_of_earlier_releases():
    """Another id would orphan every finished package, and make all of them again."""
    box = (34.811938017107494, 31.95475033759175, 34.82237261707599, 31.96426962177354)
    assert identity(box) == "f8f742712243d7cadbc0d1a5a16a7e7afa5624e5c8416e5037302757cdd433fd"


SAME_TILES = {
    "a smaller box": [34.811, 31.951, 34.819, 31.9595],
    "a polygon": {"type": "Polygon", "coordinates": [ring(34.81, 31.95, 34.82, 31.96)[::-1]]},
    "two halves": {
        "type": "MultiPolygon",
        "coordinates": [[ring(34.81, 31.95, 34.815, 31.96)], [ring(34.815, 31.95, 34.82, 31.96)]],
    },
    "overlapping parts in another order": {
        "type": "MultiPolygon",
        "coordinates": [[ring(34.812, 31.95, 34.82, 31.96)], [ring(34.81, 31.95, 34.816, 31.96)]],
    },
    "a polygon that is no box": {
        "type": "Polygon",
        "coordinates": [
            [
                [34.81, 31.95],
                [34.82, 31.95],
                [34.82, 31.96],
                [34.815, 31.961],
                [34.81, 31.96],
                [34.81, 31.95],
            ]
        ],
    },
}


@pytest.mark.parametrize("drawn", SAME_TILES.values(), ids=SAME_TILES)
def test_the_same_tiles_are_the_same_export_however_drawn(drawn):
    assert identity(drawn) == identity()


@pytest.mark.parametrize(
    "changes",
    [
        {"layer_id": LAYER.replace("7", "8")},
        {"layer_version": "2.0"},
        {"on_error": "skip"},
        {"tile_format": "webp"},
        {"crs": "EPSG:3857"},
        {"zooms": (1, 14)},
        {"zooms": (0, 13)},
        {"bbox": [34.81, 31.95, 34.84, 31.96]},
    ],
    ids=str,
)
def test_whatever_decides_the_package_makes_another_export(changes):
    assert identity(**changes) != identity()


def test_no_field_can_pass_for_a_part_of_its_neighbour():
    assert identity(layer_id="ab", layer_version="c") != identity(layer_id="a", layer_version="bc")
    assert identity(tile_format="a", crs="bc") != identity(tile_format="bc", crs="a")


def test_the_digest_streams_the_same_bytes_every_time():
    area = shapely.Point(30, 30).buffer(1)
    covers = [ExportCover.of([(area, 0, 12)], max_tiles=10**9) for _ in range(2)]
    assert len({export_id(LAYER, "1.0", cover, on_error="fail") for cover in covers}) == 1


def test_a_request_digest_ignores_the_order_of_members_only():
    said = {"bbox": [1, 2, 3, 4], "priority": 5, "description": "שלום"}
    assert request_digest(said) == request_digest(dict(reversed(said.items())))
    assert request_digest(said) != request_digest(said | {"bbox": [1, 2, 4, 3]})
    assert request_digest(said) != request_digest(said | {"priority": None})
