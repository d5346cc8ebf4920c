"""Every view in both languages and themes: no finding of axe, and a picture to look at."""

import re
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, expect

from app.demo import DEMO_LAYER_ID
from tests.end_to_end.page.conftest import (
    SLOW_LAYER,
    UNTIL_FAILED_MS,
    WOUNDED_LAYER_ID,
    Guarded,
    counting_processor,
    spent_s,
    until,
)

SIZES = {"laptop": (1366, 820), "phone": (390, 844)}
LOCALES = {"en": "en-GB", "he": "he-IL"}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
WORDS = {
    "en": {
        "change": "Change",
        "name": "The Mediterranean",
        "rows": "Coordinates",
        "paste": "Paste or file",
        "use": "Use this text",
    },
    "he": {
        "change": "החלפה",
        "name": "הים התיכון",
        "rows": "קואורדינטות",
        "paste": "הדבקה או קובץ",
        "use": "שימוש בטקסט",
    },
}
MEDITERRANEAN = [-6, 30, 36, 46]


@pytest.fixture(scope="session")
def axe(request) -> str:
    return (request.config.rootpath / "app/web/node_modules/axe-core/axe.min.js").read_text()


SWAGGER_UI = ("nested-interactive", "heading-order", "landmark-unique")
"""Broken by how Swagger UI nests its elements; no style can mend that: buttons within the line that
opens an operation, a heading of third level after none of second, responses that are landmarks
without names of their own."""


def findings(page: Page, axe: str, but: tuple[str, ...] = ()) -> list[str]:
    page.evaluate(axe)
    options = {"runOnly": RULES, "rules": {rule: {"enabled": False} for rule in but}}
    found = page.evaluate(
        """options => axe.run(document, options).then(result => result.violations.flatMap(
            one => one.nodes.map(node => `${one.id}: ${node.target} ${node.failureSummary}`)))""",
        options,
    )
    if not page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"):
        found.append("it is wider than the screen")
    return found


@dataclass
class Visit:
    """One person who goes through all views."""

    page: Page
    url: str
    guarded: Guarded
    words: dict[str, str]
    export_id: str
    failed_id: str
    running_id: str = ""

    def opens(self, address: str, url: str | None = None) -> None:
        """Open the page at an address as if for the first time, with nothing kept."""
        self.page.goto("about:blank")
        self.page.goto(f"{url or self.url}/#{address}")
        if self.page.locator(".map").is_visible():  # on a phone the list has no map
            self.page.wait_for_selector(".map[data-loaded]")

    def form(self, url: str | None = None, zoom: int = 4) -> None:
        area = ",".join(map(str, MEDITERRANEAN))
        self.opens(f"/new?area={area}&zoom={zoom}&name={self.words['name']}", url)
        expect(self.page.locator(".figures")).to_be_visible()

    def empty_form(self) -> None:
        self.opens("/new")
        self.page.evaluate("() => sessionStorage.clear()")
        self.opens("/new")

    def coordinates(self) -> None:
        self.form()
        self.page.locator("summary", has_text=self.words["rows"]).click()
        self.page.locator(".compass input").first.fill("x")
        self.page.locator(".compass input").first.press("Enter")
        expect(self.page.locator("[aria-invalid=true]")).to_be_visible()

    def paste(self) -> None:
        self.form()
        self.page.locator("summary", has_text=self.words["paste"]).click()
        self.page.locator("textarea").fill("34.2, 29.4\n35.9, 29.4\nroads")
        self.page.get_by_role("button", name=self.words["use"]).click()
        expect(self.page.locator("textarea[aria-invalid=true]")).to_be_visible()

    def sign_in(self) -> None:
        self.page.context.clear_cookies()
        self.page.goto(self.guarded.url)
        dialog = self.page.get_by_role("dialog")
        dialog.locator("input").fill("no token at all")
        dialog.locator("button.primary").click()
        expect(dialog.locator(".fault")).not_to_be_empty()

    def too_much(self) -> None:
        self.guarded.lets_in(self.page.context)
        self.opens("/new?area=layer&zoom=5", self.guarded.url)
        expect(self.page.locator(".too-much")).to_be_visible()

    def layers(self) -> None:
        self.empty_form()
        self.page.get_by_role("button", name=self.words["change"], exact=True).click()
        expect(self.page.get_by_role("dialog")).to_be_visible()

    def exports(self) -> None:
        self.opens("/exports")
        expect(self.page.locator(".exports > li").first).to_be_visible()
        expect(self.page.locator(".live.on")).to_be_visible()

    def export(self) -> None:
        self.opens(f"/exports/{self.export_id}")
        expect(self.page.locator("article.whole [data-status=Completed]")).to_be_visible()
        self.page.wait_for_selector(".map[data-loaded]")

    def question(self) -> None:
        self.export()
        self.page.locator(".keeping .danger").click()
        expect(self.page.locator(".keeping .too-much")).to_be_visible()

    def notice(self) -> None:
        self.form()
        self.page.locator(".copies button").first.click()
        expect(self.page.locator(".notice")).to_be_visible()

    def no_exports(self) -> None:
        kept = f"() => sessionStorage.setItem('filter', 'Expired,{WOUNDED_LAYER_ID}')"
        self.page.evaluate(kept)
        self.opens("/exports")
        expect(self.page.locator(".empty")).to_be_visible()
        self.page.evaluate("() => sessionStorage.removeItem('filter')")

    def failed(self) -> None:
        self.opens(f"/exports/{self.failed_id}")
        failed = self.page.locator("article.whole [data-status=Failed]")
        expect(failed).to_be_visible(timeout=UNTIL_FAILED_MS)

    def running(self) -> None:
        self.running_id = asked(self.page, self.url, SLOW_LAYER["id"], zoom=11, name="Far too much")
        self.opens(f"/exports/{self.running_id}")
        expect(self.page.get_by_role("progressbar")).to_be_visible()
        begun = re.compile(r"[1-9]\d?%")
        expect(self.page.locator(".progress")).to_contain_text(begun)

    def moves_on(self) -> None:
        """Leave nothing running."""
        if self.running_id:
            self.page.request.delete(f"{self.url}/exports/{self.running_id}")
            self.running_id = ""

    def away(self) -> None:
        self.form()
        self.page.route("**/readyz", lambda route: route.abort("connectionrefused"))
        self.page.route("**/estimate", lambda route: route.abort("connectionrefused"))
        self.page.get_by_role("slider").fill("3")
        expect(self.page.locator(".banner")).to_be_visible()
        self.page.unroute("**/readyz")
        self.page.unroute("**/estimate")


VIEWS = {
    "new": Visit.empty_form,
    "area": Visit.form,
    "coordinates": Visit.coordinates,
    "paste": Visit.paste,
    "sign-in": Visit.sign_in,
    "too-much": Visit.too_much,
    "layers": Visit.layers,
    "exports": Visit.exports,
    "export": Visit.export,
    "question": Visit.question,
    "notice": Visit.notice,
    "no-exports": Visit.no_exports,
    "failed": Visit.failed,
    "running": Visit.running,
    "away": Visit.away,
}


def asked(page: Page, url: str, layer: str, zoom: int, name: str, bbox: object = None) -> str:
    """Create an export; its request's id."""
    body = {
        "dbId": layer,
        "bbox": bbox,
        "targetResolution": 0.703125 / 2**zoom,
        "description": name,
    }
    return page.request.post(f"{url}/create", data=body).json()["requestId"]


def make_export(page: Page, url: str, name: str) -> str:
    request_id = asked(page, url, DEMO_LAYER_ID, 4, name, MEDITERRANEAN)
    whole = f"{url}/exports/{request_id}"
    until(lambda: page.request.get(whole).json()["status"] == "Completed")
    return request_id


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("language", LOCALES)
def test_every_view_is_accessible_and_has_its_picture_taken(
    new_person, url, guarded, doomed, axe, screenshots, language, theme, size
):
    width, height = SIZES[size]
    page = new_person(
        also=guarded.url,
        viewport={"width": width, "height": height},
        locale=LOCALES[language],
        color_scheme=theme,
        reduced_motion="reduce",
    ).page
    words = WORDS[language]
    visit = Visit(page, url, guarded, words, make_export(page, url, words["name"]), doomed)
    found = {}
    for name, go in VIEWS.items():
        go(visit)
        direction = page.locator("html").get_attribute("dir")
        assert direction == {"en": "ltr", "he": "rtl"}[language]
        page.screenshot(path=screenshots / f"{name}-{size}-{theme}-{language}.png")
        if defects := findings(page, axe):
            found[name] = defects
        visit.moves_on()
    assert found == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_api_page_shows_every_operation_and_lets_them_be_tried(
    new_person, url, axe, screenshots, theme
):
    page = new_person(color_scheme=theme).page
    page.goto(f"{url}/docs/api")
    expect(page.locator(".opblock-summary-path", has_text="/create")).to_be_visible()
    page.screenshot(path=screenshots / f"docs-laptop-{theme}-en.png")
    page.locator(".opblock", has_text="/livez").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    status = page.locator(".responses-table .response .response-col_status").first
    expect(status).to_contain_text("200")
    page.locator(".opblock", has_text="/create").first.click()
    expect(
        page.locator(".opblock", has_text="/create").get_by_text("Example Value").first
    ).to_be_visible()
    page.screenshot(path=screenshots / f"operation-laptop-{theme}-en.png")
    assert findings(page, axe, but=SWAGGER_UI) == []
    page.get_by_role("link", name="Raster Export", exact=True).click()
    expect(page.get_by_role("link", name="New export")).to_be_visible()


def test_the_api_page_has_the_appearance_that_was_chosen_on_the_page(new_person, url):
    page = new_person(color_scheme="light").page
    page.goto(url)
    ground = "() => getComputedStyle(document.body).backgroundColor"
    docs = page.context.new_page()
    docs.goto(f"{url}/docs/api")
    expect(docs.locator(".opblock-summary-path").first).to_be_visible()
    until(lambda: docs.evaluate(ground) == page.evaluate(ground))
    appearance = page.get_by_role("button", name=re.compile("Appearance"))
    appearance.click()
    appearance.click()
    expect(appearance).to_have_accessible_name("Appearance: Dark")
    expect(docs.locator("html")).to_have_class("dark-mode")
    until(lambda: docs.evaluate(ground) == page.evaluate(ground))
    whole = "() => getComputedStyle(document.querySelector('.swagger-ui')).backgroundColor"
    until(lambda: docs.evaluate(whole) == page.evaluate(ground))


def test_the_page_is_there_within_a_second_on_a_slow_machine(new_person, url):
    """Slow: with a quarter of this processor.

    What the page computes until its map is there is counted in processor time, as the clock tells
    of other tests as well; `scripts/bench/page.py` has the clock's times.
    """
    page = new_person().page
    processor = counting_processor(page)
    processor.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    page.goto(url)
    page.wait_for_selector(".map[data-loaded]")
    assert 0 < spent_s(processor, "ScriptDuration", "LayoutDuration", "RecalcStyleDuration") < 1
