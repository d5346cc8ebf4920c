"""Who works by keys keeps their place: after each action and in each view."""

import re

from playwright.sync_api import Locator, expect

from tests.end_to_end.page.conftest import Person


def presses(person: Person, name: str) -> None:
    """Press a button by key alone."""
    person.button(name).focus()
    person.page.keyboard.press("Enter")


def follows(person: Person, link: Locator) -> None:
    link.focus()
    person.page.keyboard.press("Enter")


def test_the_focus_comes_back_to_the_button_that_opened_the_layers(person):
    presses(person, "Change")
    layer = person.page.get_by_role("button", name=re.compile("Night"))
    follows(person, layer)
    expect(person.page.get_by_role("dialog")).to_have_count(0)
    expect(person.button("Change")).to_be_focused()
    assert person.form["layerId"] is not None


def test_the_focus_stays_in_the_tools_when_the_last_step_is_undone_or_all_is_cleared(person):
    presses(person, "Whole layer")
    presses(person, "Clear")
    expect(person.button("Undo")).to_be_focused()
    person.page.keyboard.press("Enter")
    person.page.keyboard.press("Enter")
    expect(person.button("Undo")).to_have_count(0)
    expect(person.button("Polygon")).to_be_focused()


def test_the_focus_follows_from_view_to_view_and_back_to_the_same_export(person):
    page = person.page
    title = page.locator(".title")
    person.types_the_box("1", "7", "2", "8")
    person.chooses_zoom(2)
    page.get_by_label("Name").fill("Walked to")
    expect(page.locator(".figures")).to_be_visible()
    presses(person, "Create the export")
    expect(title).to_have_text("Walked to")
    expect(title).to_be_focused()
    follows(person, page.get_by_role("link", name="All exports"))
    card = page.get_by_role("link", name="Walked to", exact=True).first
    expect(card).to_be_focused()
    follows(person, page.get_by_role("link", name="New export"))
    expect(title).to_have_text("New export")
    expect(title).to_be_focused()
    follows(person, page.get_by_role("link", name="My exports"))
    expect(title).to_have_text("My exports")
    expect(title).to_be_focused()


def test_the_focus_stays_while_a_package_is_kept_and_deleted(person):
    page = person.page
    person.types_the_box("1", "9", "2", "10")
    person.chooses_zoom(2)
    person.creates("Kept by keys")
    person.sees_ready()
    presses(person, "Keep 30 days longer")
    person.hears("The package is kept until")
    expect(person.button("Keep 30 days longer")).to_be_focused()
    presses(person, "Keep until I remove it")
    expect(person.button("Let it expire")).to_be_focused()
    presses(person, "Delete the package")
    expect(person.button("Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(person.button("Delete the package")).to_be_focused()
    page.keyboard.press("Enter")
    follows(person, page.locator(".too-much").get_by_role("button", name="Delete the package"))
    expect(person.badge).to_have_text("Expired")
    expect(page.locator(".title")).to_be_focused()
    expect(page.locator(".reason")).to_contain_text("The package was removed before its time.")


def test_the_focus_goes_to_the_title_when_an_export_is_cancelled_and_tried_again(person):
    page = person.page
    person.chooses_layer("Night")
    person.types_the_box("-180", "-90", "179", "90")
    person.chooses_zoom(11)
    person.creates("Stopped by keys")
    expect(person.badge).to_have_text("Running")
    address = page.url
    presses(person, "Cancel the export")
    expect(person.badge).to_have_text("Cancelled")
    expect(page.locator(".title")).to_be_focused()
    presses(person, "Try again")
    expect(page).not_to_have_url(address)
    expect(person.button("Cancel the export")).to_be_visible()
    expect(page.locator(".title")).to_be_focused()
    person.button("Cancel the export").click()
    expect(person.badge).to_have_text("Cancelled")


def test_the_focus_stays_on_create_when_it_was_refused(person):
    refused = {"message": "3 exports wait or run, no more than 3 may"}
    person.page.route("**/create", lambda route: route.fulfill(status=429, json=refused))
    person.types_the_box("1", "7", "2", "8")
    expect(person.page.locator(".figures")).to_be_visible()
    presses(person, "Create the export")
    expect(person.page.locator(".submit .fault")).not_to_be_empty()
    expect(person.button("Create the export")).to_be_focused()
