"""`GET /exports` and `GET /exports/{id}` over HTTP and a real broker."""

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


async def test_a_caller_sees_only_its_own_exports(client, peer, say):
    stranger = ExportRequested(str(uuid4()), "l", client="somebody else")
    await peer.send(say.progress(stranger))
    status, told = await read(client, f"/exports/{stranger.request_id}")
    assert (status, stranger.request_id in told["message"]) == (404, True)
    assert (await read(client, "/exports", ExportPage))[1] == {"exports": [], "next": None}


@pytest.mark.parametrize("query", ["limit=201", "cursor=!", "status=done", "from=now", "page=2"])
async def test_a_bad_filter_is_a_400_that_names_it(client, query):
    status, told = await read(client, f"/exports?{query}")
    assert status == 400
    assert query.split("=")[0] in told["message"]
