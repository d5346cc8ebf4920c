"""Too much at once: everything is answered, and no process grows with the load.

The sizes are those of a build server; `scripts/bench/load.py` does the same with 5,000 at once,
100 a second for a minute, and minutes of the giant.
"""

import statistics
import time
from http import HTTPStatus

import pytest

pytestmark = pytest.mark.long

MB = 1 << 20
MOST_GROWTH = {"noida-db": 150 * MB}
"""The embedded broker keeps its topics in memory; it never forgets."""
MOST_GROWTH_OF_OURS = 50 * MB
"""Hundreds of small exports and a window of a giant take a few MB; whatever grows with the tiles
of a giant, or with all ranges of its plan, takes more."""
WINDOW = 3
LIMIT_S = 300
RANGE_TILES = 50_000
"""EXPORT_RANGE_TILES as it is set by default."""


@pytest.fixture(scope="module")
def up(loaded_service, tmp_path_factory):
    with loaded_service.started(tmp_path_factory.mktemp("load")) as running:
        yield running


@pytest.fixture
async def service(loaded_service, up):
    async with loaded_service.connected(up) as client:
        yield client


def assert_flat(watch):
    for name, growth in watch.growth_bytes().items():
        assert growth < MOST_GROWTH.get(name, MOST_GROWTH_OF_OURS), (name, growth // MB)


async def assert_each_has_one_result(service, asked, limit_s):
    assert {one.status for one in asked} == {HTTPStatus.OK}
    assert await service.until_done(asked, limit_s)
    for one in asked:
        assert service.results[one.request_id][1].success
        assert service.result_counts[one.request_id] == 1


async def test_three_hundred_requests_at_once_are_all_answered_with_flat_memory(
    loaded_service, service
):
    with service.watching() as watch:
        asked = await loaded_service.burst(service, range(300), connections=200)
        await assert_each_has_one_result(service, asked, LIMIT_S)
    assert_flat(watch)


async def test_twenty_requests_a_second_are_all_answered_with_flat_memory(loaded_service, service):
    with service.watching() as watch:
        asked = await loaded_service.stream(service, range(1000, 1200), per_s=20)
        await assert_each_has_one_result(service, asked, LIMIT_S)
    assert_flat(watch)


async def test_small_exports_pass_a_giant_whose_ranges_are_planned_a_window_at_a_time(
    loaded_service, service
):
    with service.watching() as watch:
        giant = await loaded_service.start_giant(service)
        passed_by = []
        for number in range(2000, 2010):
            before = len(giant.ranges(service))
            await loaded_service.pass_giant(service, range(number, number + 1))
            passed_by.append(len(giant.ranges(service)) - before)
        assert await service.until(lambda: len(giant.ranges(service)) >= 2 * WINDOW, LIMIT_S)
    assert giant.request_id not in service.results
    assert 1 < giant.plan(service).widest() <= WINDOW
    assert max(tiles for _, tiles in giant.ranges(service)) <= 1.1 * RANGE_TILES
    # Counted in ranges of the giant, as seconds tell of other tests as well: what is ordered
    # already may go first, and what takes its place until the small one is whole.
    assert statistics.median(passed_by) <= 2 * WINDOW
    assert_flat(watch)


async def test_a_cancelled_giant_writes_no_more_than_its_window(loaded_service, service):
    giant = await loaded_service.start_giant(service, minResolution=0.703125 / 2)
    await loaded_service.cancel(service, giant)
    assert await service.until(lambda: giant.request_id in service.results, LIMIT_S)
    assert service.results[giant.request_id][1].status == "Aborted"
    # The planner hears of it after its caller: from the registrar, once that is done with it.
    assert await service.until_handled("coordinator", "export-registry", LIMIT_S)
    assert await service.until_handled("coordinator", "export-plans", LIMIT_S)
    stopped_ms = time.time_ns() // 1_000_000
    await loaded_service.pass_giant(service, range(3000, 3003))
    plan = giant.plan(service)
    assert await service.until(lambda: set(plan.reported_ms) <= set(plan.ordered_ms), LIMIT_S)
    assert max(plan.ordered_ms.values()) <= stopped_ms
    assert sum(at_ms > stopped_ms for at_ms in plan.reported_ms.values()) <= WINDOW
