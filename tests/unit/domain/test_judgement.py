"""What a request means for its layer, and every reason to refuse it."""

import json
import math
from dataclasses import replace
from ipaddress import ip_network

import pytest
import shapely

from app.domain.area import area_from_wkb
from app.domain.errors import InvalidRequest, RequestTooLarge
from app.domain.judgement import RequestLimits, caller_digest, judge
from app.domain.package_facts import ZoomTiles
from app.domain.records import ExportRequested
from app.domain.tile_cover import TileCover

LAYER_ID = "7b4f0a8e-5d1c-4a53-9a6b-0f2f6a1d3c11"
GOLDEN = [34.811938017107494, 31.95475033759175, 34.82237261707599, 31.96426962177354]
Z14_DEG = 0.0000429153442382812
LAYER = {
    "id": LAYER_ID,
    "productId": "ORTHO",
    "productVersion": "3.0",
    "maxResolutionDeg": 1.07288e-05,
    "footprint": shapely.geometry.mapping(shapely.box(34, 31, 36, 33)),
}
REQUEST = ExportRequested(
    request_id="5f0a2f3e-93a7-4c35-8c0e-7f1b3c0c9d11",
    layer_id=LAYER_ID,
    bbox_json=json.dumps(GOLDEN),
    target_resolution_deg=Z14_DEG,
)


def judged(**changes):
    return judge(replace(REQUEST, **changes), LAYER)


def test_the_golden_request():
    golden = judged()
    assert golden.tile_count == 18
    assert golden.tiles_by_zoom == (*(ZoomTiles(z, 1) for z in range(14)), ZoomTiles(14, 4))
    assert (golden.min_zoom, golden.max_zoom) == (0, 14)
    assert golden.target_resolution_deg == Z14_DEG
    assert list(area_from_wkb(golden.area_wkb).bounds) == GOLDEN
    cover = TileCover.of(area_from_wkb(golden.area_wkb), 0, 14, max_tiles=18)
    assert cover.tile_count == golden.tile_count


def test_without_a_target_the_layer_decides():
    own = judged(target_resolution_deg=None)
    assert (own.max_zoom, own.target_resolution_deg) == (16, 1.07288e-05)


def test_a_target_rounded_as_the_layer_is_not_finer_than_it():
    assert judged(target_resolution_deg=1.07288360595703e-05).max_zoom == 16


def test_the_coarsest_zoom_follows_the_coarsest_resolution_wanted():
    assert judged(min_resolution_deg=0.0109863).min_zoom == 6
    assert judged(min_resolution_deg=Z14_DEG).min_zoom == 14


def test_without_a_bbox_the_footprint_is_exported():
    for text in (None, "null"):
        area = area_from_wkb(judged(bbox_json=text, target_resolution_deg=0.001).area_wkb)
        assert area.bounds == (34, 31, 36, 33)


REFUSED = {
    "a name twice": ({"bbox_json": '{"type": 1, "type": 2}'}, "type is there more than once"),
    "dbId no uuid": ({"layer_id": "L1"}, 'dbId is "L1"; it must be a uuid'),
    "crs": ({"crs": "EPSG:3857"}, 'crs is "EPSG:3857"; it must be EPSG:4326'),
    "onError": ({"on_error": "retry"}, 'onError is "retry"; it must be fail or skip'),
    "format": ({"format": "webp"}, 'format is "webp"; it must be source'),
    "priority below": ({"priority": -1}, "priority is -1; .* from 0 to 999999999"),
    "priority above": ({"priority": 10**9}, "priority is 1000000000; .* from 0 to 999999999"),
    "priority true": ({"priority": True}, "priority is true"),
    "description": ({"description": "x" * 1001}, "description has 1001 characters, more than 1000"),
    "too many urls": ({"callback_urls": ("http://a",) * 21}, "callbackURLs has 21 .* than 20"),
    "url too long": (
        {"callback_urls": ("http://a", "http://" + "a" * 2042)},
        r"callbackURLs\[1\] has 2049 characters, more than 2048",
    ),
    "target text": ({"target_resolution_deg": "5"}, 'targetResolution is "5"'),
    "target NaN": ({"target_resolution_deg": math.nan}, "targetResolution is NaN"),
    "target too coarse": ({"target_resolution_deg": 0.8}, "targetResolution is 0.8"),
    "target finer than layer": (
        {"target_resolution_deg": 5.3644e-06},
        r"targetResolution is 5.3644e-06 \(zoom 17\), finer .*1.07288e-05 \(zoom 16\)",
    ),
    "minimum finer than target": (
        {"min_resolution_deg": 2.14577e-05},
        r"minResolution is 2.14577e-05 \(zoom 15\), finer than targetResolution .*\(zoom 14\)",
    ),
    "minimum NaN": ({"min_resolution_deg": math.nan}, "minResolution is NaN"),
    "bbox no JSON": ({"bbox_json": "[1,2"}, "bbox is no JSON"),
    "bbox too deep": ({"bbox_json": "[" * 200_000}, "bbox is no JSON"),
    "bbox NaN": ({"bbox_json": "[NaN,1,2,3]"}, r"bbox\[0\] is NaN"),
    "bbox empty": ({"bbox_json": "{}"}, "bbox.type is null"),
    "bbox elsewhere": ({"bbox_json": "[1,2,3,4]"}, "bbox .*nothing in common .*7b4f0a8e"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_a_request_is_refused_with_field_value_and_limit(changes, message):
    with pytest.raises(InvalidRequest, match=message):
        judged(**changes)


@pytest.mark.parametrize(
    "url",
    [
        *("", "ftp://host/x", "host/x", "http://", "https:///path", "javascript:alert(1)"),
        *("http://host:99999/", "http://host:x/", "http://[::1", "http://ho st/", "http://h\n/"),
    ],
)
def test_a_callback_that_is_no_web_address_is_refused(url):
    with pytest.raises(InvalidRequest, match=r"callbackURLs\[0\] is .* http or https URL"):
        judged(callback_urls=(url,))


@pytest.mark.parametrize(
    "url",
    ["http://a", "https://host:8443/hook?x=1#y", "http://[2606:4700::1111]:80/", "HTTPS://HOST/"],
)
def test_web_addresses_are_callbacks(url):
    assert judged(callback_urls=(url,)).export_id == judged().export_id


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("maxResolutionDeg", None, f"maxResolutionDeg of layer {LAYER_ID} is null"),
        ("maxResolutionDeg", 5, f"maxResolutionDeg of layer {LAYER_ID} is 5"),
        ("footprint", None, f"layer {LAYER_ID} has a footprint that cannot be read"),
    ],
)
def test_a_layer_that_cannot_be_exported_is_named(field, value, message):
    with pytest.raises(InvalidRequest, match=message):
        judge(REQUEST, LAYER | {field: value})


def test_the_area_has_a_limit_where_the_operator_sets_one():
    judge(REQUEST, LAYER, RequestLimits(max_area_km2=1.1))
    with pytest.raises(
        RequestTooLarge, match=r"bbox has 1\.0 km2 within the layer, more than 0\.5"
    ):
        judge(REQUEST, LAYER, RequestLimits(max_area_km2=0.5))


def test_limits_are_settings():
    limits = RequestLimits(max_tiles=17)
    with pytest.raises(RequestTooLarge, match="18 tiles, more than 17"):
        judge(REQUEST, LAYER, limits)
    ring = [[34.8, 31.9], [34.9, 31.9], [34.9, 32], [34.8, 31.9]]
    triangle = json.dumps({"type": "Polygon", "coordinates": [ring]})
    with pytest.raises(InvalidRequest, match="4 vertices, more than 3"):
        judge(replace(REQUEST, bbox_json=triangle), LAYER, RequestLimits(max_vertices=3))


def test_a_webhook_in_a_network_that_is_not_public_is_taken_only_where_that_is_allowed():
    inner = replace(REQUEST, callback_urls=("http://a.example/", "http://10.0.0.7/hook"))
    with pytest.raises(InvalidRequest, match=r"callbackURLs\[1\] is .*10\.0\.0\.7 is a private"):
        judge(inner, LAYER, RequestLimits())
    allowed = RequestLimits(callback_networks=(ip_network("10.0.0.0/24"),))
    assert judge(inner, LAYER, allowed).export_id == judged().export_id


def test_callers_who_mean_the_same_tiles_join_one_export():
    first = judged()
    other = judged(
        bbox_json=json.dumps([34.812, 31.955, 34.822, 31.964]),
        target_resolution_deg=4.29153e-05,
        priority=7,
        description="mine",
        request_id="other",
    )
    assert other.export_id == first.export_id
    assert other.request_digest != first.request_digest


def test_a_new_version_of_the_layer_is_another_export():
    assert judge(REQUEST, LAYER | {"productVersion": "4.0"}).export_id != judged().export_id


def test_the_digest_knows_the_callers_fields_only():
    again = replace(REQUEST, request_id="r", at_ms=5, tries=3, first_tried_at_ms=4, via_http=True)
    assert caller_digest(again) == caller_digest(REQUEST)
    for changes in ({"client": "c"}, {"priority": 1}, {"bbox_json": None}, {"format": "webp"}):
        assert caller_digest(replace(REQUEST, **changes)) != caller_digest(REQUEST)
