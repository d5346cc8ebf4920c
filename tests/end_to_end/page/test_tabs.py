"""Many tabs, many exports, and somebody who has to sign in."""

import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest
from playwright.sync_api import expect

from app.demo import DEMO_LAYER_ID
from tests.end_to_end.page.conftest import counting_processor, spent_s, until

TABS = 10


def test_ten_tabs_share_one_stream_and_all_hear_of_an_export(new_person, url, chromium):
    person = new_person()
    context = person.page.context
    tabs = [person.page, *(context.new_page() for _ in range(TABS - 1))]
    own_streams = []
    for tab in tabs:
        tab.on("request", lambda asked: own_streams.append(asked.url))
        tab.goto(f"{url}/#/exports")
        expect(tab.get_by_text("Live", exact=True)).to_be_visible()
    name = f"Heard in all tabs {time.time_ns()}"
    body = {
        "dbId": DEMO_LAYER_ID,
        "bbox": [70, 10, 80 + time.time_ns() % 1000 / 1000, 20],
        "description": name,
    }
    answer = context.request.post(f"{url}/create", data=body)
    assert answer.ok, answer.text()
    for tab in tabs:
        card = tab.locator("article", has_text=name)
        expect(card.get_by_text("Ready")).to_be_visible()
    targets = chromium.new_browser_cdp_session().send("Target.getTargets")["targetInfos"]
    workers = [target["url"] for target in targets if target["type"] == "shared_worker"]
    assert len(workers) == 1
    assert "/assets/feed-" in workers[0]
    assert [asked for asked in own_streams if "/exports/events" in asked] == []


@pytest.fixture
def a_thousand_exports(url) -> None:
    """A thousand requests for the very same tiles, each with another area: one package answers."""

    def create(number: int) -> None:
        east = 1 + number / 10_000
        body = {"dbId": DEMO_LAYER_ID, "bbox": [0, 1, east, 2], "targetResolution": 0.703125}
        request = urllib.request.Request(
            f"{url}/create",
            orjson.dumps(body | {"description": f"One of many, {number}"}),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            assert answer.status == 200

    create(0)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(create, range(1, 1000)))


def test_a_thousand_exports_stay_fluid(new_person, url, a_thousand_exports):
    person = new_person()
    page = person.page
    page.goto(f"{url}/#/exports")
    cards = page.locator(".exports > li")
    expect(cards).not_to_have_count(0)
    more = person.button("Show more")
    while more.is_visible():
        before = cards.count()
        more.click()
        until(lambda shown=before: cards.count() > shown or not more.is_visible())
    assert cards.count() >= 1000
    processor = counting_processor(page)
    before_s = spent_s(processor, "TaskDuration")
    page.evaluate(
        """async () => {
            const panel = document.querySelector(".panel");
            for (let step = 0; step < 60; step += 1) {
                panel.scrollTop = panel.scrollHeight * step / 60;
                await new Promise(requestAnimationFrame);
            }
        }"""
    )
    assert 0 < (spent_s(processor, "TaskDuration") - before_s) / 60 < 0.033


def test_somebody_signs_in_with_a_token_and_out_again(guarded, new_person):
    issuer = guarded.issuer
    person = new_person(guarded.url)
    page = person.page
    page.goto(guarded.url)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(page.locator("input[type=range]")).to_have_count(0)  # zooms of no layer mean nothing
    dialog.get_by_label("Access token").fill("no token at all")
    dialog.get_by_role("button", name="Sign in").click()
    expect(dialog.get_by_text("This token is not accepted")).to_be_visible()
    token = issuer.token(sub="anna")
    dialog.get_by_label("Access token").fill(token)
    dialog.get_by_role("button", name="Sign in").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("anna")).to_be_visible()
    person.sees_the_map()
    (cookie,) = page.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("session", True, "Strict")
    assert token not in page.url
    assert token not in orjson.dumps(page.context.storage_state()["origins"]).decode()
    person.types_the_box("1", "1", "3", "3")
    person.chooses_zoom(2)
    person.creates("Of Anna")
    person.sees_ready()
    page.get_by_role("link", name="New export").click()
    expect(page.locator(".figures")).to_be_visible()
    page.context.clear_cookies()
    person.chooses_zoom(1)  # or the page hears of it before that, by its stream or by a tile
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.get_by_label("Name")).to_have_value("Of Anna")
    dialog.get_by_label("Access token").fill(issuer.token(sub="anna"))
    dialog.get_by_role("button", name="Sign in").click()
    expect(page.locator(".figures")).to_be_visible()
    person.button("Sign out").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.context.cookies() == []
