"""The table of bad bodies, sent to one real ingress: each gets exactly its answer."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest
import pytest_asyncio

from app.catalogue.folder import FolderCatalogue
from app.ingress.openapi import documented_statuses
from app.ingress.run import serving
from app.kafka.topic_admin import create_topics
from app.kafka.topics import Topics
from app.settings import Settings
from app.store.artifact_store import ArtifactStore

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAYER = {
    "id": "0c3e455f-4aeb-4258-982d-f7773469a92d",
    "productId": "BLUE_MARBLE",
    "productVersion": "1.0",
    "maxResolutionDeg": 0.0000429153442382812,
    "footprint": {
        "type": "Polygon",
        "coordinates": [[[34, 31], [36, 31], [36, 33], [34, 33], [34, 31]]],
    },
    "source": {"type": "folder", "path": "/tiles"},
}
PATHS = [path for method, path in documented_statuses() if path in ("/create", "/estimate")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ingress(
    broker: str, tmp_path_factory: pytest.TempPathFactory, unused_port: int
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of one ingress for the whole table."""
    data_dir: Path = tmp_path_factory.mktemp("ingress")
    settings = Settings(
        data_dir=data_dir,
        port=unused_port,
        topic_prefix=f"bad-{os.getpid()}-",
        verdict_wait_s=0.1,
        max_tiles=10_000,
        max_vertices=50,
        max_body_bytes=100_000,
    )
    settings.catalogue_dir.mkdir()
    (settings.catalogue_dir / "blue-marble.json").write_bytes(orjson.dumps(LAYER))
    await create_topics(broker, Topics(settings.topic_prefix))
    catalogue = FolderCatalogue(settings.catalogue_dir)
    files = ArtifactStore(settings.exports_dir)
    async with (
        serving(settings, bootstrap=broker, catalogue=catalogue, files=files),
        aiohttp.ClientSession(settings.base_url) as client,
    ):
        yield client


@pytest.mark.parametrize("path", PATHS)
async def test_a_bad_body_gets_exactly_its_answer(ingress, bad_body, path):
    if path == "/estimate" and "tiles, more than" in bad_body.message:
        pytest.skip("an estimate tells it as a limit")
    if path == "/estimate" and "there is no such request" in bad_body.message:
        pytest.skip("an estimate is the same whatever it retries")
    async with ingress.post(path, data=bad_body.body) as answer:
        assert answer.content_type == "application/json"
        assert (answer.status, await answer.json()) == (
            bad_body.status,
            {"message": bad_body.message},
        )


async def test_the_table_has_at_least_150_different_bodies(bad_bodies):
    assert len({row.body for row in bad_bodies}) == len(bad_bodies) >= 150
