"""Areas that people type, paste, drop and follow links to: what the page makes of them."""

import random
import re
import subprocess
import zipfile
from collections.abc import Callable
from typing import Any

import orjson
import pyogrio
import pytest
import shapely
from playwright.sync_api import expect
from shapely.geometry import shape

from app.demo import DEMO_LAYER_ID
from tests.end_to_end.page.conftest import Person
from tests.end_to_end.page.test_area import (
    COMB,
    HOLE_OVER_IT,
    HOLE_TOUCHES_IT,
    HOLES_BESIDE_IT,
    WEB,
    closed,
    on_the_globe,
    star,
)

NOWHERE = "00000000-0000-4000-8000-00000000000a"
LON, LAT = "longitude", "latitude"
DMS_34 = 34 + 48 / 60 + 36 / 3600
DMS_33 = 33 + 51 / 60 + 31 / 3600
TYPED: list[tuple[str, float | None, str | None]] = [
    ("34.81", 34.81, None),
    ("-70.5", -70.5, None),
    ("+70.5", 70.5, None),
    ("\u221270.5", -70.5, None),
    ("- 70", -70, None),
    ("34,81", 34.81, None),
    (".5", 0.5, None),
    ("34.", 34, None),
    ("34.81E", 34.81, LON),
    ("34.81 e", 34.81, LON),
    ("34S", -34, LAT),
    ("34 s", -34, LAT),
    ("N 34", 34, LAT),
    ("W34,5", -34.5, LON),
    ("10 0 0 S", -10, LAT),
    ("10 0 0 s", -10, LAT),
    ("33 51 31S", -DMS_33, LAT),
    ("33°51'31\"S", -DMS_33, LAT),
    ("33° 51′ 31″ N", DMS_33, LAT),  # noqa: RUF001 - as people copy it
    ("33\u00b051\u201931\u201d W", -DMS_33, LON),
    ("33°51''31'' W", None, None),
    ("33°51'31'' W", -DMS_33, LON),
    ("33d 51m 31s", DMS_33, None),
    ("33d51m31s S", -DMS_33, LAT),
    ("33d51m31S", -DMS_33, LAT),
    ("S 33d51m31s", -DMS_33, LAT),
    ("33:51:31N", DMS_33, LAT),
    ("32 30 00 N", 32.5, LAT),
    ("32 30 N", 32.5, LAT),
    ("32 30,5", 32 + 30.5 / 60, None),
    ("-0 30 0", -0.5, None),
    ("34°48′36″E", DMS_34, LON),  # noqa: RUF001 - as the page writes it
    ("E 34 48 36", DMS_34, LON),
    ("\u206634.81\u2069", 34.81, None),
    ("-34 W", None, None),
    ("+34 N", None, None),
    ("N 34 S", None, None),
    ("34.5 30", None, None),
    ("34 60", None, None),
    ("34 30 60", None, None),
    ("34 30 15 10", None, None),
    ("34X", None, None),
    ("S", None, None),
    ("", None, None),
    ("1e2", None, None),
    ("34, 31", None, None),
]


@pytest.fixture(scope="module")
def own(chromium) -> Callable[[str, Any], Any]:
    """Functions of the page, in the browser: `own("parseCoordinate(given)", "34 S")`."""
    (esbuild,) = (WEB / "node_modules/@esbuild").glob("*/bin/esbuild")
    bundled = subprocess.run(
        [esbuild, "--bundle", "--format=iife", "--global-name=own", "--loader=ts"],
        input='export * from "./area.ts"; export * from "./coordinates.ts";',
        cwd=WEB / "src",
        check=True,
        capture_output=True,
        text=True,
    )
    page = chromium.new_page()
    page.evaluate(f"{bundled.stdout}; window.own = own")
    return lambda call, given: page.evaluate(f"given => own.{call}", given)


def chooses_files(person: Person, *files: Any) -> None:
    if not person.page.get_by_label(re.compile("GeoJSON, or corners")).is_visible():
        person.page.get_by_text("Paste or file", exact=True).click()
    person.page.locator("input[type=file]").set_input_files(list(files))


def kml(*corners: tuple[float, float]) -> dict[str, Any]:
    """A file with one polygon."""
    text = " ".join(f"{lon},{lat}" for lon, lat in (*corners, corners[0]))
    content = f"""<kml xmlns="http://www.opengis.net/kml/2.2"><Placemark><Polygon><outerBoundaryIs>
        <LinearRing><coordinates>{text}</coordinates></LinearRing>
        </outerBoundaryIs></Polygon></Placemark></kml>"""
    return {"name": "area.kml", "mimeType": "", "buffer": content.encode()}


def test_coordinates_are_read_as_people_type_them(own):
    assert len(TYPED) >= 30
    for text, value, axis in TYPED:
        told = own("parseCoordinate(given)", text)
        wanted = None if value is None else {"value": pytest.approx(value), "axis": axis}
        assert told == wanted, text


@pytest.mark.parametrize(
    "line",
    ["34,31", "34 31", "34, 31", "34; 31", "34 ,31", "31N, 34E", "34E 31N", "31 0 0 N, 34 0 0 E"],
)
def test_a_pasted_line_is_a_longitude_and_a_latitude(own, line):
    text = f"{line}\n36 31\n36 33"
    ring = own("parseText(given).polygons[0][0]", text)
    assert ring == [[34, 31], [36, 31], [36, 33], [34, 31]]


def test_a_pasted_line_may_have_decimal_commas(own):
    for text in (
        "34,5; 31,5\n36; 31\n36; 33",
        "34,5 31,5\n36 31\n36 33",
        "34,5, 31,5\n36, 31\n36,33",
    ):
        ring = own("parseText(given).polygons[0][0]", text)
        assert ring == [[34.5, 31.5], [36, 31], [36, 33], [34.5, 31.5]], text


def test_letters_and_limits_are_told_at_their_fields(person):
    page = person.page
    person.types_the_box("34 N", "10 0 0 S", "-35 W", "10")
    expect(page.get_by_text("West: “34 N” belongs to the other axis")).to_be_visible()
    expect(page.get_by_text("East: “-35 W” is no coordinate")).to_be_visible()
    person.types_the_box("34 E", "10 0 0 S", "35,5", "33 51 31N")
    expect(person.area).to_contain_text("Box, 1.5° × 43.86°")  # noqa: RUF001 - as the page writes it
    assert person.form["area"]["box"][:3] == [34, -10, 35.5]


@pytest.mark.parametrize(("west", "east"), [("34", "34"), ("180", "-180")])
def test_a_box_without_a_width_is_told_and_is_not_the_whole_world(person, west, east):
    person.types_the_box(west, "10", east, "12")
    expect(person.page.get_by_text("East: West and east are the same.")).to_be_visible()
    assert person.form["area"] is None


def test_the_box_is_taken_when_its_fields_are_left_and_not_before(person):
    page = person.page
    person.types_the_box("34", "31", "35.5", "33")
    expect(person.area).to_contain_text("Box, 1.5° × 2°")  # noqa: RUF001 - as the page writes it
    before = person.form["area"]
    page.get_by_label("West", exact=True).fill("50")
    page.keyboard.press("Tab")
    expect(page.get_by_label("East", exact=True)).to_be_focused()
    assert person.form["area"] == before
    page.keyboard.type("51")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(person.area).to_contain_text("Box, 1° × 2°")  # noqa: RUF001 - as the page writes it
    assert person.form["area"] == {"kind": "box", "box": [50, 31, 51, 33]}


def test_text_that_was_typed_and_not_used_outlives_other_views_and_reloads(person, url):
    page = person.page
    page.get_by_text("Coordinates", exact=True).click()
    page.get_by_label("North", exact=True).fill("33 30")
    page.get_by_text("Paste or file", exact=True).click()
    page.get_by_label(re.compile("GeoJSON, or corners")).fill("34, 31\n36,")
    for leaves in (
        lambda: (person.opens(f"{url}/#/exports"), person.opens(f"{url}/#/new")),
        page.reload,
    ):
        leaves()
        expect(page.get_by_label("North", exact=True)).to_have_value("33 30")
        pasted = page.get_by_label(re.compile("GeoJSON, or corners"))
        expect(pasted).to_have_value("34, 31\n36,")


def test_coordinates_that_were_typed_give_way_to_another_area(person):
    page = person.page
    page.get_by_text("Coordinates", exact=True).click()
    page.get_by_label("North", exact=True).fill("33 30")
    person.drags_a_box(0, 0, 40, 40)
    expect(person.area).to_contain_text("Box")
    expect(page.get_by_label("North", exact=True)).to_have_value(re.compile(r"^(40|39\.9|40\.0)"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[34, 32, 35, 31]", "South must be below north."),
        ("[34, 95, 1000, 132]", "“34, 95” is not on the globe"),
        ("[34, 31, 34, 32]", "West and east are the same."),
        ("[34, 31, 35]", "[34,31,35]"),
        ("1000, 31\n35, 31\n35, 32", "“1000, 31” is not on the globe"),
        ("34N, 31N\n35, 31\n35, 32", "1: 34N, 31N"),
        (
            '{"type": "Polygon", "coordinates": [[[0, 0], [1, 95], [1, 1]]]}',
            "“1, 95” is not on the globe",
        ),
        ('{"type": "MultiPolygon", "coordinates": 5}', "no list of corners: coordinates"),
    ],
)
def test_text_that_cannot_be_an_area_is_told_in_plain_words(person, text, told):
    person.pastes(text)
    expect(person.page.get_by_role("alert").filter(has_text=told)).to_be_visible()
    assert person.form["area"] is None


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ("area=1,2,3,", "Area"),
        ("area=34,32,35,31", "Area"),
        ("area=34,95,1000,132", "Area"),
        ("area={", "Area"),
        ("area=", "Area"),
        ("zoom=", "Detail"),
        ("zoom=99", "Detail"),
    ],
)
def test_what_a_link_says_unreadably_is_told_and_the_form_keeps_what_it_had(
    person, url, parameters, part
):
    person.types_the_box("1", "1", "2", "2")
    person.chooses_zoom(3)
    before = person.form
    person.page.goto(f"{url}/#/new?{parameters}")
    person.hears(f"“{part}” of the link cannot be read")
    assert person.form == before


@pytest.mark.parametrize("address", ["#/exports/abc", "#/foo"])
def test_an_address_that_is_not_known_is_told(person, url, address):
    person.page.goto(f"{url}/{address}")
    person.hears("This page has no such address.")
    expect(person.area).to_be_visible()


def test_a_link_to_a_layer_that_is_not_offered_chooses_no_other(person, url):
    page = person.page
    page.goto(f"{url}/#/new?layer={NOWHERE}&area=1,2,3,4")
    told = page.get_by_role("alert").filter(has_text="is not offered here")
    expect(told).to_be_visible()
    expect(person.button("Create the export")).to_be_disabled()
    page.reload()
    expect(told).to_be_visible()
    expect(person.button("Create the export")).to_be_disabled()
    page.get_by_label("Choose a layer").select_option("Blue Marble")
    expect(told).to_have_count(0)
    expect(person.button("Create the export")).to_be_enabled()
    assert person.form["layerId"] == DEMO_LAYER_ID
    assert person.form["area"] == {"kind": "box", "box": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("corners", "box"),
    [
        ([(170, -10), (-170, -10), (-170, 10), (170, 10)], [170, -10, 190, 10]),
        ([(-170, -10), (170, -10), (170, 10), (-170, 10)], [170, -10, 190, 10]),
        ([(170, -10), (190, -10), (190, 10), (170, 10)], [170, -10, 190, 10]),
        ([(-180, -10), (180, -10), (180, 10), (-180, 10)], [-180, -10, 180, 10]),
    ],
)
def test_a_file_over_180_degrees_is_one_area_however_it_is_written(person, corners, box):
    chooses_files(person, kml(*corners))
    person.hears("The area was taken from")
    assert person.form["area"] == {"kind": "box", "box": box}


def test_a_geopackage_of_a_desktop_gis_over_180_degrees_is_cut_there(person, tmp_path):
    path = tmp_path / "area.gpkg"
    area = shapely.Polygon([(170, -10), (190, -10), (180, 10)])
    pyogrio.raw.write(
        path,
        shapely.to_wkb([area]),
        field_data=[],
        fields=[],
        geometry_type="Polygon",
        crs="EPSG:4326",
        driver="GPKG",
    )
    with person.page.expect_request("**/estimate") as asked:
        chooses_files(person, path)
    expect(person.area).to_contain_text("crosses the 180° meridian")
    sent = shape(asked.value.post_data_json["bbox"])
    assert len(sent.geoms) == 2
    assert sent.area == pytest.approx(area.area)


def test_holes_go_with_an_outline_over_180_degrees(own):
    polygon = [
        [[170, -10], [-170, -10], [-165, 10], [170, 10], [170, -10]],
        [[-178, 0], [-175, 0], [-175, 5], [-178, 0]],
        [[179, -5], [-179, -5], [-179, -3], [179, -5]],
    ]
    told = own(
        "parseText(given).polygons",
        orjson.dumps({"type": "Polygon", "coordinates": polygon}).decode(),
    )
    assert [[corner[0] for corner in ring] for ring in told[0]] == [
        [170, 190, 195, 170, 170],
        [182, 185, 185, 182],
        [179, 181, 181, 179],
    ]


def test_an_export_is_looked_at_as_it_was_asked_though_its_edges_are_wide(own):
    ring = [[-170, -10], [170, -10], [170, 10], [0, 20], [-170, 10], [-170, -10]]
    told = own("areaOfAsked(given).polygons", {"type": "Polygon", "coordinates": [ring]})
    assert told == [[ring]]


def test_what_was_cut_at_180_degrees_comes_back_in_one_piece(own):
    chance = random.Random(180)
    drawn = [[COMB], HOLE_OVER_IT, HOLES_BESIDE_IT, HOLE_TOUCHES_IT]
    drawn += [star(chance) for _ in range(200)]
    polygons = [closed(one) for one in drawn if shapely.Polygon(one[0], one[1:]).is_valid]
    assert len(polygons) > 150
    for polygon in polygons:
        call = "areaOfAsked(own.askedArea({kind: 'polygons', polygons: [given]}))"
        told = own(call, polygon)["polygons"]
        again = own("askedArea({kind: 'polygons', polygons: given})", told)
        wrong = shape(again).symmetric_difference(on_the_globe([polygon])).area
        assert wrong < 1e-4, polygon
        corners = [sum(len(ring) - 1 for ring in one) for one in (*told, polygon)]
        assert len(told) == 1, (polygon, told)
        assert corners[0] <= corners[1], (polygon, told)
        assert shapely.Polygon(told[0][0], told[0][1:]).is_valid, (polygon, told)


def test_parts_that_only_lie_beside_each_other_stay_as_they_are(own):
    parts = [
        [[[170, 0], [180, 0], [180, 5], [170, 0]]],
        [[[-180, 5], [-170, 5], [-170, 9], [-180, 5]]],
        [[[-180, 20], [-170, 20], [-170, 29], [-180, 29], [-180, 20]]],
    ]
    told = own("areaOfAsked(given).polygons", {"type": "MultiPolygon", "coordinates": parts})
    assert sorted(told) == sorted(parts)


def test_a_polygon_over_180_degrees_is_a_new_form_in_one_piece(person):
    corners = [[170, -10], [190, -12], [188, 10], [171, 12], [170, -10]]
    person.pastes(orjson.dumps({"type": "Polygon", "coordinates": [corners]}).decode())
    person.chooses_zoom(3)
    expect(person.page.locator(".figures")).to_be_visible()
    person.creates("Over the line")
    person.sees_ready()
    person.button("Use as a new form").click()
    expect(person.area).to_contain_text("Polygon with 4 corners")
    expect(person.area).to_contain_text("crosses the 180° meridian")


def test_areas_of_several_files_are_taken_together(person, tmp_path):
    first = kml((5, 45), (9, 45), (7, 48))
    second = kml((15, 45), (19, 45), (17, 48)) | {"name": "other.kml"}
    chooses_files(person, first, second)
    person.hears("The area was taken from area.kml, other.kml.")
    expect(person.area).to_contain_text("2 parts with 6 corners")


def test_a_zip_with_two_shapefiles_gives_both(person, tmp_path):
    archive = tmp_path / "areas.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for name, west in (("one", 10), ("two", 20)):
            folder = tmp_path / name
            folder.mkdir()
            area = shapely.Polygon([(west, 0), (west + 5, 0), (west, 5)])
            pyogrio.raw.write(
                folder / f"{name}.shp",
                shapely.to_wkb([area]),
                field_data=[],
                fields=[],
                geometry_type="Polygon",
                crs="EPSG:4326",
                driver="ESRI Shapefile",
            )
            for path in folder.iterdir():
                made.write(path, path.name)
    chooses_files(person, archive)
    expect(person.area).to_contain_text("2 parts with 6 corners")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (
            "area.shp",
            b"\0\0\x27\x0a",
            "area.shp is one part of a shapefile. Zip it with the others",
        ),
        ("plan.pdf", b"%PDF-1.7", "Take GeoJSON, KML, KMZ, GeoPackage or a zipped shapefile."),
        ("area.kml", b"<kml><Document>", "The file cannot be read. It may be damaged"),
        ("area.zip", b"PK\x03\x04 broken", "The file cannot be read. It may be damaged"),
    ],
)
def test_a_file_that_is_no_area_is_told_in_plain_words(person, name, content, told):
    chooses_files(person, {"name": name, "mimeType": "", "buffer": content})
    person.hears(told)


CROSSED = '{"type": "Polygon", "coordinates": [[[0, 0], [20, 20], [20, 0], [0, 20]]]}'


@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en-GB", "The outline crosses itself at 10, 10. Move a corner there."),
        ("he-IL", "קו המתאר חוצה את עצמו בנקודה"),
    ],
)
def test_a_crossed_outline_is_told_in_the_words_of_the_page(new_person, url, language, told):
    person = new_person(locale=language)
    person.opens(url)
    page = person.page
    page.locator("summary").nth(1).click()
    page.locator("textarea").fill(CROSSED)
    page.locator("textarea ~ *, .stack button").get_by_text(
        re.compile("Use this text|שימוש בטקסט")
    ).click()
    expect(page.locator(".submit")).to_contain_text(told)
    expect(page.locator(".submit")).not_to_contain_text("Self-intersection")


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        (
            400,
            "bbox (bounds [1.0, 1.0, 2.0, 2.0]) has nothing in common with the footprint of x",
            "The layer has nothing there.",
        ),
        (
            400,
            "bbox has west 50 > east 35.5: it would be 345.5 degrees wide, more than 180; swapped?",
            "at most 180° wide. Were west and east swapped?",
        ),
        (
            413,
            "bbox makes at least 123456 tiles, more than 5000",
            "This is too large: Tiles: 123,456, at most 5,000",
        ),
        (
            413,
            "bbox has 1,234.5 km2 within the layer, more than 100.0",
            "This is too large: Area (km²): 1,234.5, at most 100",
        ),
    ],
)
def test_frequent_refusals_are_told_in_plain_words(person, status, message, told):
    person.page.route(
        "**/estimate", lambda route: route.fulfill(status=status, json={"message": message})
    )
    person.types_the_box("1", "1", "2", "2")
    expect(person.page.locator(".submit")).to_contain_text(told)


def test_an_extension_beyond_the_limit_is_told_in_plain_words(person):
    page = person.page
    page.route(
        re.compile(r"/exports/[0-9a-f-]{36}$"),
        lambda route: (
            route.fulfill(
                status=400,
                json={"message": "expirationTime is 2030; it must lie ahead, by at most 365 days"},
            )
            if route.request.method == "PATCH"
            else route.continue_()
        ),
    )
    person.types_the_box("51", "1", "52", "2")
    person.chooses_zoom(2)
    person.creates("Kept long")
    person.sees_ready()
    person.button("Keep 30 days longer").click()
    person.hears("A package can be kept for at most 365 days from now.")


def test_what_is_wrong_stands_once_above_the_button(person):
    page = person.page
    person.types_the_box("1", "1", "2", "2")
    expect(page.locator(".figures")).to_be_visible()
    page.route("**/estimate", lambda route: route.abort("connectionrefused"))
    page.route("**/create", lambda route: route.abort("connectionrefused"))
    page.route("**/readyz", lambda route: route.abort("connectionrefused"))
    person.chooses_zoom(2)
    told = page.locator(".submit").get_by_text("The service cannot be reached")
    expect(told).to_have_count(1)
    with page.expect_event("requestfailed", lambda asked: asked.url.endswith("/create")):
        person.creates()
    expect(person.button("Create the export")).to_be_enabled()
    expect(told).to_have_count(1)


def test_another_name_for_a_package_that_exists_is_told_not_to_be_taken(person, url):
    for name in ("First name", "Second name"):
        person.opens(f"{url}/#/new?area=61,1,62,2&zoom=2")
        person.creates(name)
        person.sees_ready()
    person.hears("This package exists already. It is ready. It keeps the name it has.")
    expect(person.page.get_by_role("heading", name="First name")).to_be_visible()
