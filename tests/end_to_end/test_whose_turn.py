"""Whose turn it is: on the running service, with two places and many who wait for them.

One place is for exports of any size, and one besides for small ones. A giant has the first all the
time. A small export that cannot end has the other: one of its tiles cannot be read, which is tried
again for more than a minute. So what is asked meanwhile waits, however fast the machine is, until
that one is cancelled. The coordinator names an attempt by the place of its start in its inbox: so
the names tell the order of the starts, and no clock.
"""

from collections.abc import AsyncIterator, Iterator
from itertools import pairwise

import pytest

from tests.end_to_end.conftest import Service
from tests.end_to_end.guarded import Caller, guarded_service, put_layer, put_stuck_layer

PLACES = {
    "EXPORT_MAX_RUNNING_EXPORTS": "1",
    "EXPORT_SPARE_RUNNING_EXPORTS": "1",
    "EXPORT_RANGE_TILES": "5000",
    "EXPORT_VERDICT_WAIT_S": "30",  # on a slow machine, too, they queue in the order of asking
}
SMALL, BIG, GIANT = 3, 7, 12
"""Finest zooms: 170 tiles in one range, 43,690 in nine, 45 million in thousands."""
TILE_DEG = 180 / 2**SMALL
LOW, USUAL, HIGH, HIGHEST = 0, 10_000, 10_000_000, 999_999_999
"""So far apart that five minutes of waiting make no difference: see queue_order.py."""
ASKED = {
    "ann's least": ("ann", LOW),
    "ann's first": ("ann", USUAL),
    "ann's second": ("ann", USUAL),
    "ann's third": ("ann", USUAL),
    "bob's first": ("bob", USUAL),
    "bob's second": ("bob", USUAL),
    "cy's": ("cy", USUAL),
    "dora's": ("dora", HIGH),
}
"""Who asks for it and how urgent it is, in the order of asking."""
IN_TURN = [
    "dora's",
    *("ann's first", "bob's first", "cy's"),
    *("ann's second", "bob's second"),
    *("ann's third", "ann's least"),
]
DEADLINE_S = 60


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("turns")
    with guarded_service(folder, **PLACES) as started:
        yield started


@pytest.fixture
def caller(service, http):
    """A client by its name."""
    return lambda name: Caller(service, http, name)


async def has_status(caller, request_id, status) -> bool:
    return (await caller.export(request_id))["status"] == status


@pytest.fixture
async def giant(service, caller, eventually) -> AsyncIterator[str]:
    """An export that runs, in the middle of its tiles, until the test is over."""
    tycoon = caller("tycoon")
    # It is said to be smaller than it is, so that it needs no space for what is not written.
    layer = put_layer(service, "giant", GIANT, meanTileBytes=10)
    request_id = await tycoon.create(layer, priority=USUAL)

    async def is_written() -> bool:
        return (await tycoon.export(request_id))["tiles"]["written"] > 0

    await eventually(is_written, deadline_s=DEADLINE_S)
    yield request_id
    await tycoon("DELETE", f"/exports/{request_id}")
    await eventually(lambda: has_status(tycoon, request_id, "Aborted"), deadline_s=DEADLINE_S)


@pytest.fixture
async def holder(service, caller, giant, eventually) -> AsyncIterator[str]:
    """A small export that holds the other place until it is cancelled."""
    someone = caller("someone")
    request_id = await someone.create(put_stuck_layer(service))
    await eventually(lambda: has_status(someone, request_id, "In-Progress"), deadline_s=DEADLINE_S)
    return request_id


def place_of_start(export) -> int:
    """Where the record that started an attempt stands in the coordinator's inbox."""
    return int(export["attempt"].rpartition("-")[2])


async def test_larger_priorities_start_first_and_clients_take_turns(
    service, caller, giant, holder, eventually
):
    layer = put_layer(service, "small", SMALL)
    ids: dict[str, str] = {}
    for number, (name, (client, priority)) in enumerate(ASKED.items()):
        west = number * TILE_DEG  # each has tiles of its own, or it would join another
        box = [west + 1, 1, west + 2, 2]
        ids[name] = await caller(client).create(layer, box, priority=priority)

    async def exports() -> dict[str, dict]:
        return {name: await caller(ASKED[name][0]).export(key) for name, key in ids.items()}

    async def is_foretold() -> bool:
        """While all of them wait, each caller is told its place."""
        told = await exports()
        assert {one["status"] for one in told.values()} == {"Pending"}
        assert sorted(told, key=lambda name: told[name]["queuePosition"] or 0) == IN_TURN
        return True

    await eventually(is_foretold, deadline_s=DEADLINE_S)
    released = await caller("someone")("DELETE", f"/exports/{holder}")
    assert released.status == 202, released

    async def have_ended() -> dict[str, dict] | None:
        told = await exports()
        return told if {one["status"] for one in told.values()} == {"Completed"} else None

    told = await eventually(have_ended, deadline_s=DEADLINE_S)
    assert sorted(told, key=lambda name: place_of_start(told[name])) == IN_TURN
    # No two of them had the place at a time: the coordinator dates ends and starts alike.
    for before, after in pairwise(told[name] for name in IN_TURN):
        assert before["history"][-1]["at"] <= after["startedAt"]
    assert await has_status(caller("tycoon"), giant, "In-Progress")


async def test_a_small_urgent_export_passes_a_running_giant_and_another_large_one_waits(
    service, caller, giant, eventually
):
    tycoon, zoe, sam = caller("tycoon"), caller("zoe"), caller("sam")
    before = (await tycoon.export(giant))["tiles"]["written"]
    large = await zoe.create(put_layer(service, "big", BIG), priority=HIGHEST)
    assert await has_status(zoe, large, "Pending")
    small = await sam.create(put_layer(service, "small", SMALL), [0, 40, 5, 45], priority=HIGH)
    await eventually(lambda: has_status(sam, small, "Completed"), deadline_s=DEADLINE_S)
    waiting = await zoe.export(large)
    assert (waiting["status"], waiting["queuePosition"]) == ("Pending", 1)

    async def goes_on() -> bool:
        told = await tycoon.export(giant)
        assert (told["status"], told["finishedAt"]) == ("In-Progress", None)
        return told["tiles"]["written"] > before

    await eventually(goes_on, deadline_s=DEADLINE_S)
    assert (await tycoon("DELETE", f"/exports/{giant}")).status == 202
    await eventually(lambda: has_status(zoe, large, "Completed"), deadline_s=DEADLINE_S)
    passed, waited = await sam.export(small), await zoe.export(large)
    assert place_of_start(passed) < place_of_start(waited)
    assert [change["status"] for change in waited["history"]] == [
        "Pending",
        "In-Progress",
        "Completed",
    ]
