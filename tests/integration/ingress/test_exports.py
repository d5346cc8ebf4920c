"""`GET /exports` and `GET /exports/{id}` over HTTP and a real broker."""

from urllib.parse import quote
from uuid import uuid4

import orjson
import pytest

from app.domain.records import ExportRequested
from app.ingress.export_answers import Export, ExportPage


async def read(client, path: str, model=None):
    async with client.get(path) as answer:
        told = await answer.json()
        if model is not None:
            assert answer.status == 200, told
            model.model_validate(told)
        return answer.status, told


async def create(client, body: dict) -> str:
    async with client.post("/create", data=orjson.dumps(body)) as answer:
        assert answer.status == 200
        return (await answer.json())["requestId"]


async def test_an_export_is_told_from_its_request_to_its_result(
    client, peer, say, golden, eventually
):
    request_id = await create(client, golden)
    await peer.send(say.export(9, tiles_per_s=3.0))

    async def runs() -> bool:
        _, told = await read(client, f"/exports/{request_id}", Export)
        return (told["status"], told["percentage"], told["etaSeconds"]) == ("In-Progress", 50, 4)

    await eventually(runs)
    await peer.send(say.export(18, "Completed"), say.finished(request_id))

    async def ended() -> dict | None:
        _, told = await read(client, f"/exports/{request_id}", Export)
        return told if told["status"] == "Completed" else None

    told = await eventually(ended)
    assert told["bbox"] == golden["bbox"]
    assert told["result"]["requestId"] == request_id
    _, listed = await read(client, "/exports", ExportPage)
    (one,) = listed["exports"]
    assert {name: one[name] for name in set(one) & set(told)} == {
        name: told[name] for name in set(one) & set(told)
    }


async def test_what_the_registrar_has_not_spoken_of_is_pending(client, peer, golden):
    peer.script = lambda _asked: []
    request_id = await create(client, golden)
    _, told = await read(client, f"/exports/{request_id}", Export)
    assert (told["status"], told["bbox"]) == ("Pending", golden["bbox"])


async def test_a_caller_sees_only_its_own_exports(service, issuer, peer, say):
    stranger = ExportRequested(str(uuid4()), "l", client="somebody else")
    await peer.send(say.progress(stranger))
    token = f"token={issuer.token()}"
    status, told = await read(service, f"/exports/{stranger.request_id}?{token}")
    assert (status, stranger.request_id in told["message"]) == (404, True)
    page = await read(service, f"/exports?limit=7&{token}", ExportPage)
    assert page[1] == {"exports": [], "next": None}


async def test_without_keys_everybody_sees_the_exports_of_all(client, peer, say, eventually):
    by_kafka = ExportRequested(str(uuid4()), "l", client="a producer")
    await peer.send(say.progress(by_kafka))
    path = f"/exports/{by_kafka.request_id}"

    async def is_known() -> bool:
        return (await read(client, path))[0] == 200

    await eventually(is_known)
    assert (await read(client, path, Export))[1]["client"] == "a producer"
    assert (await read(client, f"/taskStatus/{by_kafka.request_id}"))[0] == 200
    for query, count in (("", 1), ("?client=a+producer", 1), ("?client=anonymous", 0)):
        page = (await read(client, f"/exports{query}", ExportPage))[1]
        assert len(page["exports"]) == count


@pytest.mark.parametrize("written", ["0C3E455F-4AEB-4258-982D-F7773469A92D", "Küste 7/b"])
async def test_an_export_is_found_by_the_id_that_its_producer_chose(
    client, peer, say, eventually, written
):
    by_kafka = ExportRequested(written, "l", client="anonymous")
    await peer.send(say.progress(by_kafka), say.finished(written))
    path = quote(written, safe="")

    async def is_known() -> bool:
        return (await read(client, f"/exports/{path}"))[0] == 200

    await eventually(is_known)
    for route in ("/taskStatus/{}", "/exports/{}", "/exports/{}/deliveries"):
        assert (await read(client, route.format(path)))[0] == 200
    for route in ("/exports/{}/links", "/exports/{}/retry", "/exports/{}/deliveries/d/redeliver"):
        async with client.post(route.format(path)) as answer:
            assert "no such request" not in (await answer.json()).get("message", "")


async def test_an_id_is_found_in_capitals_too(client, peer, golden):
    request_id = await create(client, golden)
    for path in (f"/exports/{request_id.upper()}", f"/taskStatus/{request_id.upper()}"):
        assert (await read(client, path))[0] == 200


@pytest.mark.parametrize("query", ["limit=201", "cursor=!", "status=done", "from=now", "page=2"])
async def test_a_bad_filter_is_a_400_that_names_it(client, query):
    status, told = await read(client, f"/exports?{query}")
    assert status == 400
    assert query.split("=")[0] in told["message"]
