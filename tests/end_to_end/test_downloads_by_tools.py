"""A real package fetched as people do it: by curl, broken off and resumed; by GDAL, in ranges."""

import asyncio
import hashlib
import shutil
import subprocess

import pytest
import rasterio
from rasterio.drivers import raster_driver_extensions

from app.demo import DEMO_LAYER_ID


@pytest.fixture
async def finished(service, http, hooks):
    """The result of an export of 17 MB: the whole demo layer."""
    body = {"dbId": DEMO_LAYER_ID, "callbackURLs": [hooks.url]}
    async with http.post(f"{service.url}/create", json=body) as answer:
        assert answer.status == 200, await answer.text()
        asked = await answer.json()
    return asked if asked["status"] == "Completed" else await hooks.result(asked["requestId"])


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_resumes_a_download_until_the_bytes_have_the_sha256_of_the_result(
    finished, tmp_path
):
    target = tmp_path / finished["packageName"]
    command = ["curl", "--silent", "--continue-at", "-", "--output", str(target)]
    command += ["--limit-rate", "4M", "--max-time", "2", finished["fileUri"]]
    ended = []
    while not ended or ended[-1] != 0:
        assert len(ended) < 30, ended
        ran = await asyncio.to_thread(subprocess.run, command, check=False)
        ended.append(ran.returncode)
    assert ended.count(28) >= 1, "it must have been broken off at least once"
    assert set(ended) == {0, 28}
    assert hashlib.sha256(target.read_bytes()).hexdigest() == finished["sha256"]


@pytest.mark.skipif(
    "gpkg" not in raster_driver_extensions(), reason="this GDAL does not read GeoPackages"
)
async def test_gdal_opens_a_package_where_it_is_and_reads_parts_of_it(
    service, finished, eventually
):
    (local,) = (service.data_dir / "exports").rglob(finished["packageName"])
    log = service.data_dir / "run" / "ingress.log"
    known = len(log.read_text())

    def read(path):
        # Only the package itself: GDAL looks for files beside it, which are not there.
        options = {"CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".gpkg", "GDAL_PAM_ENABLED": False}
        with rasterio.Env(**options), rasterio.open(path) as dataset:
            assert dataset.crs.to_epsg() == 4326
            return dataset.bounds, dataset.read(window=((3000, 3300), (4000, 4300)))

    bounds, pixels = await asyncio.to_thread(read, f"/vsicurl/{finished['fileUri']}")
    assert tuple(bounds) == (-180, -90, 180, 90)
    assert pixels.any()
    assert (pixels == read(local)[1]).all()

    # A line is written when its answer has been sent.
    def is_asked_by_range() -> bool:
        asked = [line for line in log.read_text()[known:].splitlines() if local.name in line]
        by_range = [line for line in asked if " status=206" in line or '"status": 206' in line]
        assert len(by_range) > 1, asked
        return True

    await eventually(is_asked_by_range)
