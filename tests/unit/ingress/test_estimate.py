"""What an export would take, and whether it fits."""

import pytest

from app.domain.layer_record import LayerRecord
from app.domain.package_facts import ZoomTiles
from app.domain.rows import LayerRow, ZoomMean
from app.domain.space import BEAT_MARGIN_BYTES
from app.ingress.estimate import Room, estimate_body, size_by_zoom
from app.ingress.layer_memory import ASSUMED_TILES_PER_S, LayerMemory, Rate
from app.ingress.space_endpoints import Estimate
from app.ingress.storage import Space

TILES = [ZoomTiles(0, 1), ZoomTiles(1, 4), ZoomTiles(2, 16)]
RATE = Rate(2.0, "layer")


def space(available: int, reserved: int = 0) -> Space:
    return Space(10**12, available + reserved + BEAT_MARGIN_BYTES, reserved)


PLENTY = space(10**9)


def sized(layers=None, **fields):
    return size_by_zoom(TILES, layers or LayerMemory(), LayerRecord({"id": "l", **fields}))


def told(zooms, *, max_tiles=100, max_bytes=None, room=PLENTY, rate=RATE):
    body = estimate_body(zooms, rate, Room(max_tiles, max_bytes, room))
    Estimate.model_validate(body)
    return body


def test_sizes_are_learned_by_layer_and_zoom_else_told_by_the_record_else_12500():
    assert [zoom.size for zoom in sized()] == [12_500, 50_000, 200_000]
    assert [zoom.size for zoom in sized(meanTileBytes=100)] == [100, 400, 1_600]
    layers = LayerMemory()
    layers.learn("l", LayerRow((ZoomMean(0, 10), ZoomMean(1, 20))))
    assert [zoom.size for zoom in sized(layers, meanTileBytes=100)] == [10, 80, 1_600]
    layers.forget("l")
    assert [zoom.size for zoom in sized(layers)] == [12_500, 50_000, 200_000]


def test_what_fits_says_so_with_all_limits():
    body = told(sized())
    assert (body["fits"], body["zoom"], body["suggestedZoom"]) == (True, 2, 2)
    assert (body["tiles"], body["bytes"], body["seconds"]) == (21, 262_500, 11)
    assert body["tilesByZoom"][1] == {"zoom": 1, "tiles": 4, "bytes": 50_000}
    assert body["limits"][0] == {"limit": "tiles", "value": 100, "actual": 21}
    assert body["limits"][1] == {"limit": "space", "value": 800_000_000, "actual": 262_500}


@pytest.mark.parametrize(
    ("max_tiles", "available", "zoom"),
    [
        (21, 328_125, 2),
        (20, 10**9, 1),
        (100, 328_124, 1),
        (4, 10**9, 0),
        (100, 15_625, 0),
        (100, 15_624, None),
        (0, 10**9, None),
    ],
)
def test_the_finest_zoom_that_fits_is_suggested(max_tiles, available, zoom):
    body = told(sized(), max_tiles=max_tiles, room=space(available))
    assert (body["suggestedZoom"], body["fits"]) == (zoom, zoom == 2)


def test_what_running_exports_have_reserved_is_not_free():
    room = space(328_124, reserved=10**9)
    body = told(sized(), room=room)
    assert (body["suggestedZoom"], body["reservedBytes"]) == (1, 10**9)


@pytest.mark.parametrize(("max_bytes", "zoom"), [(262_500, 2), (262_499, 1), (0, None)])
def test_what_one_export_may_have_counts_though_there_is_space(max_bytes, zoom):
    body = told(sized(), max_bytes=max_bytes)
    assert (body["suggestedZoom"], body["fits"]) == (zoom, zoom == 2)
    assert body["limits"][1] == {"limit": "bytes", "value": max_bytes, "actual": 262_500}


def test_no_export_takes_less_than_a_second():
    assert told(sized(), rate=Rate(1e6, "layer"))["seconds"] == 1


def test_the_rate_is_that_of_the_layer_else_of_the_service_else_an_assumption(say):
    layers = LayerMemory()
    assert layers.rate("l") == Rate(ASSUMED_TILES_PER_S, "assumed")
    done = {"tiles_expected": 5_000, "started_at_ms": 1_000, "finished_at_ms": 3_000}
    layers.note(say.export("Completed", 5_000, layer_id="other", **done))
    assert layers.rate("l") == Rate(2_500.0, "service")
    layers.note(say.export(done=10, tiles_expected=5_000, tiles_per_s=700.0))
    assert layers.rate("l") == Rate(700.0, "layer")


def test_a_small_export_teaches_no_rate(say):
    layers = LayerMemory()
    layers.note(say.export("Completed", 100, started_at_ms=1_000, finished_at_ms=2_000))
    assert layers.rate("l").basis == "assumed"
