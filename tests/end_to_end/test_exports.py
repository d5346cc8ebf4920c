"""What a person gets: posts an area, hears by webhook, downloads, and has the right tiles."""

import asyncio
import json
import subprocess
import sys

import pytest
import rasterio
import shapely

from app.demo import DEMO_LAYER_ID
from app.domain.world_crs84_quad import tile_bounds

BOX = [34.2, 29.4, 35.9, 33.4]
WITH_A_HOLE = {
    "type": "Polygon",
    "coordinates": [
        [[-20, -20], [60, -25], [40, 45], [-30, 40], [-20, -20]],
        [[0, 0], [20, 0], [20, 20], [0, 20], [0, 0]],
    ],
}
TWO_PARTS = {
    "type": "MultiPolygon",
    "coordinates": [
        [[[-60, -30], [-40, -30], [-50, 0], [-60, -30]]],
        [
            [[100, 10], [140, 10], [140, 50], [100, 50], [100, 10]],
            [[110, 20], [130, 20], [120, 40], [110, 20]],
        ],
    ],
}


def tiles_by_shared_interior(area, zooms):
    """Brute force: every tile whose interior has something in common with the area's."""
    found = set()
    for zoom in zooms:
        for col in range(2 ** (zoom + 1)):
            for row in range(2**zoom):
                bounds = tile_bounds(zoom, col, row)
                tile = shapely.box(bounds.west, bounds.south, bounds.east, bounds.north)
                if shapely.intersection(area, tile).area > 0:
                    found.add((zoom, col, row))
    return found


async def export(service, http, hooks, bbox, **fields):
    body = {"dbId": DEMO_LAYER_ID, "bbox": bbox, "callbackURLs": [hooks.url], **fields}
    async with http.post(f"{service.url}/create", json=body) as answer:
        assert answer.status == 200, await answer.text()
        asked = await answer.json()
    return await hooks.result(asked["requestId"])


def check_with_gdal(package):
    code = (
        "import sys; from osgeo_utils.samples.validate_gpkg import main; sys.exit(main(sys.argv))"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(package)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("bbox", "area", "max_zoom"),
    [
        (BOX, shapely.box(*BOX), 5),
        (WITH_A_HOLE, shapely.from_geojson(json.dumps(WITH_A_HOLE)), 5),
        (TWO_PARTS, shapely.from_geojson(json.dumps(TWO_PARTS)), 4),
    ],
    ids=["a box", "a polygon with a hole", "a MultiPolygon"],
)
async def test_an_area_becomes_a_package_with_exactly_its_tiles(
    service, http, hooks, tmp_path, fetch_package, read_package, bbox, area, max_zoom
):
    result = await export(service, http, hooks, bbox, targetResolution=0.703125 / 2**max_zoom)
    assert result["success"]
    assert result["bbox"] == bbox
    package = await fetch_package(http, result, tmp_path)

    tiles = await read_package(http, result, tmp_path)
    assert tiles.keys() == tiles_by_shared_interior(area, range(max_zoom + 1))
    for (zoom, col, row), data in tiles.items():
        assert data == service.layer_tile(zoom, col, row).read_bytes()
    assert result["tiles"] == {"expected": len(tiles), "written": len(tiles), "missing": 0}

    check_with_gdal(package)
    with rasterio.open(package) as dataset:
        finest = [tile_bounds(*tile) for tile in tiles if tile[0] == max_zoom]
        assert dataset.bounds.left == min(tile.west for tile in finest)
        assert dataset.bounds.top == max(tile.north for tile in finest)
        assert dataset.bounds.right == max(tile.east for tile in finest)
        assert dataset.bounds.bottom == min(tile.south for tile in finest)
        assert dataset.res == pytest.approx((0.703125 / 2**max_zoom,) * 2)
        assert dataset.crs.to_epsg() == 4326


async def test_the_result_stands_in_kafka_byte_for_byte_as_the_webhook_told_it(
    service, http, hooks, read_results
):
    result = await export(service, http, hooks, [10, 10, 11, 11])
    found = await asyncio.to_thread(read_results, service.broker)
    (record,) = [body for body in found if body["requestId"] == result["requestId"]]
    assert record == result


async def test_a_second_identical_request_is_answered_with_the_finished_package(
    service, http, hooks
):
    body = {"dbId": DEMO_LAYER_ID, "bbox": [20, 20, 21, 21], "callbackURLs": [hooks.url]}
    first = await export(service, http, hooks, body["bbox"])
    async with http.post(f"{service.url}/create", json=body) as answer:
        second = await answer.json()
    assert second["status"] == "Completed"
    assert second["requestId"] == first["requestId"]
    assert second["fileUri"] == first["fileUri"]
    assert second["sha256"] == first["sha256"]
    async with http.get(f"{service.url}/taskStatus/{first['requestId']}") as answer:
        assert await answer.json() == {"percentage": 100, "status": "Completed"}


async def test_a_hundred_identical_requests_at_once_make_one_package(
    service, http, hooks, eventually
):
    body = {"dbId": DEMO_LAYER_ID, "bbox": [-71, -31, -69, -29], "callbackURLs": [hooks.url]}

    async def ask():
        async with http.post(f"{service.url}/create", json=body) as answer:
            assert answer.status == 200
            return (await answer.json())["requestId"]

    async def file_of(request_id):
        async with http.get(f"{service.url}/exports/{request_id}") as answer:
            return ((await answer.json())["result"] or {}).get("fileUri")

    # Whoever is not answered in time has an id of its own for the same request.
    ids = set(await asyncio.gather(*(ask() for _ in range(100))))
    for request_id in ids:
        await eventually(lambda asked=request_id: file_of(asked), deadline_s=60)
    assert len(set(await asyncio.gather(*map(file_of, ids)))) == 1
    await eventually(lambda: len(hooks.calls) >= 1)


async def test_an_export_over_the_antimeridian_holds_both_sides(
    service, http, hooks, tmp_path, read_package
):
    result = await export(service, http, hooks, [176, -10, -176, 10])
    tiles = await read_package(http, result, tmp_path)
    columns = {col for zoom, col, _ in tiles if zoom == 5}
    assert columns == {0, 63}


async def test_an_absent_bbox_is_the_whole_layer(service, http, hooks):
    result = await export(service, http, hooks, None, targetResolution=0.17578125)
    assert result["bbox"] is None
    assert result["tiles"]["expected"] == 2 + 8 + 32


async def test_a_webhook_that_fails_is_called_again_with_the_same_delivery_id(
    service, http, hooks, eventually
):
    hooks.status = 500
    await export(service, http, hooks, [50, 50, 51, 51])
    await eventually(lambda: len(hooks.calls) >= 2, deadline_s=20)
    hooks.status = 204
    calls = len(hooks.calls)
    await eventually(lambda: len(hooks.calls) > calls, deadline_s=20)
    assert len({headers["webhook-id"] for headers, _ in hooks.calls}) == 1
    assert len({json.dumps(body, sort_keys=True) for _, body in hooks.calls}) == 1


async def test_the_command_exports_downloads_and_verifies(service, tmp_path):
    output = tmp_path / "area.gpkg"
    command = [sys.executable, "-P", "-m", "app", "export", "--url", service.url]
    command += ["--layer", DEMO_LAYER_ID, "--bbox", "5,45,10,48", "--output", str(output)]
    ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    verify = [sys.executable, "-P", "-m", "app", "verify", str(output)]
    ran = await asyncio.to_thread(subprocess.run, verify, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    damaged = tmp_path / "damaged.gpkg"
    damaged.write_bytes(output.read_bytes()[:-5000])
    verify[-1] = str(damaged)
    ran = await asyncio.to_thread(subprocess.run, verify, capture_output=True, text=True)
    assert ran.returncode == 1
