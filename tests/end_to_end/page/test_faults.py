"""What the page says when something goes wrong, and that nothing typed is lost."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import cos, pi, sin

import orjson
import psutil
import pytest
from playwright.sync_api import expect

from app.domain.space import BEAT_MARGIN_BYTES as KEPT_FREE_BYTES
from app.ingress.auth.tokens import LEEWAY_S
from tests.end_to_end.conftest import Service
from tests.end_to_end.page.conftest import (
    UNTIL_FAILED_MS,
    Guarded,
    Person,
    standing_still,
    until,
)
from tests.small_disk import Disk

SHORT_SESSION_S = 25
"""Longer than a reload takes on a busy machine."""


def circle(corners: int) -> str:
    """A polygon of many corners."""
    ring = [
        [20 * cos(2 * pi * n / corners), 20 * sin(2 * pi * n / corners)] for n in range(corners)
    ]
    return orjson.dumps({"type": "Polygon", "coordinates": [[*ring, ring[0]]]}).decode()


def signed_in(guarded: Guarded, new_person, **claims: object) -> Person:
    """Somebody who has opened the page of the service that asks for tokens."""
    person = new_person(guarded.url)
    guarded.lets_in(person.page.context, **claims)
    person.opens(guarded.url)
    return person


@contextmanager
def full(disk: Disk) -> Iterator[None]:
    """The disk has no more than what the service keeps free, until the block ends."""
    filler = disk.fill(but=KEPT_FREE_BYTES)
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def broker_away(service: Service) -> Iterator[None]:
    """The broker neither answers nor ends until the block does."""
    with standing_still(service.child("noida-db")):
        yield


@contextmanager
def ingress_away(service: Service) -> Iterator[None]:
    """The ingress is killed, and nobody starts another one until the block ends."""
    with standing_still(psutil.Process(service.process.pid)):
        service.child("ingress").kill()
        yield


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "This is no GeoJSON and no list of corners"),
        ("roads and rivers", "This is no GeoJSON and no list of corners"),
        ('{"type": "Point", "coordinates": [1, 2]}', "It holds no polygon"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, 95], [1, 1]]]}', "not on the globe"),
        ('{"type": "Topology", "arcs": []}', "type: Topology"),
    ],
)
def test_text_that_is_no_area_is_told_and_kept(person, text, told):
    person.pastes(text)
    expect(person.page.get_by_role("alert").filter(has_text=told)).to_be_visible()
    expect(person.page.get_by_label(re.compile("GeoJSON, or corners"))).to_have_value(text)


def test_a_file_that_is_no_geojson_is_told(person):
    person.page.get_by_text("Paste or file", exact=True).click()
    file = {"name": "x.geojson", "mimeType": "application/geo+json", "buffer": b"<kml></kml>"}
    person.page.locator("input[type=file]").set_input_files(file)
    person.hears("This is no GeoJSON")


def test_an_area_of_200_000_corners_is_told_with_the_limit_and_a_way_out(person):
    person.page.get_by_text("Paste or file", exact=True).click()
    file = {
        "name": "x.geojson",
        "mimeType": "application/geo+json",
        "buffer": circle(200_000).encode(),
    }
    person.page.locator("input[type=file]").set_input_files(file)
    expect(
        person.page.get_by_text("The area has 200,000 corners; at most 20,000 are accepted")
    ).to_be_visible()
    expect(person.button("Create the export")).to_be_disabled()
    person.button("Take its box").click()
    expect(person.area).to_contain_text("Box, 40° × 40°")  # noqa: RUF001 - as the page writes it
    expect(person.button("Create the export")).to_be_enabled()


def test_too_much_is_told_with_the_limit_and_the_nearest_choice_that_fits(guarded, new_person):
    person = signed_in(guarded, new_person)
    person.button("Whole layer").click()
    too_much = person.page.locator(".too-much")
    expect(too_much).to_contain_text("This is too much. Tiles: 2,730, at most 500.")
    expect(person.button("Create the export")).to_be_disabled()
    person.button("Use zoom 3").click()
    expect(too_much).to_have_count(0)
    expect(person.page.locator(".figures dd").first).to_have_text("170")
    expect(person.button("Create the export")).to_be_enabled()


def test_space_that_is_gone_is_told_and_nothing_typed_is_lost(guarded, new_person):
    if guarded.disk is None:
        pytest.skip("no small disk: mounting is refused here")
    person = signed_in(guarded, new_person)
    page = person.page
    person.types_the_box("-20", "-20", "30", "30")
    person.chooses_zoom(4)
    page.get_by_label("Name").fill("Needs some space")
    person.sees_the_cost(zoom=4)
    before = person.form
    with full(guarded.disk):
        person.creates()
        told = page.get_by_role("alert").filter(has_text="There is not enough space: this export")
        expect(told).to_contain_text("67 MB are always kept free. Take a smaller area")
        assert person.form == before
        # The service looks at its disk once a second.
        storage = f"{guarded.url}/storage"
        until(lambda: page.request.get(storage).json()["availableBytes"] == 0)
        person.chooses_zoom(3)
        too_much = page.locator(".too-much")
        expect(too_much).to_contain_text("This is too much. Free space: ")
        expect(too_much).to_contain_text("at most 0 byte")
        expect(too_much).to_contain_text("No zoom fits. Choose a smaller area.")
        expect(person.button("Create the export")).to_be_disabled()
    until(lambda: page.request.get(storage).json()["availableBytes"] > 0)
    person.chooses_zoom(4)
    expect(too_much).to_have_count(0)
    person.creates()
    person.sees_ready()


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        (507, "the export needs 5 GB", "There is not enough space: the export needs 5 GB."),
        (429, "20 exports are open", "Too many exports are open: 20 exports are open."),
        (400, "bbox is wrong", "The service refused this: bbox is wrong"),
        (500, "a bug", "The service made a mistake."),
    ],
)
def test_a_refusal_is_told_in_plain_words_and_the_form_stays(person, status, message, told):
    person.page.route(
        "**/create", lambda route: route.fulfill(status=status, json={"message": message})
    )
    person.types_the_box("1", "1", "2", "2")
    person.creates("Stays")
    expect(person.page.get_by_role("alert").filter(has_text=told)).to_be_visible()
    expect(person.page.get_by_label("Name")).to_have_value("Stays")


def test_a_reload_loses_nothing_that_was_typed(person):
    person.types_the_box("1", "1", "2", "2")
    person.chooses_zoom(1)
    person.page.get_by_label("Name").fill("Half done")
    before = person.form
    person.page.reload()
    expect(person.page.get_by_label("Name")).to_have_value("Half done")
    expect(person.area).to_contain_text("Box, 1° × 1°")  # noqa: RUF001 - as the page writes it
    assert person.form == before


def test_an_export_that_is_not_there_is_told(person, url):
    person.page.goto(f"{url}/#/exports/00000000-0000-4000-8000-000000000000")
    expect(person.page.get_by_text("There is no such export")).to_be_visible()


def test_the_page_goes_on_by_itself_when_the_ingress_was_restarted(person, service):
    person.types_the_box("7", "7", "9", "9")
    expect(person.page.locator(".figures")).to_be_visible()
    banner = person.page.locator(".banner")
    with ingress_away(service):
        person.chooses_zoom(3)
        expect(banner).to_contain_text(re.compile("cannot be reached|not ready"))
    expect(person.area).to_contain_text("Box, 2° × 2°")  # noqa: RUF001 - as the page writes it
    expect(banner).to_have_count(0)
    person.hears("The service is back.")
    expect(person.page.locator(".figures")).to_be_visible()
    person.creates("After the restart")
    person.sees_ready()


def test_the_page_tells_that_the_broker_is_away_and_goes_on_by_itself(person, service):
    page = person.page
    person.types_the_box("11", "11", "13", "13")
    person.chooses_zoom(2)
    page.get_by_label("Name").fill("While the broker is away")
    expect(page.locator(".figures")).to_be_visible()
    before = person.form
    banner = page.locator(".banner")
    with broker_away(service):
        # Nobody has done anything: the page finds out by itself.
        expect(banner).to_contain_text("its message broker does not answer")
        person.creates()
        told = page.get_by_role("alert").filter(has_text="cannot do that at the moment")
        expect(told).to_contain_text("Try again shortly.")
        assert person.form == before
    expect(banner).to_have_count(0)
    person.hears("The service is back.")
    assert person.form == before
    person.creates()
    person.sees_ready()


def test_a_session_that_ends_is_told_and_nothing_typed_is_lost(guarded, new_person):
    person = signed_in(guarded, new_person)
    page = person.page
    person.types_the_box("21", "21", "23", "23")
    person.chooses_zoom(2)
    page.get_by_label("Name").fill("Over the end of the session")
    expect(page.locator(".figures")).to_be_visible()
    before = person.form
    guarded.lets_in(page.context, exp=int(time.time()) + SHORT_SESSION_S - LEEWAY_S)
    page.reload()
    expect(page.locator(".figures")).to_be_visible()
    # Nobody has done anything: the page finds out by itself.
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Your session has ended. Sign in again")
    assert person.form == before
    dialog.get_by_role("button", name="Cancel").click()
    person.creates()
    expect(dialog).to_be_visible()
    dialog.get_by_label("Access token").fill(guarded.issuer.token(sub="anna"))
    dialog.get_by_role("button", name="Sign in").click()
    expect(dialog).to_have_count(0)
    assert person.form == before
    expect(page.get_by_label("Name")).to_have_value("Over the end of the session")
    person.creates()
    person.sees_ready()


def test_an_export_of_a_layer_that_cannot_be_read_tells_why_and_what_to_do(person, url, doomed):
    page = person.page
    page.goto(f"{url}/#/exports/{doomed}")
    expect(person.badge).to_have_text("Failed", timeout=UNTIL_FAILED_MS)
    reason = page.locator(".reason")
    expect(reason).to_contain_text("tile 3/2/1 cannot be read: it is cut short")
    expect(reason).to_contain_text("own tiles could not be read. Try again in a few minutes")
    person.button("Try again").click()
    expect(page).not_to_have_url(re.compile(doomed))
    expect(person.badge).to_have_text(re.compile("Waiting|Running"))
    person.button("Cancel the export").click()
    expect(person.badge).to_have_text("Cancelled")
