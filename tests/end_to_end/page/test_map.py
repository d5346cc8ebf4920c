"""What the map shows of the form and of an export that is open, and how areas are drawn on it."""

import re

import pytest
from playwright.sync_api import expect

from app.demo import DEMO_LAYER_ID
from tests.end_to_end.page.conftest import (
    SLOW_LAYER,
    WOUNDED_LAYER_ID,
    Person,
    overlap,
    standing_still,
    until,
)
from tests.end_to_end.page.pictures import brightness, hatched

FAINT_FROM = 110
"""Brightness of 255 that the sea has only where no package lies on the layer."""
TYPED_BOX = {"kind": "box", "box": [1, 1, 2, 2]}


def made(person: Person, url: str, layer: str, zoom: int, bbox: list[float]) -> str:
    """Make an export and wait until it is ready; where the page shows it."""
    body = {"dbId": layer, "bbox": bbox, "targetResolution": 0.703125 / 2**zoom}
    asked = person.page.request.post(f"{url}/create", data=body).json()["requestId"]
    whole = f"{url}/exports/{asked}"
    until(lambda: person.page.request.get(whole).json()["status"] == "Completed")
    return f"{url}/#/exports/{asked}"


def test_tiles_that_an_area_only_touches_are_not_hatched(new_person, url):
    person = new_person()
    person.opens(made(person, url, WOUNDED_LAYER_ID, 3, [0, 0, 22.5, 22.5]))
    expect(person.page.get_by_text("1 tile that the layer does not have")).to_be_visible()
    person.sees_the_map()
    until(lambda: hatched(person, 2, 2, 20, 20) > 0.05)
    assert hatched(person, -6, 2, -2, 20) < 0.01
    assert hatched(person, 2, -6, 20, -2) < 0.01


def test_a_package_over_180_degrees_is_shown_in_every_turn_of_the_globe(new_person, url):
    person = new_person()
    person.opens(made(person, url, DEMO_LAYER_ID, 4, [165, -50, -165, -10]))
    expect(person.page.get_by_text("The map shows the package itself")).to_be_visible()
    person.button("Show the whole layer").click()
    until(lambda: person.width_of_a_degree() < 3)
    # The layer alone is faint, and bright for that.
    until(lambda: brightness(person, 166, -40, 179, -20) < FAINT_FROM)
    until(lambda: brightness(person, -179, -40, -166, -20) < FAINT_FROM)
    until(lambda: brightness(person, 20, -30, 40, 30) > FAINT_FROM)


@pytest.fixture
def open_night(new_person, url) -> Person:
    """Somebody whose form has Blue Marble, and who looks at an export of another layer."""
    person = new_person()
    address = made(person, url, SLOW_LAYER["id"], 1, [10, 10, 80, 80])
    person.opens(url)
    expect(person.page.locator(".attribution")).to_contain_text("NASA")
    person.page.goto(address)
    person.sees_ready()
    return person


def test_the_attribution_is_that_of_the_layer_that_is_shown(open_night):
    page = open_night.page
    expect(page.locator(".attribution")).to_have_count(0)
    page.get_by_role("link", name="New export").click()
    expect(page.locator(".attribution")).to_contain_text("NASA")


def test_the_grid_of_an_open_export_is_that_of_its_finest_zoom(open_night):
    open_night.button("Tile grid").click()
    names = open_night.page.locator(".map")
    expect(names).to_have_attribute("data-tiles", re.compile(r"\b1/2/0\b"))


def test_the_map_stays_where_it_was_moved_to_when_an_export_ends(person, service):
    page = person.page
    person.chooses_layer("Night")
    person.types_the_box("-170", "-60", "-110", "0")
    person.chooses_zoom(9)
    with standing_still(service.child("worker")):  # or it might end before it was looked at
        person.creates("Looked at closely")
        expect(person.badge).to_have_text(re.compile("Waiting|Running"))
        before = person.width_of_a_degree()
        person.button("Zoom in").click()
        until(lambda: person.width_of_a_degree() > before * 1.9)
        closely = person.width_of_a_degree()
    person.sees_ready()
    expect(page.get_by_text("The map shows the package itself")).to_be_visible()
    person.sees_the_map()
    assert person.width_of_a_degree() == pytest.approx(closely)


def test_a_double_click_with_the_box_tool_leaves_the_area_as_it_is(person):
    person.types_the_box("1", "1", "2", "2")
    expect(person.area).to_contain_text("Box, 1° × 1°")  # noqa: RUF001 - as the page writes it
    person.button("Box").click()
    person.page.mouse.dblclick(*person.where(1.7, 1.7))
    expect(person.button("Box")).to_have_attribute("aria-pressed", "true")
    assert person.form["area"] == TYPED_BOX


def test_the_hint_of_a_tool_is_told_only_where_it_can_be_used(person):
    hint = person.page.locator(".map-hint")
    expect(person.area).to_contain_text("Press “Box” and drag on the map")
    person.button("Box").click()
    expect(hint).to_contain_text("Drag a box")
    person.page.get_by_role("link", name="My exports").click()
    expect(hint).to_be_empty()


@pytest.mark.parametrize("locale", ["en-GB", "he-IL"])
@pytest.mark.parametrize("width", [821, 850, 390])
def test_what_lies_on_the_map_does_not_cover_each_other(new_person, url, width, locale):
    person = new_person(viewport={"width": width, "height": 760}, locale=locale)
    person.opens(f"{url}/#/new?area=1,1,3,3&zoom=1")
    page = person.page
    expect(page.locator(".map-tools > :nth-child(6)")).to_be_visible()
    parts = [page.locator(one) for one in (".map-tools", ".map-buttons", ".ol-scale-line")]
    assert not any(overlap(a, b) for a in parts for b in parts if a is not b)


@pytest.mark.parametrize("width", [1366, 1024, 830])
def test_the_coordinates_of_the_pointer_are_not_below_the_attribution(new_person, url, width):
    person = new_person(viewport={"width": width, "height": 760})
    person.opens(url)
    page = person.page
    page.mouse.move(*person.where(10, 10))
    pointer, attribution = page.locator(".pointer"), page.locator(".attribution")
    expect(pointer).to_contain_text("N")
    assert not overlap(pointer, attribution)
    assert not overlap(pointer, page.locator(".ol-scale-line"))
