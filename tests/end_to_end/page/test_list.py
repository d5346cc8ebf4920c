"""The list of exports: its place and its filter are kept, and each end is told once."""

import orjson
from playwright.sync_api import expect

from app.demo import DEMO_LAYER_ID

MORE_THAN_A_PAGE = 70
COUNT_NOTICES = """
window.told = 0;
new MutationObserver((changes) => {
    for (const node of changes.flatMap((change) => [...change.addedNodes])) {
        if (node.matches?.(".notice") && node.textContent.includes("Told late")) window.told += 1;
    }
}).observe(document, {childList: true, subtree: true});
"""
"""A notice goes by itself: counted are those that came."""


def told(status: str) -> dict[str, object]:
    """An export as the stream tells of it."""
    return {
        "requestId": "00000000-0000-4000-8000-00000000000c",
        "client": "anonymous",
        "status": status,
        "percentage": 20,
        "dbId": DEMO_LAYER_ID,
        "bounds": [1, 1, 2, 2],
        "zoom": 3,
        "minZoom": 0,
        "description": "Told late",
        "acceptedAt": "2026-11-26T10:00:00.000Z",
        "tiles": {"expected": 10, "written": 2, "missing": 0, "failed": 0},
        "bytes": {"written": 0, "estimated": 0},
        "etaSeconds": None,
        "queuePosition": None,
        "phase": "",
    }


def test_an_end_is_told_once_and_news_from_before_it_do_not_open_the_export_again(new_person, url):
    """The answer to a cancellation may come before the last news of the running export."""
    person = new_person()
    page = person.page
    page.add_init_script(f"delete window.SharedWorker; {COUNT_NOTICES}")
    statuses = ["In-Progress", "Aborted", "In-Progress", "Aborted", "In-Progress"]
    news = (orjson.dumps(told(status)).decode() for status in statuses)
    body = "".join(f"event: export\ndata: {one}\n\n" for one in news)
    page.route(
        "**/exports/events",
        lambda route: route.fulfill(content_type="text/event-stream", body=body),
    )
    page.goto(f"{url}/#/exports")
    person.hears("Told late was cancelled.")
    for _ in range(2):  # the browser opens a stream that ended again, and hears it all again
        page.wait_for_event("request", lambda asked: asked.url.endswith("/exports/events"))
    card = page.locator("article", has_text="Told late")
    expect(card).to_have_attribute("data-status", "Aborted")
    assert page.evaluate("told") == 1


def test_the_list_is_where_it_was_left_when_somebody_comes_back_from_an_export(new_person, url):
    person = new_person()
    page = person.page
    for number in range(MORE_THAN_A_PAGE):
        body = {"dbId": DEMO_LAYER_ID, "bbox": [0, 1, 1, 2 + number / 1000]}
        name = f"Far down, {number}"
        asked = {"targetResolution": 0.703125, "description": name}
        assert page.request.post(f"{url}/create", data=body | asked).ok
    page.goto(f"{url}/#/exports")
    person.button("Show more").click()
    link = page.get_by_role("link", name="Far down, 4", exact=True).first
    link.click()
    expect(page.locator("#export-title")).to_be_visible()
    page.get_by_role("link", name="All exports").click()
    expect(link).to_be_in_viewport()
    expect(link).to_be_focused()


def test_the_filter_of_the_list_outlives_a_reload(person):
    page = person.page
    page.get_by_role("link", name="My exports").click()
    status, layer = (page.get_by_role("combobox", name=name) for name in ("Show", "Of layer"))
    status.select_option("Failed")
    layer.select_option("Wounded")
    with page.expect_request(lambda asked: "status=Failed&layer=" in asked.url):
        page.reload()
    expect(status).to_have_value("Failed")
    expect(layer.locator("option:checked")).to_have_text("Wounded")
