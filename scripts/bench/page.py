"""How soon the page is there: first paint and map by the clock, as fast and four times slower.

    .venv/bin/python scripts/bench/page.py http://127.0.0.1:8080

The service must run already, on a quiet machine; its API page, Swagger UI, is the peer.
"""

import statistics
import sys

from playwright.sync_api import Browser, sync_playwright

ROUNDS = 5
SETTLED = {"": ".map[data-loaded]", "docs/api": ".opblock"}
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def opened(browser: Browser, url: str, settled: str, rate: int) -> tuple[float, float]:
    """Open a page in a new context: first paint and when it was settled, ms."""
    context = browser.new_context()
    page = context.new_page()
    context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": rate})
    page.goto(url)
    page.wait_for_selector(settled)
    times = page.evaluate(PAINT), page.evaluate("performance.now()")
    context.close()
    return times


def main(url: str) -> None:
    """Print the medians of some rounds of both pages, one after the other."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        for rate in (1, 4):
            found: dict[str, list[tuple[float, float]]] = {path: [] for path in SETTLED}
            for _ in range(ROUNDS):
                for path, settled in SETTLED.items():
                    found[path].append(opened(browser, f"{url}/{path}", settled, rate))
            for path, times in found.items():
                paint, there = (statistics.median(column) for column in zip(*times, strict=True))
                print(f"{rate} x slower, /{path}: first paint {paint:.0f} ms, there {there:.0f} ms")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"))
