"""How people hear of their exports: notifications, and a browser without shared workers."""

import re

import pytest
from playwright.sync_api import expect

from tests.end_to_end.page.conftest import standing_still

ELSEWHERE = """
    // Chromium without a screen shows every page. Here one can be looked away from: as in a window,
    // it is told to be hidden then, and draws no frames.
    let away = false;
    const frame = window.requestAnimationFrame;
    window.requestAnimationFrame = callback => frame(() => {
        if (away) window.requestAnimationFrame(callback);
        else callback(performance.now());
    });
    Object.defineProperty(document, "visibilityState", {get: () => away ? "hidden" : "visible"});
    window.looksElsewhere = elsewhere => {
        away = elsewhere;
        document.dispatchEvent(new Event("visibilitychange"));
    };
"""
NOTIFICATIONS = """
    window.shown = [];
    window.asked = 0;
    const real = window.Notification;
    window.Notification = class extends real {
        constructor(title, options) {
            super(title, options);
            window.shown.push({title, tag: options.tag, lang: options.lang});
        }
        static requestPermission() {
            window.asked += 1;
            return real.requestPermission();
        }
    };
"""


@pytest.fixture
def visitor(new_person, url):
    """Somebody who may look elsewhere, with or without permission for notifications."""

    def visit(*permissions: str):
        somebody = new_person()
        page = somebody.page
        page.add_init_script(ELSEWHERE + NOTIFICATIONS)
        page.context.grant_permissions(list(permissions))
        page.goto(f"{url}/#/exports")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        return somebody

    return visit


def makes_one_and_looks_elsewhere(person, service, west: int) -> None:
    """Create an export, and look elsewhere before it ends."""
    page = person.page
    page.get_by_role("link", name="New export").click()
    person.chooses_layer("Night")
    person.types_the_box(str(west), "-60", str(west + 60), "0")
    person.chooses_zoom(9)
    with standing_still(service.child("worker")):
        person.creates("Looked away from")
        expect(person.badge).to_have_text(re.compile("Waiting|Running"))
        page.evaluate("() => looksElsewhere(true)")


def test_somebody_who_looks_elsewhere_is_notified_when_an_export_ends(visitor, service):
    person = visitor("notifications")
    page = person.page
    person.button("Notify me").click()
    expect(person.button("Notifications on")).to_have_attribute("aria-pressed", "true")
    makes_one_and_looks_elsewhere(person, service, west=-90)
    page.wait_for_function("() => window.shown.length > 0", polling=100)
    (shown,) = page.evaluate("() => window.shown")
    assert shown["title"] == "Looked away from is ready."
    assert shown["tag"] in page.url
    assert shown["lang"] == "en"


def test_nobody_is_notified_nor_asked_who_has_not_wished_for_it(visitor, service):
    person = visitor("notifications")
    page = person.page
    makes_one_and_looks_elsewhere(person, service, west=-20)
    person.hears("Looked away from is ready.")
    assert page.evaluate("() => [window.shown.length, window.asked]") == [0, 0]


def test_notifications_that_the_browser_blocks_are_told_to_be_blocked(visitor):
    page = visitor().page
    expect(page.get_by_text("Notifications are blocked")).to_be_visible()
    assert page.evaluate("() => window.asked") == 0


def test_a_browser_without_shared_workers_follows_an_export_live(new_person, url):
    person = new_person()
    page = person.page
    page.add_init_script("delete window.SharedWorker")
    with page.expect_response("**/exports/events") as stream:
        person.opens(url)
    assert stream.value.headers["content-type"].startswith("text/event-stream")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    person.types_the_box("61", "41", "63", "43")
    person.chooses_zoom(4)
    person.creates("Without a shared worker")
    person.sees_ready()
    page.get_by_role("link", name="All exports").click()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    assert page.evaluate("() => 'SharedWorker' in window") is False
