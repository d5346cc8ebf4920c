"""Single tiles, of layers and of finished packages, over HTTP."""

import io
import sqlite3
from contextlib import closing
from uuid import uuid4

import orjson
import pytest
from PIL import Image

from app.domain.area import BoundingBox
from app.domain.tile_tables import TileTables
from app.ingress.openapi import documented_statuses
from app.package.geopackage import Contents, create_tables, describe_tiles
from app.package.shard import Shard

EXPORT_ID = "e" * 64
ATTEMPT = "1795404000000-17"
NAME = "BLUE_MARBLE_1.0_z14_0123456789ab_1795404000000-17"
LAYER_ID = "0c3e455f-4aeb-4258-982d-f7773469a92d"
SEEN_ID = "5ee10000-0000-4000-8000-000000000001"


def picture(colour: str, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (256, 256), colour).save(buffer, kind)
    return buffer.getvalue()


RED = picture("red")
BLUE = picture("blue", "JPEG")


@pytest.fixture
def layer_with_tiles(settings):
    """A layer of zooms 0 to 2 that holds one tile, 1/3/0."""
    record = orjson.loads((settings.catalogue_dir / "blue-marble.json").read_bytes())
    source = {"type": "folder", "path": "seen", "rows": "xyz", "extension": "png"}
    record |= {"id": SEEN_ID, "maxResolutionDeg": 0.17578125, "source": source}
    (settings.catalogue_dir / "seen.json").write_bytes(orjson.dumps(record))
    folder = settings.layers_dir / "seen" / "1" / "3"
    folder.mkdir(parents=True)
    (folder / "0.png").write_bytes(RED)
    return f"/layers/{SEEN_ID}/tiles"


@pytest.fixture
def package_with_tiles(settings):
    """The package that results of the played completion name; it holds one tile, 1/3/0."""
    folder = settings.exports_dir / EXPORT_ID / ATTEMPT
    folder.mkdir(parents=True)
    path = folder / f"{NAME}.gpkg"
    connection = sqlite3.connect(path)
    create_tables(connection, ["BLUE_MARBLE"])
    box = BoundingBox(90, 0, 180, 90)
    contents = Contents("BLUE_MARBLE", "x", box, [1], "2026-01-01", has_webp=False)
    describe_tiles(connection, [contents])
    connection.execute('INSERT INTO "BLUE_MARBLE" VALUES (1, 1, 3, 0, ?)', (BLUE,))
    connection.commit()
    connection.close()
    path.with_suffix(".json").write_bytes(b"{}")
    return path


@pytest.fixture
async def finished_export(client, peer, say, golden, package_with_tiles, eventually):
    """The id of a request whose package is there."""
    await client.post("/create", data=orjson.dumps(golden))
    request_id = peer.asked[0].request_id
    await peer.send(say.export(18, "Completed"), say.finished(request_id))

    async def is_told() -> bool:
        async with client.get(f"/exports/{request_id}") as answer:
            return (await answer.json())["status"] == "Completed"

    await eventually(is_told)
    return request_id


async def test_a_tile_of_a_layer_comes_as_its_source_has_it(client, layer_with_tiles):
    async with client.get(f"{layer_with_tiles}/1/3/0") as answer:
        assert (answer.status, answer.content_type) == (200, "image/png")
        assert answer.headers["Cache-Control"] == "private, max-age=3600"
        assert await answer.read() == RED
        etag = answer.headers["ETag"]
    async with client.get(f"{layer_with_tiles}/1/3/0", headers={"If-None-Match": etag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")


@pytest.mark.parametrize(
    ("tile", "status", "told"),
    [
        ("1/2/0", 404, "has no tile 1/2/0"),
        ("1/4/0", 404, "zoom 1 has 4 columns and 2 rows"),
        ("1/0/2", 404, "zoom 1 has 4 columns and 2 rows"),
        ("3/0/0", 404, "the finest zoom of layer"),
        ("23/0/0", 404, "the finest is 22"),
        ("1/-1/0", 404, "must be zoom/column/row"),
        ("1/03/0", 404, "must be zoom/column/row"),
    ],
)
async def test_what_is_no_tile_of_a_layer_is_not_found(
    client, layer_with_tiles, tile, status, told
):
    async with client.get(f"{layer_with_tiles}/{tile}") as answer:
        assert answer.status == status
        assert told in (await answer.json())["message"]


async def test_a_layer_that_is_not_there_has_no_tiles(client):
    layer_id = uuid4()
    async with client.get(f"/layers/{layer_id}/tiles/0/0/0") as answer:
        assert answer.status == 404
        message = (await answer.json())["message"]
        assert message == f"dbId is {layer_id}; the catalogue has no such layer"
    async with client.get("/layers/7/tiles/0/0/0") as answer:
        assert answer.status == 400


async def test_a_source_outside_the_allowed_folders_is_not_read_nor_named(client):
    async with client.get(f"/layers/{LAYER_ID}/tiles/0/0/0") as answer:
        assert answer.status == 503
        message = (await answer.json())["message"]
    assert "cannot be read" in message
    assert "/tiles" not in message


async def test_a_tile_of_a_finished_package_comes_out_of_the_package(client, finished_export):
    path = f"/exports/{finished_export}/tiles"
    async with client.get(f"{path}/1/3/0") as answer:
        assert (answer.status, answer.content_type) == (200, "image/jpeg")
        assert await answer.read() == BLUE
        etag = answer.headers["ETag"]
    async with client.get(f"{path}/1/3/0", headers={"If-None-Match": etag}) as answer:
        assert answer.status == 304
    async with client.get(f"{path}/1/2/0") as answer:
        assert answer.status == 404


async def test_a_package_that_is_gone_has_no_tiles(client, finished_export, package_with_tiles):
    package_with_tiles.unlink()
    async with client.get(f"/exports/{finished_export}/tiles/1/3/0") as answer:
        assert answer.status == 404
        assert "not there any more" in (await answer.json())["message"]


async def test_a_damaged_package_is_told_as_unreadable(client, finished_export, package_with_tiles):
    package_with_tiles.write_bytes(b"no database" * 1000)
    async with client.get(f"/exports/{finished_export}/tiles/1/3/0") as answer:
        assert answer.status == 503


async def test_a_running_export_shows_what_it_has_stored_so_far(
    client, peer, say, golden, export_folder, eventually
):
    await client.post("/create", data=orjson.dumps(golden))
    request_id = peer.asked[0].request_id
    folder = export_folder.attempt_folder(EXPORT_ID, ATTEMPT)
    shard = Shard.create(folder, owner="worker-1", tables=TileTables.single("BLUE_MARBLE"))
    await peer.send(say.export(1, attempt=ATTEMPT))
    path = f"/exports/{request_id}/tiles/1/3/0"

    async def status() -> int:
        async with client.get(path) as answer:
            return answer.status

    async def is_looked_for() -> bool:
        return await status() == 404

    await eventually(is_looked_for)
    with closing(sqlite3.connect(shard.path)) as writer:
        writer.execute('INSERT INTO "BLUE_MARBLE" VALUES (1, 1, 3, 0, ?)', (BLUE,))
        assert await status() == 404  # not committed yet
        writer.commit()
    async with client.get(path) as answer:
        assert answer.headers["Cache-Control"] == "private, max-age=60"
        assert await answer.read() == BLUE
    shard.close()


async def test_an_export_that_waits_has_nothing_to_look_into(client, peer, golden, eventually):
    await client.post("/create", data=orjson.dumps(golden))
    path = f"/exports/{peer.asked[0].request_id}/tiles/1/3/0"

    async def is_told() -> bool:
        async with client.get(path) as answer:
            return answer.status == 409

    await eventually(is_told)
    async with client.get(f"/exports/{'7' * 101}/tiles/1/3/0") as answer:
        assert answer.status == 400


def test_the_document_promises_just_what_these_tests_have_seen():
    told = {route: seen for (_, route), seen in documented_statuses().items() if "/tiles/" in route}
    assert told == {
        "/layers/{id}/tiles/{zoom}/{column}/{row}": {200, 304, 400, 404, 503},
        "/exports/{id}/tiles/{zoom}/{column}/{row}": {200, 304, 400, 404, 409, 503},
    }
