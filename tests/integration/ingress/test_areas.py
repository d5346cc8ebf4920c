"""Areas out of files that people bring, read by a process with limits."""

import asyncio
import io
import subprocess
import sys
import zipfile

import aiohttp
import orjson
import pytest
import shapely
from pyogrio import raw

from app.ingress import areas
from app.ingress.openapi import documented_statuses

SQUARE = shapely.box(34, 31, 35, 32)
ROUTE = "/areas"

KML = """<?xml version="1.0" encoding="UTF-8"?>
<kml xmlns="http://www.opengis.net/kml/2.2"><Document>
<Placemark><name>Point</name><Point><coordinates>1,2</coordinates></Point></Placemark>
<Placemark><name>Holed</name><MultiGeometry><Polygon>
<outerBoundaryIs><LinearRing><coordinates>
0,0,5 4,0,5 4,4,5 0,4,5 0,0,5</coordinates></LinearRing></outerBoundaryIs>
<innerBoundaryIs><LinearRing><coordinates>
1,1,5 2,1,5 2,2,5 1,1,5</coordinates></LinearRing></innerBoundaryIs>
</Polygon></MultiGeometry></Placemark>
</Document></kml>"""


def file_of(folder, suffix, driver, geometries, crs="EPSG:4326"):
    """A file that GDAL writes, as bytes."""
    path = folder / f"area{suffix}"
    raw.write(
        path,
        shapely.to_wkb(geometries),
        field_data=[],
        fields=[],
        geometry_type="Polygon",
        crs=crs,
        driver=driver,
    )
    return path.read_bytes()


def zipped(folder, inside=""):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.glob("area.*")):
            archive.write(path, f"{inside}{path.name}")
    return buffer.getvalue()


async def send(client, content, **options):
    async with client.post(ROUTE, data=content, **options) as answer:
        return answer.status, orjson.loads(await answer.read())


async def test_a_kml_gives_its_polygons_with_their_holes_and_without_heights(client):
    status, area = await send(client, KML.encode())
    assert status == 200
    assert area == {
        "type": "Polygon",
        "coordinates": [
            [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]],
            [[1, 1], [2, 1], [2, 2], [1, 1]],
        ],
    }


async def test_a_zipped_kml_is_read(client):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("doc.kml", KML)
    status, area = await send(client, buffer.getvalue())
    assert (status, area["type"]) == (200, "Polygon")


async def test_a_zipped_shapefile_in_metres_comes_in_degrees(client, tmp_path):
    metres = shapely.box(600_000, 3_500_000, 601_000, 3_501_000)
    file_of(tmp_path, ".shp", "ESRI Shapefile", [metres], crs="EPSG:32636")
    status, area = await send(client, zipped(tmp_path, "my areas/"))
    assert status == 200
    west, south, east, north = shapely.from_geojson(orjson.dumps(area)).bounds
    assert (west, south) == pytest.approx((34.054, 31.629), abs=0.01)
    assert (east - west, north - south) == pytest.approx((0.0106, 0.0091), abs=0.0005)


async def test_a_geopackage_gives_the_polygons_of_all_its_features(client, tmp_path):
    other = shapely.box(40, 10, 41, 11)
    content = file_of(tmp_path, ".gpkg", "GPKG", [SQUARE, other])
    status, area = await send(client, content)
    assert (status, area["type"]) == (200, "MultiPolygon")
    assert shapely.from_geojson(orjson.dumps(area)).equals(SQUARE.union(other))


async def test_all_shapefiles_of_an_archive_are_read(client, tmp_path):
    other = shapely.box(40, 10, 41, 11)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, geometry in (("north", SQUARE), ("south", other)):
            folder = tmp_path / name
            folder.mkdir()
            file_of(folder, ".shp", "ESRI Shapefile", [geometry])
            for path in folder.glob("area.*"):
                archive.write(path, f"{name}{path.suffix}")
    status, area = await send(client, buffer.getvalue())
    assert status == 200
    assert shapely.from_geojson(orjson.dumps(area)).equals(SQUARE.union(other))


async def test_longitudes_beyond_180_are_given_as_the_file_has_them(client, tmp_path):
    content = file_of(tmp_path, ".gpkg", "GPKG", [shapely.box(170, -10, 190, 10)])
    status, area = await send(client, content)
    assert status == 200
    assert shapely.from_geojson(orjson.dumps(area)).bounds == (170, -10, 190, 10)


async def test_a_form_with_a_file_is_read_as_well(client):
    form = aiohttp.FormData()
    form.add_field("file", KML.encode(), filename="area.kml")
    status, area = await send(client, form)
    assert (status, area["type"]) == (200, "Polygon")


@pytest.mark.parametrize(
    ("content", "status", "told"),
    [
        (b"", 415, "can be read"),
        (b"%PDF-1.7 and so on", 415, "GeoPackage and zipped shapefiles"),
        (b"PK\x03\x04 broken", 400, "broken zip file"),
        (b"SQLite format 3\0" + bytes(5000), 400, "cannot be read as GPKG"),
        (b"<kml><Document>", 400, "has no area"),
        (b'{"type": "Point", "coordinates": [1, 2]}', 400, "holds no polygon"),
        (
            b'{"type":"Polygon","coordinates":[[[0,0],[0,95],[1,1],[0,0]]]}',
            400,
            "a corner at 0, 95, which is not on the globe",
        ),
        (
            b'{"type":"Polygon","coordinates":[[[0,0],[541,5],[1,1],[0,0]]]}',
            400,
            "a corner at 541, 5, which is not on the globe",
        ),
    ],
)
async def test_what_holds_no_area_is_told(client, content, status, told):
    answered, body = await send(client, content)
    assert answered == status
    assert told in body["message"]


async def test_an_archive_without_an_area_or_that_unpacks_too_far_is_told(client, monkeypatch):
    def archive(name, content):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr(name, content)
        return buffer.getvalue()

    status, body = await send(client, archive("photo.jpg", b"x"))
    assert (status, "holds no .shp, .gpkg, .kml" in body["message"]) == (400, True)
    status, body = await send(client, archive("area.kml", bytes(201_000_000)))
    assert (status, "unpacks to 201000000 bytes" in body["message"]) == (400, True)


async def test_a_file_that_is_too_large_is_refused_unread(client, monkeypatch):
    monkeypatch.setattr(areas, "MAX_FILE_BYTES", 1_000)
    status, body = await send(client, bytes(2_000))
    assert (status, "more than 1000" in body["message"]) == (413, True)
    form = aiohttp.FormData()
    form.add_field("file", bytes(2_000), filename="area.kml")
    assert (await send(client, form))[0] == 413


async def test_a_reader_that_takes_too_long_is_ended(client, monkeypatch, tmp_path):
    monkeypatch.setattr(areas, "READ_TIMEOUT_S", 0.01)
    status, body = await send(client, KML.encode())
    assert (status, "took longer than 0.01 s" in body["message"]) == (400, True)


async def test_nothing_is_left_of_a_file_that_was_read(client, monkeypatch, tmp_path):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(areas.tempfile, "tempdir", str(folder))
    assert (await send(client, KML.encode()))[0] == 200
    assert (await send(client, b"<kml>"))[0] == 400
    assert list(folder.iterdir()) == []


def test_the_reader_cannot_take_more_memory_than_its_limit():
    script = """
from app.ingress.area_reader import MEMORY_BYTES, set_limits
set_limits()
try:
    bytearray(MEMORY_BYTES)
except MemoryError:
    print("refused")
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "refused\n"


async def test_when_all_places_are_taken_it_is_told_to_come_again(client, monkeypatch):
    monkeypatch.setattr(areas, "TURN_TIMEOUT_S", 0.1)
    begun, end = asyncio.Semaphore(0), asyncio.Event()

    async def read_slowly(_content, _kind):
        begun.release()
        await end.wait()
        return b"{}"

    monkeypatch.setattr(areas, "_read_apart", read_slowly)
    slow = [asyncio.create_task(send(client, KML.encode())) for _ in range(areas.MAX_READERS)]
    for _ in slow:
        await begun.acquire()
    status, body = await send(client, KML.encode())
    assert (status, "try again shortly" in body["message"]) == (503, True)
    end.set()
    assert [(await one)[0] for one in slow] == [200] * areas.MAX_READERS
    assert (await send(client, KML.encode()))[0] == 200


def test_the_document_promises_just_what_these_tests_have_seen():
    assert documented_statuses()["POST", ROUTE] >= {200, 400, 413, 415, 503}
