"""One export, many callers: the exact tiles decide, and each caller is told of its own request."""

import asyncio
import time

from app.demo import DEMO_LAYER_ID

DEADLINE_S = 300
Z5_DEG = 0.703125 / 2**5


def ring(west, south, east, north):
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def drawn(box, number):
    """The same tiles, drawn otherwise by each caller; JSON as the caller sends it."""
    west, south, east, north = box
    inset = 0.001 * (number + 1)
    box = [west + inset, south + inset, east - inset, north - inset]
    polygon = {"type": "Polygon", "coordinates": [ring(*box)]}
    if number % 4 == 0:
        return {"bbox": box, "targetResolution": Z5_DEG}
    if number % 4 == 1:
        return {"bbox": polygon, "targetResolution": 2.19727e-2}  # as a table has it
    if number % 4 == 2:
        middle = (west + east) / 2 + inset
        halves = [ring(*box[:2], middle, box[3]), ring(middle, *box[1:])]
        several = {"type": "MultiPolygon", "coordinates": [[half] for half in halves]}
        return {"bbox": several, "targetResolution": Z5_DEG}
    feature = {
        "type": "Feature",
        "properties": {"maxResolutionDeg": Z5_DEG},
        "geometry": polygon,
    }
    return {"bbox": {"type": "FeatureCollection", "features": [feature]}}


async def ask(service, http, hooks, fields):
    body = {"dbId": DEMO_LAYER_ID, "callbackURLs": [hooks.url], **fields}
    async with http.post(f"{service.url}/create", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


def calls_of(hooks, request_id):
    return [body for _, body in hooks.calls if body["requestId"] == request_id]


def packages(service, result):
    """The packages on the disk of the export that a result is of."""
    export_id = result["fileUri"].split("/")[-3]
    return sorted(path.name for path in (service.data_dir / "exports" / export_id).rglob("*.gpkg"))


async def test_a_hundred_callers_who_draw_the_same_tiles_at_once_make_one_package(
    service, http, hooks
):
    wishes = [drawn((-95, -40, -75, -20), number) for number in range(100)]
    answers = await asyncio.gather(*(ask(service, http, hooks, wish) for wish in wishes))
    assert len({answer["requestId"] for answer in answers}) == 100
    results = await asyncio.gather(*(hooks.result(answer["requestId"]) for answer in answers))
    for wish, result in zip(wishes, results, strict=True):
        assert result["success"]
        assert result["bbox"] == wish["bbox"]
        assert calls_of(hooks, result["requestId"]) == [result]
    assert len({(result["fileUri"], result["sha256"]) for result in results}) == 1
    assert packages(service, results[0]) == [results[0]["packageName"]]


async def test_whoever_joins_at_any_moment_of_an_export_is_told_once_of_its_own_request(
    service, http, hooks
):
    """While it runs, while it is being settled, and after it has finished."""
    told, after = [], 0
    end = time.monotonic() + DEADLINE_S
    while after < 3 and time.monotonic() < end:
        wish = drawn((-170, -80, 170, 80), len(told))
        told.append((wish, await ask(service, http, hooks, wish)))
        after += told[-1][1]["status"] == "Completed"
    assert after == 3
    during = [answer for _, answer in told if answer["status"] != "Completed"]
    assert any(answer["isDuplicated"] for answer in during[1:]), "some must join while it runs"
    results = []
    for wish, answer in told:
        result = await hooks.result(answer["requestId"])
        assert (result["success"], result["bbox"]) == (True, wish["bbox"])
        assert result["targetResolution"] == wish.get("targetResolution", Z5_DEG)
        if answer["status"] == "Completed":
            assert {name: answer[name] for name in result} == result
        assert calls_of(hooks, result["requestId"]) == [result]
        results.append(result)
    assert len({result["fileUri"] for result in results}) == 1
    assert packages(service, results[0]) == [results[0]["packageName"]]
    # Offered again, it is kept longer; nobody was promised less.
    expiries = [result["expirationTime"] for result in results]
    assert expiries == sorted(expiries)
    assert expiries[-1] > expiries[0]
