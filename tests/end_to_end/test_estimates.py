"""What an estimate foretells is what the registrar then reckons with."""

import pytest

from app.demo import DEMO_LAYER_ID


async def post(service, http, path, bbox):
    body = {"dbId": DEMO_LAYER_ID, "bbox": bbox}
    async with http.post(f"{service.url}{path}", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def export_of(service, http, request_id):
    async with http.get(f"{service.url}/exports/{request_id}") as answer:
        return await answer.json()


@pytest.mark.parametrize("bbox", [[2, 41, 9, 47], [1.5, 40, 20, 50]])
async def test_an_export_is_as_large_as_its_estimate_said(service, http, eventually, bbox):
    """The second one is estimated by the tiles of the first."""
    foretold = await post(service, http, "/estimate", bbox)
    request_id = (await post(service, http, "/create", bbox))["requestId"]

    async def has_ended():
        told = await export_of(service, http, request_id)
        return told if told["status"] == "Completed" else None

    told = await eventually(has_ended, deadline_s=60)
    assert foretold["fits"]
    assert foretold["zoom"] == told["zoom"]
    assert foretold["tiles"] == told["tiles"]["expected"]
    assert foretold["bytes"] == told["bytes"]["estimated"]
    async with http.get(f"{service.url}/storage") as answer:
        space = await answer.json()
    assert 0 < space["availableBytes"] < space["freeBytes"] < space["totalBytes"]
