"""A person with a browser: Chromium on the real service, under the page's real policy.

These tests run only when this folder, a file of it or a test is named
(`scripts/test tests/end_to_end/page`): they take minutes. EXPORT_BROWSER_REQUIRED=1 turns the skip
for a missing browser into an error.
"""

import os
import re
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    CDPSession,
    Locator,
    Page,
    expect,
    sync_playwright,
)

from app.demo import FOLDER
from tests.end_to_end.conftest import Service, running_service
from tests.small_disk import Disk, mounted
from tests.token_issuer import Issuer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SCREENSHOTS = Path(os.environ.get("EXPORT_SCREENSHOTS", ROOT / "build" / "screenshots"))
CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
ARGUMENTS = [
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--force-color-profile=srgb",
]
DEADLINE_MS = 120_000
"""Far beyond what anything takes that comes at all, on a busy machine, too."""
UNTIL_FAILED_MS = 400_000
"""An unreadable tile is tried five times within 85 s."""
expect.set_options(timeout=DEADLINE_MS)
WORLD = [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]]
SLOW_LAYER = {
    "id": "f1000000-0000-4000-8000-000000000001",
    "type": "RECORD_RASTER",
    "productId": "night",
    "productName": "Night, made up",
    "productVersion": "2",
    "sensors": ["Imagination"],
    "maxResolutionDeg": 0.703125 / 2**11,
    "footprint": {"type": "Polygon", "coordinates": WORLD},
    "meanTileBytes": 99,
    "source": {"type": "synthetic"},
}
WOUNDED_LAYER_ID = "f2000000-0000-4000-8000-000000000002"
WOUNDED_LAYER = SLOW_LAYER | {
    "id": WOUNDED_LAYER_ID,
    "productId": "wounded",
    "productName": "Wounded",
    "productVersion": "1",
    "sensors": ["MODIS"],
    "maxResolutionDeg": 0.703125 / 2**3,
    "meanTileBytes": 12_000,
    "source": {"type": "folder", "path": "wounded"},
}
MISSING_TILE = (3, 8, 3)
"""The layer does not have it: 0 to 22.5 degrees east and north."""
CUT_TILE = (3, 2, 1)
"""Its file is cut short: 135 to 112.5 degrees west, 45 to 67.5 north."""
MOST_TILES = 500
"""Of one export in the service that has limits."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave these tests out where nobody has asked for them."""
    if any("end_to_end/page" in argument for argument in config.args):
        return
    ours = [item for item in items if HERE in item.path.parents]
    config.hook.pytest_deselected(items=ours)
    items[:] = [item for item in items if item not in set(ours)]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for the tests of a module."""
    if CHROMIUM is None:
        if os.environ.get("EXPORT_BROWSER_REQUIRED"):
            pytest.fail("there is no Chromium, and EXPORT_BROWSER_REQUIRED is set")
        pytest.skip("there is no Chromium on this machine (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that other tests put no layers into; it has a second one, whose exports last."""
    data_dir = tmp_path_factory.mktemp("page")
    # The page gives an answer 30 s, and must get one while a test holds the workers.
    settings = {"EXPORT_RANGE_BYTES": "200000", "EXPORT_VERDICT_WAIT_S": "2"}
    with running_service(data_dir, **settings) as started:
        make_wounded_layer(started.data_dir / "layers")
        for layer in (SLOW_LAYER, WOUNDED_LAYER):
            record = started.data_dir / "catalogue" / f"{layer['productId']}.json"
            record.write_bytes(orjson.dumps(layer))
        yield started


def make_wounded_layer(layers: Path) -> None:
    """The coarse zooms of the demo layer without one tile, and with another cut short."""
    for zoom in range(4):
        shutil.copytree(layers / FOLDER / str(zoom), layers / "wounded" / str(zoom))
    missing, cut = (
        layers / "wounded" / f"{zoom}/{column}/{row}.jpeg"
        for zoom, column, row in (MISSING_TILE, CUT_TILE)
    )
    missing.unlink()
    os.truncate(cut, 1000)


@pytest.fixture(scope="session")
def doomed(service) -> str:
    """An export that fails, a minute and a half after the service has started."""
    body = {"dbId": WOUNDED_LAYER_ID, "bbox": [-130, 50, -120, 60], "description": "Doomed"}
    request = urllib.request.Request(
        f"{service.url}/create", orjson.dumps(body), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return orjson.loads(answer.read())["requestId"]


@pytest.fixture(scope="session")
def url(service, doomed) -> str:
    """Where the page is; what takes long there has been begun."""
    return service.url


@dataclass
class Guarded:
    """A service that asks for tokens and has limits, who hands tokens out, and its disk."""

    service: Service
    issuer: Issuer
    disk: Disk | None

    @property
    def url(self) -> str:
        return self.service.url

    def lets_in(self, context: BrowserContext, **claims: object) -> None:
        """Give a browser the cookie that signing in would give it."""
        token = self.issuer.token(**{"sub": "anna"} | claims)
        context.add_cookies([{"name": "session", "value": token, "url": self.url}])


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """The service with tokens and limits; where mounting is refused it has no disk of its own."""
    folder = tmp_path_factory.mktemp("guarded")
    issuer = Issuer()
    keys = folder / "jwks.json"
    keys.write_bytes(issuer.jwks())
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(mounted(folder / "data" / "exports", "96m"))
        except pytest.skip.Exception:
            disk = None
        limits = {"EXPORT_JWKS_FILE": str(keys), "EXPORT_MAX_TILES": str(MOST_TILES)}
        service = stack.enter_context(running_service(folder / "data", **limits))
        yield Guarded(service, issuer, disk)


def until(condition: Callable[[], bool], deadline_s: float = DEADLINE_MS / 1000) -> None:
    """Wait for a state that no page shows."""
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, "not in time"
        time.sleep(0.05)


@contextmanager
def standing_still(process: psutil.Process) -> Iterator[None]:
    """A process neither works nor ends until the block does."""
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def overlap(one: Locator, other: Locator) -> bool:
    """Whether two things lie upon each other, were it only in part."""
    a, b = one.bounding_box(), other.bounding_box()
    return all(
        a[low] < b[low] + b[size] and b[low] < a[low] + a[size]
        for low, size in (("x", "width"), ("y", "height"))
    )


def counting_processor(page: Page) -> CDPSession:
    """Count the processor time of a page alone, so that what others take beside it is left out."""
    counter = page.context.new_cdp_session(page)
    counter.send("Performance.enable", {"timeDomain": "threadTicks"})
    return counter


def spent_s(counter: CDPSession, *kinds: str) -> float:
    """What a page has spent so far, by Chromium's names of the kinds of work."""
    metrics = counter.send("Performance.getMetrics")["metrics"]
    return sum(one["value"] for one in metrics if one["name"] in kinds)


@dataclass
class Person:
    """Somebody with the page open; what they do, in their words."""

    page: Page
    problems: list[str]

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def opens(self, address: str) -> None:
        self.page.goto(address)
        self.sees_the_map()

    def sees_the_map(self) -> None:
        self.page.wait_for_selector(".map[data-loaded]", timeout=DEADLINE_MS)

    def where(self, lon: float, lat: float) -> tuple[float, float]:
        """Where a position is on the screen, px."""
        column, row = self.page.evaluate("position => window.pixelOf(position)", [lon, lat])
        frame = self.page.locator(".map").bounding_box()
        return frame["x"] + column, frame["y"] + row

    def drags_a_box(self, west: float, south: float, east: float, north: float) -> None:
        self.button("Box").click()
        mouse = self.page.mouse
        mouse.move(*self.where(west, north))
        mouse.down()
        mouse.move(*self.where((west + east) / 2, (south + north) / 2), steps=3)
        mouse.move(*self.where(east, south), steps=3)
        mouse.up()

    def draws(self, tool: str, corners: list[tuple[float, float]]) -> None:
        """Click corners; the last one twice, which ends the shape."""
        self.button(tool).click()
        for corner in corners:
            self.page.mouse.move(*self.where(*corner), steps=2)
            self.page.mouse.click(*self.where(*corner))
        self.page.mouse.dblclick(*self.where(*corners[-1]))

    def types_the_box(self, west: str, south: str, east: str, north: str) -> None:
        if not self.page.get_by_label("West", exact=True).is_visible():
            self.page.get_by_text("Coordinates", exact=True).click()
        sides = {"North": north, "West": west, "East": east, "South": south}
        for side, text in sides.items():
            self.page.get_by_label(side, exact=True).fill(text)
        self.page.get_by_label("South", exact=True).press("Enter")

    def pastes(self, text: str) -> None:
        field = self.page.get_by_label(re.compile("GeoJSON, or corners"))
        if not field.is_visible():
            self.page.get_by_text("Paste or file", exact=True).click()
        field.fill(text)
        self.button("Use this text").click()

    def width_of_a_degree(self) -> float:
        """How large the map is shown, px."""
        return self.where(1, 0)[0] - self.where(0, 0)[0]

    def chooses_zoom(self, zoom: int) -> None:
        self.page.get_by_role("slider", name="Finest zoom").fill(str(zoom))

    def sees_the_cost(self, zoom: int) -> None:
        """Wait for the estimate of a zoom: it tells tiles for each one from 0."""
        expect(self.page.locator(".block .table tbody tr")).to_have_count(zoom + 1)

    def chooses_layer(self, name: str) -> None:
        self.button("Change").click()
        self.page.get_by_role("button", name=re.compile(name)).click()

    @property
    def area(self) -> Locator:
        """The sentence that tells the chosen area."""
        return self.page.locator("#area-title + .card [role=status]")

    @property
    def badge(self) -> Locator:
        """The status of the export that is open."""
        return self.page.locator("article.whole .badge")

    def creates(self, name: str = "") -> None:
        if name:
            self.page.get_by_label("Name").fill(name)
        self.button("Create the export").click()

    def sees_ready(self) -> None:
        expect(self.badge).to_have_text("Ready")

    def hears(self, told: str) -> None:
        """Wait until a notice has told something; it goes by itself, and may be gone again."""
        said = "told => window.heard.some(notice => notice.includes(told))"
        self.page.wait_for_function(said, arg=told, polling=100)

    @property
    def form(self) -> dict:
        """The form as the page keeps it over reloads."""
        return orjson.loads(self.page.evaluate("() => sessionStorage.getItem('draft')"))


HEARD = """
window.heard = [];
new MutationObserver(changes => {
    for (const node of changes.flatMap(change => [...change.addedNodes])) {
        if (node.matches?.(".notice")) window.heard.push(node.textContent);
    }
}).observe(document, {childList: true, subtree: true});
"""
"""Remembers the notices that came."""

EXPECTED_ERRORS = re.compile(
    "Failed to load resource: (the server responded with a status of|net::ERR_CONNECTION_)"
)
"""What Chromium writes of every answer that is no success; the page tells it in its own words."""


@pytest.fixture
def new_person(chromium, url):
    """Bring a person with a browser of their own; at the end nothing may have gone wrong in it."""
    contexts: list[tuple[BrowserContext, Person]] = []

    def bring(address: str | None = None, also: str | None = None, **options) -> Person:
        settings = {"viewport": {"width": 1366, "height": 820}, "locale": "en-GB"} | options
        context = chromium.new_context(**settings)
        context.set_default_timeout(DEADLINE_MS)
        context.add_init_script(HEARD)
        page = context.new_page()
        person = Person(page, [])
        contexts.append((context, person))
        homes = tuple(filter(None, (address or url, also)))

        def note(problem: str) -> None:
            person.problems.append(problem)

        def console(message) -> None:
            if message.type == "error" and not EXPECTED_ERRORS.match(message.text):
                note(message.text)

        page.on("console", console)
        page.on("pageerror", lambda error: note(str(error)))
        page.on(
            "request",
            lambda asked: (
                None
                if asked.url.startswith((*homes, "data:", "blob:"))
                else note(f"left the service: {asked.url}")
            ),
        )
        return person

    yield bring
    for context, person in contexts:
        context.close()
        assert person.problems == []


@pytest.fixture
def person(new_person, url) -> Person:
    """Somebody at a laptop who has opened the page."""
    somebody = new_person()
    somebody.opens(url)
    return somebody


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where the pictures of a run are kept."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return SCREENSHOTS
