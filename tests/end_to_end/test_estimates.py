"""What an estimate foretells is what the registrar then reckons with."""

from app.sources.synthetic import MEAN_TILE_BYTES
from tests.end_to_end.guarded import put_layer

FAR_OFF_BYTES = 40 * MEAN_TILE_BYTES


async def post(service, http, path, layer_id, bbox):
    body = {"dbId": layer_id, "bbox": bbox}
    async with http.post(f"{service.url}{path}", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def export_of(service, http, request_id):
    async with http.get(f"{service.url}/exports/{request_id}") as answer:
        return await answer.json()


async def test_an_export_is_as_large_as_its_estimate_said_before_and_after_sizes_are_learned(
    service, http, eventually
):
    layer_id = put_layer(service, "estimated", 5, meanTileBytes=FAR_OFF_BYTES)

    async def estimate(bbox):
        return await post(service, http, "/estimate", layer_id, bbox)

    async def export(bbox):
        request_id = (await post(service, http, "/create", layer_id, bbox))["requestId"]

        async def has_ended():
            told = await export_of(service, http, request_id)
            return told if told["status"] == "Completed" else None

        return await eventually(has_ended, deadline_s=60)

    def assert_as_foretold(foretold, told):
        assert foretold["fits"]
        assert foretold["zoom"] == told["zoom"]
        assert foretold["tiles"] == told["tiles"]["expected"]
        assert foretold["bytes"] == told["bytes"]["estimated"]

    first, second = [2, 41, 9, 47], [1.5, 40, 20, 50]
    by_the_record = await estimate(second)
    assert_as_foretold(await estimate(first), await export(first))

    async def learned():
        # The ingress reads of it a moment after the registrar has written it.
        foretold = await estimate(second)
        return foretold if foretold["bytes"] < by_the_record["bytes"] else None

    assert_as_foretold(await eventually(learned), await export(second))
    async with http.get(f"{service.url}/storage") as answer:
        space = await answer.json()
    assert 0 < space["availableBytes"] < space["freeBytes"] < space["totalBytes"]
