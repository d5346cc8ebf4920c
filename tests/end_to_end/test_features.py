"""A FeatureCollection: what one caller wants coarse and fine, in one package with two tables."""

import asyncio
import sqlite3
import subprocess
import sys

import orjson
import pytest
import rasterio
import shapely

from app.demo import DEMO_LAYER_ID
from app.domain.world_crs84_quad import tile_bounds

REGION, ISLAND = (-20, 30, 40, 60), (5, 41, 10, 44)


def feature(box, zoom, coarsest=0):
    geometry = shapely.geometry.mapping(shapely.box(*box))
    resolutions = {
        "maxResolutionDeg": 0.703125 / 2**zoom,
        "minResolutionDeg": 0.703125 / 2**coarsest,
    }
    properties = resolutions | {"name": "any"}
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def tiles_of(box, zooms):
    found = set()
    for zoom in zooms:
        for col in range(2 ** (zoom + 1)):
            for row in range(2**zoom):
                bounds = tile_bounds(zoom, col, row).as_list()
                if shapely.box(*bounds).intersection(shapely.box(*box)).area > 0:
                    found.add((zoom, col, row))
    return found


async def asked(service, http, hooks, bbox, **fields):
    body = {"dbId": DEMO_LAYER_ID, "bbox": bbox, "callbackURLs": [hooks.url], **fields}
    async with http.post(f"{service.url}/create", json=body) as answer:
        return answer.status, await answer.json()


async def test_each_finest_zoom_is_a_table_with_exactly_the_tiles_of_its_features(
    service, http, hooks, tmp_path, fetch_package
):
    bbox = {
        "type": "FeatureCollection",
        "features": [feature(REGION, 3), feature(ISLAND, 5, coarsest=2)],
    }
    bbox = orjson.loads(orjson.dumps(bbox))
    status, answer = await asked(service, http, hooks, bbox)
    assert status == 200, answer
    result = await hooks.result(answer["requestId"])
    assert (result["success"], result["bbox"]) == (True, bbox)
    assert result["targetResolution"] == 0.703125 / 2**5
    package = await fetch_package(http, result, tmp_path)

    wanted = {
        "blue_marble_z3": tiles_of(REGION, range(4)),
        "blue_marble_z5": tiles_of(ISLAND, range(2, 6)),
    }
    connection = sqlite3.connect(f"file:{package}?mode=ro", uri=True)
    for table, tiles in wanted.items():
        rows = connection.execute(
            f'SELECT zoom_level, tile_column, tile_row, tile_data FROM "{table}"'
        )
        found = {(zoom, col, row): data for zoom, col, row, data in rows}
        assert found.keys() == tiles
        for tile, data in found.items():
            assert data == service.layer_tile(*tile).read_bytes()
    connection.close()
    count = sum(map(len, wanted.values()))
    assert result["tiles"] == {"expected": count, "written": count, "missing": 0}

    with rasterio.open(f"GPKG:{package}:blue_marble_z5") as dataset:
        finest = [tile_bounds(*tile) for tile in wanted["blue_marble_z5"] if tile[0] == 5]
        assert dataset.bounds.left == min(tile.west for tile in finest)
        assert dataset.bounds.top == max(tile.north for tile in finest)
        assert dataset.res == pytest.approx((0.703125 / 2**5,) * 2)
    verify = [sys.executable, "-P", "-m", "app", "verify", str(package)]
    ran = await asyncio.to_thread(subprocess.run, verify, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


async def test_an_estimate_counts_the_tiles_of_all_tables_and_each_can_be_looked_at(
    service, http, hooks
):
    features = [feature((100, -40, 150, -10), 4), feature((115, -35, 120, -30), 5, coarsest=4)]
    bbox = {"type": "FeatureCollection", "features": features}
    body = {"dbId": DEMO_LAYER_ID, "bbox": bbox}
    async with http.post(f"{service.url}/estimate", json=body) as answer:
        estimate = await answer.json()
        assert answer.status == 200, estimate
    _, answer = await asked(service, http, hooks, bbox)
    result = await hooks.result(answer["requestId"])
    assert estimate["tiles"] == result["tiles"]["expected"]
    assert (estimate["zoom"], estimate["fits"]) == (5, True)
    async with http.get(result["metadataUri"]) as found:
        metadata = await found.json(content_type=None)
    told = {zoom["zoom"]: zoom["tiles"] for zoom in estimate["tilesByZoom"]}
    assert told == {zoom["zoom"]: zoom["expected"] for zoom in metadata["tiles"]}
    for zoom, col, row in ((5, 52, 21), (4, 25, 10)):
        url = f"{service.url}/exports/{answer['requestId']}/tiles/{zoom}/{col}/{row}"
        async with http.get(url) as tile:
            assert tile.status == 200, await tile.text()
            assert await tile.read() == service.layer_tile(zoom, col, row).read_bytes()


async def test_a_single_feature_gets_the_package_of_the_plain_request(service, http, hooks):
    box = [15, 5, 16, 6]
    resolution = 0.703125 / 2**4
    _, plain = await asked(service, http, hooks, box, targetResolution=resolution)
    first = await hooks.result(plain["requestId"])
    bbox = {"type": "FeatureCollection", "features": [feature(box, 4)]}
    status, answer = await asked(service, http, hooks, bbox)
    assert (status, answer["status"], answer["fileUri"]) == (200, "Completed", first["fileUri"])
    assert answer["requestId"] != first["requestId"]
    assert answer["bbox"] == orjson.loads(orjson.dumps(bbox))


async def test_a_feature_that_is_no_area_is_refused_at_once_with_its_place(service, http, hooks):
    broken = feature(ISLAND, 5)
    broken["geometry"]["coordinates"] = [[[0, 0], [1, 1], [0, 0]]]
    bbox = {"type": "FeatureCollection", "features": [feature(REGION, 3), broken]}
    status, answer = await asked(service, http, hooks, bbox)
    assert status == 400
    assert "bbox.features[1].geometry.coordinates[0] has 3 positions" in answer["message"]
