"""Narrow screens, large letters and long names: nothing runs out of its place."""

import orjson
import pytest
from playwright.sync_api import Page, expect

from app.demo import DEMO_LAYER_ID
from tests.end_to_end.page.conftest import SLOW_LAYER, overlap

LONG_LAYER = SLOW_LAYER | {
    "id": "f3000000-0000-4000-8000-000000000003",
    "productId": "long",
    "productName": "Orthophoto_of_the_whole_country_in_one_word_that_nothing_breaks_2024",
}
LONG_NAME = "Averyverylongname" * 50


@pytest.fixture(scope="module")
def long_layer(service) -> str:
    record = service.data_dir / "catalogue" / "long.json"
    record.write_bytes(orjson.dumps(LONG_LAYER))
    return LONG_LAYER["id"]


@pytest.fixture(scope="module")
def long_export(chromium, url) -> str:
    """An export with a very long name; its id."""
    body = {"dbId": DEMO_LAYER_ID, "bbox": [5, 5, 7, 8], "targetResolution": 0.703125}
    context = chromium.new_context()
    answer = context.request.post(f"{url}/create", data=body | {"description": LONG_NAME})
    asked = answer.json()["requestId"]
    context.close()
    return asked


def wider_than_the_screen(page: Page) -> list[str]:
    """What runs out of the screen, were it only in part."""
    return page.evaluate(
        """() => [...document.querySelectorAll("html, header *, .panel *")]
            .filter(one => {
                const {left, right} = one.getBoundingClientRect();
                return right > innerWidth + 1 || left < -1;
            })
            .map(one => `${one.tagName} ${one.className}`)
            .concat(document.documentElement.scrollWidth > innerWidth ? ["the page"] : [])"""
    )


@pytest.mark.parametrize("locale", ["en-GB", "he-IL"])
@pytest.mark.parametrize(("width", "letters"), [(320, 1), (390, 2)])
def test_no_view_is_wider_than_a_small_screen_nor_with_letters_of_double_size(
    new_person, url, long_layer, long_export, locale, width, letters
):
    page = new_person(viewport={"width": width, "height": 640}, locale=locale).page
    page.add_init_script(
        f"""addEventListener("DOMContentLoaded", () =>
            document.documentElement.style.fontSize = "{15 * letters}px")"""
    )
    page.goto(f"{url}/#/new?layer={long_layer}&area=1,1,3,3&zoom=2&name={LONG_NAME}")
    expect(page.locator(".figures")).to_be_visible()
    assert wider_than_the_screen(page) == []
    page.goto(f"{url}/#/exports")
    expect(page.locator(".exports > li").first).to_be_visible()
    assert wider_than_the_screen(page) == []
    page.goto(f"{url}/#/exports/{long_export}")
    expect(page.locator("article.whole [data-status=Completed]")).to_be_visible()
    assert wider_than_the_screen(page) == []


def test_letters_have_the_size_that_the_browser_was_told(new_person, url):
    page = new_person().page
    page.goto(url)
    sizes = page.evaluate(
        """() => {
            const kept = [...document.styleSheets].flatMap(sheet => [...sheet.cssRules])
                .find(rule => rule.selectorText === ":root" && rule.style.fontSize);
            return kept.style.fontSize;
        }"""
    )
    assert sizes.endswith("%")


def test_a_long_layer_name_stays_in_its_card_and_in_the_list(new_person, url, long_layer):
    page = new_person().page
    page.goto(f"{url}/#/new?layer={long_layer}")
    name = page.locator("#layer-title + .card strong")
    expect(name).to_contain_text("Orthophoto")
    fits = "one => one.scrollWidth <= one.clientWidth"
    assert page.locator("#layer-title + .card").evaluate(fits)
    page.get_by_role("button", name="Change", exact=True).click()
    long = page.locator(".layers button", has_text="Orthophoto")
    expect(long).to_be_visible()
    assert long.evaluate(fits)
    assert page.locator(".layers").evaluate(fits)
    other = page.locator(".layers button[aria-pressed=false]").first
    other.hover()
    ground = "one => getComputedStyle(one).backgroundColor"
    assert other.evaluate(ground) != long.evaluate(ground)


def test_a_long_export_name_takes_a_few_lines_and_is_told_in_full_once(
    new_person, url, long_export
):
    page = new_person().page
    page.goto(f"{url}/#/exports")
    card = page.locator("article", has_text="Averyverylongname").first
    expect(card).to_be_visible()
    assert card.bounding_box()["height"] < 200
    assert card.locator("a").first.get_attribute("title") == LONG_NAME
    page.goto(f"{url}/#/exports/{long_export}")
    title = page.locator("#export-title")
    expect(title).to_be_visible()
    assert title.bounding_box()["height"] < 100
    expect(page.locator(".facts-list")).to_contain_text(LONG_NAME)


def test_a_button_that_cannot_be_pressed_looks_the_same_under_the_mouse(person):
    button = person.button("Create the export")
    expect(button).to_be_disabled()
    ground = "one => getComputedStyle(one).backgroundColor"
    before = button.evaluate(ground)
    button.hover(force=True)
    assert button.evaluate(ground) == before


def test_a_notice_on_a_phone_leaves_the_cost_and_the_button_in_sight(new_person, url):
    person = new_person(viewport={"width": 390, "height": 844})
    person.opens(f"{url}/#/new?area=1,1,3,3&zoom=2")
    page = person.page
    expect(page.locator(".glance")).to_be_visible()
    file = {"name": "plan.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7"}
    page.get_by_text("Paste or file", exact=True).click()
    page.locator("input[type=file]").set_input_files(file)
    expect(page.locator(".notice.bad")).to_be_visible()
    assert not overlap(page.locator(".notices"), page.locator(".submit"))
