"""The list of layers: chosen by footprint, without where the tiles are."""

import pytest

from app.domain.errors import InvalidRequest
from app.ingress.layers import parse_bbox_parameter, public_layers


def layer(name: str, west: float, east: float) -> dict:
    ring = [[west, 10], [east, 10], [east, 20], [west, 20], [west, 10]]
    return {
        "id": name,
        "footprint": {"type": "Polygon", "coordinates": [ring]},
        "source": {"type": "folder", "path": "/secret"},
    }


LAYERS = [layer("asia", 30, 40), layer("fiji", 176, 179), layer("samoa", -173, -171)]


def chosen(text: str | None) -> list[str]:
    return [record["id"] for record in public_layers(LAYERS, parse_bbox_parameter(text))]


def test_without_a_box_all_layers_are_told():
    assert chosen(None) == ["asia", "fiji", "samoa"]


def test_a_box_chooses_the_footprints_that_it_meets():
    assert chosen("35,15,36,16") == ["asia"]
    assert chosen("41,15,42,16") == []
    assert chosen("-180,-90,180,90") == ["asia", "fiji", "samoa"]


def test_a_box_over_the_antimeridian_meets_both_sides():
    assert chosen("170,0,-170,30") == ["fiji", "samoa"]


def test_a_point_and_spaces_are_fine():
    assert chosen("35, 15, 35, 15") == ["asia"]


def test_where_the_tiles_are_is_not_told():
    assert all("source" not in record for record in public_layers(LAYERS, None))


@pytest.mark.parametrize(
    "text",
    [
        *(" ", "1", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1;2;3;4", "1,2,,4"),
        *("1,2,3,nan", "1,2,3,inf", "181,0,182,1", "0,91,1,92", "0,5,1,4", "10,0,-10,1"),
    ],
)
def test_what_is_no_box_is_refused_by_its_name(text):
    with pytest.raises(InvalidRequest, match=r"^bbox"):
        chosen(text)
