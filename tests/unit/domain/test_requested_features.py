"""FeatureCollections: what they mean for a layer, and every reason to refuse one."""

import json
import time
from dataclasses import replace

import pytest
import shapely

from app.domain.area import area_from_wkb, parse_footprint
from app.domain.errors import InvalidRequest, RequestTooLarge
from app.domain.export_cover import ExportCover
from app.domain.judgement import RequestLimits, judge
from app.domain.layer_zooms import LayerZooms
from app.domain.package_facts import PackagePlan, ZoomTiles
from app.domain.records import ExportRequested
from app.domain.requested_features import feature_areas, parse_features

LAYER_ID = "7b4f0a8e-5d1c-4a53-9a6b-0f2f6a1d3c11"
GOLDEN = (34.811938017107494, 31.95475033759175, 34.82237261707599, 31.96426962177354)
Z14_DEG, Z9_DEG, Z3_DEG = 0.0000429153442382812, 0.00137329, 0.0878906
LAYER = {
    "id": LAYER_ID,
    "productId": "ORTHO",
    "productVersion": "3.0",
    "maxResolutionDeg": 1.07288e-05,
    "footprint": shapely.geometry.mapping(shapely.box(34, 31, 36, 33)),
}


def polygon(west, south, east, north):
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def feature(box=GOLDEN, **properties):
    return {"type": "Feature", "properties": properties, "geometry": polygon(*box)}


def collection(*features, **members):
    return {"type": "FeatureCollection", "features": list(features), **members}


def judged(bbox, *, limits=None, **changes):
    request = ExportRequested("r", LAYER_ID, bbox_json=json.dumps(bbox))
    return judge(replace(request, **changes), LAYER, limits)


def cover_of(judgement):
    plan = PackagePlan(
        "p",
        "t",
        "i",
        "{}",
        judgement.area_wkb,
        judgement.min_zoom,
        judgement.max_zoom,
        9,
        1,
        "fail",
        judgement.areas,
    )
    return ExportCover.of_plan(plan, max_tiles=judgement.tile_count)


def test_the_golden_box_as_the_only_feature_is_the_golden_request():
    plain = judged(list(GOLDEN), target_resolution_deg=Z14_DEG)
    alone = judged(collection(feature(maxResolutionDeg=Z14_DEG)))
    assert alone.export_id == plain.export_id
    assert (alone.tile_count, alone.areas, alone.area_wkb) == (18, (), plain.area_wkb)
    assert alone.target_resolution_deg == Z14_DEG
    assert alone.request_digest != plain.request_digest


def test_features_with_zooms_of_their_own_become_tables_of_their_own():
    country = (34.2, 31.2, 35.6, 32.8)
    found = judged(
        collection(
            feature(country, maxResolutionDeg=Z9_DEG),
            feature(maxResolutionDeg=Z14_DEG, minResolutionDeg=Z3_DEG),
        )
    )
    assert [(area.min_zoom, area.max_zoom) for area in found.areas] == [(0, 9), (3, 14)]
    assert (found.min_zoom, found.max_zoom, found.area_wkb) == (0, 14, b"")
    assert found.target_resolution_deg == Z14_DEG
    coarse = judged(list(GOLDEN), target_resolution_deg=Z14_DEG, min_resolution_deg=Z3_DEG)
    fine = judged(list(country), target_resolution_deg=Z9_DEG)
    assert found.tile_count == coarse.tile_count + fine.tile_count
    counts = {zoom.zoom: zoom.tiles for zoom in found.tiles_by_zoom}
    assert counts[0] == 1
    assert counts[9] == fine.tiles_by_zoom[9].tiles + 1
    assert found.tiles_by_zoom[-1] == ZoomTiles(14, 4)
    assert cover_of(found).tiles_by_zoom == tuple(
        (zoom.zoom, zoom.tiles) for zoom in found.tiles_by_zoom
    )


def test_features_with_the_same_zooms_share_one_area():
    halves = [feature((34.2, 31.2, 34.9, 32)), feature((34.8, 31.2, 35.6, 32))]
    wanted = [half | {"properties": {"maxResolutionDeg": Z9_DEG}} for half in halves]
    one = judged([34.2, 31.2, 35.6, 32], target_resolution_deg=Z9_DEG)
    assert judged(collection(*wanted)).export_id == one.export_id
    assert judged(collection(*wanted[::-1])).export_id == one.export_id


def test_the_order_of_features_and_their_other_properties_do_not_matter():
    features = [
        feature(maxResolutionDeg=Z14_DEG, name="harbour"),
        feature((34.2, 31.2, 35.6, 32.8), maxResolutionDeg=Z9_DEG),
        feature((34.2, 31.2, 34.3, 31.3), maxResolutionDeg=Z9_DEG, minResolutionDeg=Z3_DEG),
    ]
    bare = [one | {"properties": one["properties"] | {"name": None}} for one in features]
    assert judged(collection(*features)).export_id == judged(collection(*bare[::-1])).export_id


def test_without_resolutions_the_layer_and_zoom_0_decide():
    lean = {"type": "Feature", "properties": None, "geometry": polygon(*GOLDEN)}
    found = judged(collection(lean))
    assert (found.min_zoom, found.max_zoom) == (0, 16)
    assert found.target_resolution_deg == LAYER["maxResolutionDeg"]


def test_a_feature_is_cut_at_the_layers_footprint():
    found = judged(collection(feature((35, 32, 50, 50), maxResolutionDeg=Z9_DEG)))
    assert area_from_wkb(found.area_wkb).bounds == (35, 32, 36, 33)


def test_what_programs_write_beside_the_features_is_passed_over():
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
    own = {"name": "a", "resolution": "0.5 m", "sensorResolution": None, "max": 7}
    written = feature(maxResolutionDeg=Z14_DEG, **own) | {"id": 7, "bbox": list(GOLDEN)}
    told = collection(written, name="layer", crs=crs, bbox=[0, 0, 1, 1])
    assert judged(told).tile_count == 18


def test_a_multipolygon_may_be_a_feature():
    parts = [polygon(34.2, 31.2, 34.3, 31.3), polygon(35.2, 31.2, 35.3, 31.3)]
    several = {"type": "MultiPolygon", "coordinates": [part["coordinates"] for part in parts]}
    one = {"type": "Feature", "properties": {"maxResolutionDeg": Z9_DEG}, "geometry": several}
    plain = judged(several, target_resolution_deg=Z9_DEG)
    assert judged(collection(one)).export_id == plain.export_id


GOOD = feature(maxResolutionDeg=Z14_DEG)
REFUSED = [
    (collection(), "bbox.features is empty"),
    ({"type": "FeatureCollection"}, "bbox.features is null; it must be an array"),
    ({"type": "FeatureCollection", "features": {}}, r"bbox.features is {}; it must be an array"),
    (collection(GOOD, style="red"), "bbox.style is unknown; a FeatureCollection has"),
    (collection(GOOD, crs="EPSG:3857"), 'bbox.crs is "EPSG:3857"; it must be left out'),
    (collection(GOOD, crs={"properties": {"name": "EPSG:3857"}}), "bbox.crs is"),
    (collection(GOOD, 5), r"bbox.features\[1\] is 5; it must be a GeoJSON Feature"),
    (collection(polygon(*GOLDEN)), r'bbox.features\[0\].type is "Polygon"; it must be Feature'),
    (collection(GOOD | {"x": 1}), r"bbox.features\[0\].x is unknown; a Feature has bbox, geom"),
    (collection(GOOD | {"geometry": None}), r"bbox.features\[0\].geometry is null"),
    (
        collection(GOOD, GOOD | {"geometry": {"type": "Point", "coordinates": [34.8, 31.9]}}),
        r'bbox.features\[1\].geometry.type is "Point"; it must be Polygon or MultiPolygon',
    ),
    (
        collection(GOOD, feature((34, 31, 181, 32))),
        r"bbox.features\[1\].geometry.coordinates\[0\]\[1\]\[0\] is 181; .*-180 and 180",
    ),
    (
        collection(GOOD | {"geometry": {"type": "Polygon", "coordinates": []}}),
        r"bbox.features\[0\].geometry.coordinates is empty",
    ),
    (
        collection(GOOD | {"geometry": polygon(*GOLDEN) | {"crs": "x"}}),
        r"bbox.features\[0\].geometry.crs is unknown",
    ),
    (collection(GOOD | {"properties": [1]}), r"bbox.features\[0\].properties is \[1\]"),
    (
        collection(feature(maxResolution=Z14_DEG)),
        r"bbox.features\[0\].properties.maxResolution is unknown; .* maxResolutionDeg and",
    ),
    (
        collection(feature(MAXRESOLUTIONDEG=Z14_DEG)),
        r"bbox.features\[0\].properties.MAXRESOLUTIONDEG is unknown",
    ),
    (
        collection(feature(max_resolution_deg=Z14_DEG)),
        r"bbox.features\[0\].properties.max_resolution_deg is unknown",
    ),
    (
        collection(feature(targetResolution=Z14_DEG)),
        r"bbox.features\[0\].properties.targetResolution is unknown",
    ),
    (
        collection(GOOD, feature(maxResolutionDeg="5")),
        r'bbox.features\[1\].properties.maxResolutionDeg is "5"; it must be a number',
    ),
    (
        collection(feature(maxResolutionDeg=False)),
        r"bbox.features\[0\].properties.maxResolutionDeg is false",
    ),
    (
        collection(feature(maxResolutionDeg=0.8)),
        r"bbox.features\[0\].properties.maxResolutionDeg is 0.8; it must lie between",
    ),
    (
        collection(feature(maxResolutionDeg=Z14_DEG, minResolutionDeg=2e-5)),
        r"properties.minResolutionDeg is 2e-05 \(zoom 15\), finer than maxResolutionDeg",
    ),
    (
        collection(GOOD, feature(maxResolutionDeg=2.7e-6)),
        r"bbox.features\[1\].properties.maxResolutionDeg is 2.7e-06 \(zoom 17\), finer than layer",
    ),
    (
        collection(GOOD, feature((10, 10, 11, 11))),
        r"bbox.features\[1\] has nothing in common with the footprint of layer 7b4f",
    ),
    (
        collection(GOOD, feature((36, 31, 37, 33))),
        r"bbox.features\[1\] has nothing in common",
    ),
]


@pytest.mark.parametrize(("bbox", "message"), REFUSED)
def test_a_wrong_collection_is_refused_with_its_place(bbox, message):
    with pytest.raises(InvalidRequest, match=message) as refused:
        judged(bbox)
    assert refused.value.http_status == 400


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("targetResolution", {"target_resolution_deg": Z14_DEG}),
        ("minResolution", {"min_resolution_deg": Z3_DEG}),
    ],
)
def test_a_resolution_for_all_features_is_refused(field, changes):
    with pytest.raises(InvalidRequest, match=f"{field} is .*maxResolutionDeg"):
        judged(collection(GOOD), **changes)


def test_the_vertices_of_all_features_are_limited_together():
    limits = RequestLimits(max_vertices=9)
    assert judged(collection(GOOD), limits=limits).tile_count == 18
    with pytest.raises(InvalidRequest, match="bbox has 10 vertices, more than 9"):
        judged(collection(GOOD, GOOD), limits=limits)


def test_the_tiles_of_all_features_are_limited_together():
    two = collection(GOOD, feature(maxResolutionDeg=Z14_DEG * 2))
    limit = judged(two).tile_count
    assert judged(two, limits=RequestLimits(max_tiles=limit)).tile_count == limit
    with pytest.raises(RequestTooLarge, match=f"makes {limit} tiles, more than {limit - 1}"):
        judged(two, limits=RequestLimits(max_tiles=limit - 1))


def test_another_value_is_no_collection():
    for value in (None, [1, 2, 3, 4], polygon(*GOLDEN), {"type": ["FeatureCollection"]}, 5):
        assert parse_features(value, max_vertices=10) is None


def test_four_thousand_features_over_a_coast_are_judged_while_a_caller_waits():
    """20,000 vertices at most; a footprint of 10,000. A minute here would hang the ingress."""
    coast = shapely.geometry.mapping(shapely.Point(35, 32).buffer(0.9, quad_segs=2500))
    footprint = parse_footprint(coast, layer_id=LAYER_ID)
    features = [
        feature(
            (34.6 + i % 60 / 75, 31.6 + i // 60 / 90, 34.609 + i % 60 / 75, 31.609 + i // 60 / 90),
            maxResolutionDeg=0.703125 / 2 ** (8 + i % 7),
            minResolutionDeg=0.703125 / 2 ** (i % 8),
        )
        for i in range(4_000)
    ]
    started = time.process_time()
    read = parse_features(collection(*features), max_vertices=20_000)
    wanted = feature_areas(read, LayerZooms(LAYER_ID, 1e-5), footprint)
    cover = ExportCover.of(wanted.areas, max_tiles=10**8)
    assert len(wanted.areas) == 56
    assert len(cover.tables) == 7
    assert time.process_time() - started < 10
