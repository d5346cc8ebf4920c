"""What people do on the page, on the real service with the demo layer."""

import re
import sqlite3
import zipfile
from contextlib import closing

import orjson
import pyogrio
import pytest
import shapely
from playwright.sync_api import expect

from tests.end_to_end.conftest import running_service
from tests.end_to_end.page.conftest import SLOW_LAYER, until
from tests.end_to_end.page.pictures import hatched, seen, seen_at_rest

MEDITERRANEAN = (-6.0, 30.0, 36.0, 46.0)
HOLED = {
    "type": "Feature",
    "properties": {},
    "geometry": {
        "type": "Polygon",
        "coordinates": [
            [[0, 0], [40, 0], [40, 40], [0, 40], [0, 0]],
            [[10, 10], [30, 10], [30, 30], [10, 30], [10, 10]],
        ],
    },
}


def test_somebody_drags_a_box_sees_the_cost_and_takes_the_package_away(person, tmp_path):
    page = person.page
    expect(person.button("Create the export")).to_be_disabled()
    person.drags_a_box(*MEDITERRANEAN)
    person.chooses_zoom(4)
    person.sees_the_cost(zoom=4)
    foretold = int(page.locator(".figures dd").first.inner_text())
    person.creates("The Mediterranean")
    person.sees_ready()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download package").click()
    package = tmp_path / "package.gpkg"
    download.value.save_as(package)
    with closing(sqlite3.connect(package)) as connection:
        (table,) = connection.execute("SELECT table_name FROM gpkg_contents").fetchone()
        counted = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()
    assert counted == (foretold,)
    page.get_by_role("link", name="All exports").click()
    card = page.locator("article", has_text="The Mediterranean").first
    expect(card.get_by_text("Ready")).to_be_visible()
    expect(card.get_by_role("link", name="Download")).to_be_visible()


def test_somebody_without_a_mouse_makes_an_export_by_keys_alone(person):
    page = person.page
    keyboard = page.keyboard

    def goes_to(name: str, role: str = "button") -> None:
        wanted = page.get_by_role(role, name=name, exact=True)
        for _ in range(60):
            keyboard.press("Tab")
            if wanted.evaluate("element => element === document.activeElement"):
                return
        raise AssertionError(f"Tab does not lead to {name}")

    keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the form")).to_be_focused()
    keyboard.press("Enter")
    summary = page.locator("summary", has_text="Coordinates")
    while not summary.evaluate("element => element === document.activeElement"):
        keyboard.press("Tab")
    keyboard.press("Enter")
    for side, degrees in (("North", "33.4"), ("West", "34.2"), ("East", "35.9"), ("South", "29.4")):
        goes_to(side, "textbox")
        keyboard.type(degrees)
    goes_to("Finest zoom", "slider")
    keyboard.press("ArrowLeft")
    expect(person.area).to_contain_text("Box, 1.7° × 4°")  # noqa: RUF001 - as the page writes it
    expect(page.locator(".figures")).to_be_visible()
    goes_to("Create the export")
    keyboard.press("Enter")
    person.sees_ready()
    expect(page.locator(".facts-list")).to_contain_text("Zoom 4")


def test_somebody_draws_a_polygon_cuts_a_hole_adds_a_part_and_takes_steps_back(person):
    person.draws("Polygon", [(-60, -40), (60, -40), (50, 40), (-60, 30)])
    expect(person.area).to_contain_text("Polygon with 4 corners")
    person.draws("Cut a hole", [(-20, -20), (20, -20), (20, 20), (-20, 20)])
    expect(person.area).to_contain_text("1 hole")
    person.draws("Add a part", [(90, -40), (120, -40), (105, 0)])
    expect(person.area).to_contain_text("2 parts with 11 corners")
    assert [len(part) for part in person.form["area"]["polygons"]] == [2, 1]
    person.button("Undo").click()
    person.button("Undo").click()
    expect(person.area).to_contain_text("Polygon with 4 corners")
    expect(person.area).not_to_contain_text("hole")
    person.button("Clear").click()
    expect(person.area).to_contain_text("Press “Box” and drag")
    person.button("Undo").click()
    expect(person.area).to_contain_text("Polygon with 4 corners")


def test_somebody_pulls_a_corner_of_the_area(person):
    person.drags_a_box(0, 0, 40, 40)
    expect(person.area).to_contain_text("Box")
    mouse = person.page.mouse
    mouse.move(*person.where(40, 40), steps=4)
    mouse.down()
    mouse.move(*person.where(60, 50), steps=6)
    mouse.up()
    expect(person.area).to_contain_text("Polygon with 4 corners")


def test_somebody_pastes_geojson_with_a_hole_and_gets_it_without_the_hole(person):
    person.pastes(orjson.dumps(HOLED).decode())
    expect(person.area).to_contain_text("1 hole")
    person.chooses_zoom(5)
    person.sees_the_cost(zoom=5)
    person.creates("With a hole")
    person.sees_ready()
    bbox = person.page.evaluate(
        "() => fetch(location.hash.slice(1)).then(a => a.json()).then(e => e.bbox)"
    )
    assert bbox == HOLED["geometry"]


def test_somebody_drops_a_kml_file_on_the_page(person):
    kml = """<kml xmlns="http://www.opengis.net/kml/2.2"><Placemark><Polygon><outerBoundaryIs>
        <LinearRing><coordinates>5,45 9,45 7,48 5,45</coordinates></LinearRing>
        </outerBoundaryIs></Polygon></Placemark></kml>"""
    page = person.page
    dropped = page.evaluate_handle(
        """text => {
            const dropped = new DataTransfer();
            dropped.items.add(new File([text], "area.kml"));
            return dropped;
        }""",
        kml,
    )
    page.dispatch_event(".map", "dragover", {"dataTransfer": dropped})
    expect(page.get_by_text("Drop the file here")).to_be_visible()
    page.dispatch_event(".map", "drop", {"dataTransfer": dropped})
    expect(person.area).to_contain_text("Polygon with 3 corners")
    person.hears("The area was taken from area.kml.")


@pytest.mark.parametrize(
    ("name", "driver"), [("area.gpkg", "GPKG"), ("area.shp", "ESRI Shapefile")]
)
def test_somebody_chooses_a_file_from_a_desktop_gis(person, tmp_path, name, driver):
    metres = shapely.box(600_000, 3_500_000, 601_000, 3_501_000)
    pyogrio.raw.write(
        tmp_path / name,
        shapely.to_wkb([metres]),
        field_data=[],
        fields=[],
        geometry_type="Polygon",
        crs="EPSG:32636",
        driver=driver,
    )
    chosen = tmp_path / name
    if driver == "ESRI Shapefile":
        chosen = tmp_path / "area.zip"
        with zipfile.ZipFile(chosen, "w") as archive:
            for path in tmp_path.glob("area.[!z]*"):
                archive.write(path, path.name)
    person.page.get_by_text("Paste or file", exact=True).click()
    person.page.locator("input[type=file]").set_input_files(chosen)
    expect(person.area).to_contain_text("Polygon with 4 corners · about 1 km²")
    person.hears(f"The area was taken from {chosen.name}.")


def test_somebody_chooses_a_file_that_is_no_area(person):
    person.page.get_by_text("Paste or file", exact=True).click()
    file = {"name": "plan.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7"}
    person.page.locator("input[type=file]").set_input_files(file)
    person.hears("This kind of file cannot be read")


def test_somebody_types_degrees_minutes_and_seconds_over_the_180th_meridian(person):
    person.types_the_box("170°00′00″E", "10 S", "170°30'W", "10")  # noqa: RUF001 - as the page writes it
    expect(person.area).to_contain_text("Box, 19.5° × 20°")  # noqa: RUF001 - as the page writes it
    expect(person.area).to_contain_text("crosses the 180° meridian")
    assert person.form["area"] == {"kind": "box", "box": [170, -10, 189.5, 10]}
    person.button("Degrees, minutes, seconds").click()
    expect(person.page.get_by_label("East", exact=True)).to_have_value("170°30′00″W")  # noqa: RUF001 - as the page writes it
    person.chooses_zoom(3)
    expect(person.page.locator(".figures")).to_be_visible()
    person.creates("Date line")
    person.sees_ready()
    bbox = person.page.evaluate(
        "() => fetch(location.hash.slice(1)).then(a => a.json()).then(e => e.bbox)"
    )
    assert bbox == [170, -10, -170.5, 10]


def test_a_wrong_coordinate_is_told_beside_its_field(person):
    person.types_the_box("here", "-10", "200", "95")
    page = person.page
    expect(page.get_by_text("“here” is no coordinate")).to_be_visible()
    expect(page.get_by_text("200 lies beyond 180°")).to_be_visible()
    expect(page.get_by_text("95 lies beyond 90°")).to_be_visible()
    assert page.get_by_label("West", exact=True).get_attribute("aria-invalid") == "true"
    assert person.form["area"] is None


def test_somebody_takes_what_can_be_seen_and_then_the_whole_layer(person):
    page = person.page
    person.button("Zoom in").click()
    person.button("Zoom in").click()
    # The map moves for a moment; then it shows a fourth of the globe.
    page.wait_for_function(
        """() => window.pixelOf([90, 0])[0] - window.pixelOf([0, 0])[0]
            > document.querySelector(".map").clientWidth * 0.8"""
    )
    person.button("Visible area").click()
    expect(person.area).to_contain_text("Box")
    seen = person.form["area"]["box"]
    assert seen[2] - seen[0] < 180
    person.button("Whole layer").click()
    expect(person.area).to_contain_text("The whole layer")
    person.chooses_zoom(2)
    expect(page.locator(".figures dd").first).to_have_text("42")


def test_somebody_finds_a_layer_by_its_sensor(person):
    person.button("Change").click()
    page = person.page
    page.get_by_role("searchbox").fill("imagin")
    expect(page.get_by_text("1 layer", exact=True)).to_be_visible()
    page.get_by_role("button", name=re.compile("Night, made up")).click()
    expect(page.locator("#layer-title + .card")).to_contain_text("Night, made up")
    person.button("Change").click()
    page.get_by_role("searchbox").fill("nothing like it")
    expect(page.get_by_text("No layer matches")).to_be_visible()
    page.keyboard.press("Escape")  # the first one empties the search
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_somebody_follows_a_long_export_and_cancels_it(person):
    person.chooses_layer("Night")
    person.button("Whole layer").click()
    person.chooses_zoom(11)
    expect(person.page.locator(".figures")).to_be_visible()
    person.creates("Far too much")
    expect(person.badge).to_have_text("Running")
    expect(person.page.get_by_role("progressbar")).to_be_visible()
    expect(person.page.locator(".progress")).to_contain_text("left")
    written = re.compile(r"/exports/[0-9a-f-]{36}/tiles/\d+/\d+/\d+\?step=\d+$")
    with person.page.expect_response(lambda answer: written.search(answer.url) and answer.ok):
        expect(person.page.get_by_text("Tiles appear on the map")).to_be_visible()
    person.button("Cancel the export").click()
    expect(person.badge).to_have_text("Cancelled")
    expect(person.button("Try again")).to_be_visible()


def test_somebody_sees_how_many_exports_are_ahead_of_theirs(new_person, tmp_path):
    one_at_a_time = {"EXPORT_MAX_RUNNING_EXPORTS": "1", "EXPORT_SPARE_RUNNING_EXPORTS": "0"}
    with running_service(tmp_path / "data", **one_at_a_time) as service:
        record = service.data_dir / "catalogue" / "night.json"
        record.write_bytes(orjson.dumps(SLOW_LAYER))
        person = new_person(service.url)
        for name, west in (("First", "-180"), ("Second", "-179"), ("Third", "-178")):
            form = f"layer={SLOW_LAYER['id']}&area={west},-90,180,90&zoom=11&name={name}"
            person.opens(f"{service.url}/#/new?{form}")
            expect(person.page.locator(".figures")).to_be_visible()
            person.creates(name)
            expect(person.badge).to_be_visible()
        expect(person.page.locator(".progress")).to_contain_text("number 2 in the queue")
        person.opens(f"{service.url}/#/exports")
        exports = person.page.locator(".exports > li")
        expect(exports).to_have_count(3)
        third, second, first = exports.all()
        expect(third).to_contain_text("number 2 in the queue")
        expect(second).to_contain_text("number 1 in the queue")
        expect(first).not_to_contain_text("in the queue")


def test_somebody_looks_for_what_failed_and_for_one_layer(person, doomed):
    person.types_the_box("3", "3", "4", "4")
    person.creates("Well done")
    person.sees_ready()
    page = person.page
    cards = page.locator(".exports > li")
    person.opens(page.url.split("#")[0] + "#/exports")
    expect(cards.filter(has_text="Well done")).to_have_count(1)
    status, layer = (page.get_by_role("combobox", name=name) for name in ("Show", "Of layer"))
    status.select_option("Failed")
    expect(cards.filter(has_text="Well done")).to_have_count(0)
    layer.select_option("Night, made up")
    expect(page.get_by_text("No export matches this filter.")).to_be_visible()
    person.button("Show all").click()
    layer.select_option("Blue Marble")
    expect(cards.filter(has_text="Well done")).to_have_count(1)


def test_somebody_keeps_a_package_longer_and_then_deletes_it(person):
    person.types_the_box("1", "1", "2", "2")
    person.chooses_zoom(3)
    person.creates("To be deleted")
    person.sees_ready()
    page = person.page
    keeping = page.locator(".keeping p").first
    before = keeping.inner_text()
    person.button("Keep 30 days longer").click()
    expect(keeping).not_to_have_text(before)
    person.button("Keep until I remove it").click()
    expect(keeping).to_have_text(re.compile("kept until someone removes it"))
    person.button("Delete the package").click()
    expect(page.get_by_text("Delete the package now?")).to_be_visible()
    person.button("Delete the package").click()
    expect(person.badge).to_have_text("Expired")


def test_a_finished_package_is_shown_on_the_map_from_the_package_itself(person):
    person.types_the_box("-20", "-20", "20", "20")
    person.chooses_zoom(3)
    person.creates("Looked into")
    tile = re.compile(r"/exports/[0-9a-f-]{36}/tiles/\d+/\d+/\d+$")
    person.sees_ready()
    # While it was written, tiles that were not there yet were asked for, too.
    with person.page.expect_response(tile) as answer:
        person.page.reload()
    assert answer.value.status == 200
    assert answer.value.headers["content-type"] == "image/jpeg"
    expect(person.page.get_by_text("The map shows the package itself.", exact=True)).to_be_visible()
    person.page.locator("summary", has_text="Tiles by zoom").click()
    expect(person.page.locator(".table tbody tr")).to_have_count(4)


def test_tiles_that_the_layer_does_not_have_are_counted_and_hatched(person, screenshots):
    page = person.page
    person.chooses_layer("Wounded")
    person.types_the_box("-20", "-20", "20", "20")
    person.creates("With a gap")
    person.sees_ready()
    hint = "The map shows the package itself. 1 tile that the layer does not have is hatched."
    expect(page.get_by_text(hint)).to_be_visible()
    expect(page.locator(".facts-list div", has_text="Missing in the layer")).to_contain_text("1")
    page.locator("summary", has_text="Tiles by zoom").click()
    expect(page.locator(".table tbody tr").last).to_have_text(re.compile(r"3\s*3\s*1"))
    person.sees_the_map()
    page.screenshot(path=screenshots / "missing-laptop-light-en.png")
    until(lambda: hatched(person, 2, 2, 19, 19) > 0.05)
    assert hatched(person, -19, 2, -2, 19) < 0.01


def test_the_grid_names_its_tiles_where_there_is_room(person, screenshots):
    names = person.page.locator(".map")
    part = (30, 40, 60, 50)
    before = seen_at_rest(person, *part).tobytes()
    person.button("Tile grid").click()
    expect(names).to_have_attribute("data-tiles", "")  # those of zoom 5 are too small
    person.chooses_zoom(1)
    expect(names).to_have_attribute("data-tiles", re.compile("1/0/0 1/1/0 1/2/0 1/3/0 .*1/2/1"))
    person.page.screenshot(path=screenshots / "grid-laptop-light-en.png")
    until(lambda: seen(person, *part).tobytes() != before)
    person.button("Tile grid").click()
    expect(names).not_to_have_attribute("data-tiles", re.compile(""))
    until(lambda: seen(person, *part).tobytes() == before)


def test_a_link_opens_the_prepared_form_and_another_the_export(person, new_person, url):
    context = person.page.context
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    person.types_the_box("34.2", "29.4", "35.9", "33.4")
    person.chooses_zoom(3)
    person.page.get_by_label("Name").fill("For a friend")
    expect(person.page.locator(".figures")).to_be_visible()

    def copies(name: str) -> str:
        # Notices of copies before this one may still be shown, and tell nothing of it.
        person.page.evaluate("() => (window.heard = [], navigator.clipboard.writeText('nothing'))")
        person.button(name).click()
        person.page.wait_for_function("() => window.heard.some(told => /copied/i.test(told))")
        return person.page.evaluate("() => navigator.clipboard.readText()")

    link = copies("Copy a link to this form")
    friend = new_person()
    friend.opens(link)
    assert friend.form["area"] == {"kind": "box", "box": [34.2, 29.4, 35.9, 33.4]}
    assert friend.form["zoom"] == 3
    expect(friend.page.get_by_label("Name")).to_have_value("For a friend")

    person.creates()
    person.sees_ready()
    friend.opens(copies("Copy a link"))
    friend.sees_ready()
    expect(friend.page.get_by_text("The map shows the package itself")).to_be_visible()
    friend.sees_the_map()
    assert friend.where(35.9, 31)[0] - friend.where(34.2, 31)[0] > 50
    request_id = copies("Copy the id")
    assert request_id in friend.page.url
    assert copies("Copy as curl").startswith(f"curl -s {url}/create ")
    record = orjson.loads(copies("Copy as Kafka record"))
    assert record["topic"] == "export-requests"
    assert record["key"] == record["value"]["requestId"] != request_id
    assert record["value"]["bbox"] == "[34.2,29.4,35.9,33.4]"


def test_a_form_is_filled_from_an_export_that_was_made_before(person):
    person.types_the_box("3", "3", "5", "5")
    person.chooses_zoom(2)
    person.creates("Once more")
    person.sees_ready()
    person.button("Use as a new form").click()
    expect(person.page.get_by_label("Name")).to_have_value("Once more")
    assert person.form["area"] == {"kind": "box", "box": [3, 3, 5, 5]}
    assert person.form["zoom"] == 2
