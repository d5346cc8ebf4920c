"""Each client sees and commands its own exports only: a matrix of all routes that name one."""

import asyncio
import re
from uuid import uuid4

import pytest

from app.ingress.web_app import VIEW_WAIT_S, build_web_app
from tests.integration.ingress.asking import create, finished, with_token

BODIES = {"PATCH": {"pinned": True}}
OF_ONE_REQUEST = re.compile(r"/(taskStatus|exports)/\{id\}")


@pytest.fixture
def routes(monkeypatch) -> list[tuple[str, str]]:
    """Method and path of every route that names a request, as the ingress has built them."""
    built = []

    def remember(parts):
        built.append(build_web_app(parts))
        return built[-1]

    monkeypatch.setattr("app.ingress.run.build_web_app", remember)

    def found() -> list[tuple[str, str]]:
        (web_app,) = built
        return sorted(
            (route.method, route.resource.canonical)
            for route in web_app.router.routes()
            if route.resource is not None
            and OF_ONE_REQUEST.match(route.resource.canonical)
            and route.method != "HEAD"
        )

    return found


def path_of(route: str, request_id: object) -> str:
    """The address of a route, with 0 for what else it names."""
    return re.sub(r"\{\w+\}", "0", route.replace("{id}", str(request_id)))


async def ask(service, token: str, method: str, route: str, request_id: object):
    path, body = path_of(route, request_id), BODIES.get(method)
    async with service.request(method, path, json=body, **with_token(token)) as answer:
        told = (await answer.text()).replace(str(request_id), "ID")
        return answer.status, dict(answer.headers) | {"Date": ""}, told


@pytest.mark.parametrize("state", ["Pending", "Completed", "Failed"])
async def test_the_request_of_another_client_is_answered_like_one_that_is_not_there(
    routes, service, issuer, peer, say, golden, package, eventually, state
):
    anna, berta = issuer.token(), issuer.token(sub="berta")
    if state == "Completed":
        request_id = await finished(service, issuer, peer, say, golden, package, eventually)
    else:
        if state == "Failed":
            peer.script = lambda asked: [
                say.progress(asked),
                say.finished(asked.request_id, "Failed"),
            ]
        request_id = await create(service, anna, golden)
    asked = routes()
    assert {
        ("GET", "/taskStatus/{id}"),
        ("GET", "/exports/{id}"),
        ("DELETE", "/exports/{id}"),
        ("PATCH", "/exports/{id}"),
        ("POST", "/exports/{id}/retry"),
        ("POST", "/exports/{id}/links"),
    } <= set(asked)
    commands = len(peer.commands)

    async def both(method: str, route: str):
        return await asyncio.gather(
            ask(service, berta, method, route, request_id),
            ask(service, berta, method, route, uuid4()),
        )

    answers = await asyncio.gather(*(both(*one) for one in asked))
    for one, (others, nobodys) in zip(asked, answers, strict=True):
        assert others == nobodys, one
        assert others[0] == 404, one
    assert len(peer.commands) == commands
    assert [one.client for one in peer.asked] == ["anna"]


async def test_a_list_holds_the_callers_own_and_all_for_an_administrator(
    service, issuer, peer, golden, eventually
):
    tokens = {name: issuer.token(sub=name) for name in ("anna", "berta")}
    ids = {name: await create(service, token, golden) for name, token in tokens.items()}
    root = issuer.token(sub="root", role="admin")

    async def listed(token: str, query: str = "") -> set[str]:
        async with service.get(f"/exports{query}", **with_token(token)) as answer:
            assert answer.status == 200
            return {told["requestId"] for told in (await answer.json())["exports"]}

    async def all_are_there() -> bool:
        return await listed(root) == set(ids.values())

    await eventually(all_are_there)
    for name, token in tokens.items():
        assert await listed(token) == await listed(token, f"?client={name}") == {ids[name]}
        assert await listed(root, f"?client={name}") == {ids[name]}
    assert await listed(issuer.token(sub="carl")) == set()
    async with service.get("/exports?client=berta", **with_token(tokens["anna"])) as answer:
        assert answer.status == 400


async def test_an_administrator_commands_in_its_own_name(service, issuer, peer, say, golden):
    request_id = await create(service, issuer.token(), golden)
    peer.on_command = lambda command: [say.finished(command.request_id, "Aborted")]
    root = with_token(issuer.token(sub="root", role=["admin"]))
    async with service.delete(f"/exports/{request_id}", **root) as answer:
        assert (answer.status, (await answer.json())["client"]) == (202, "anna")
    (command,) = peer.commands
    assert (command.client, command.by_administrator) == ("root", True)


async def test_what_another_client_asked_for_cannot_be_tried_again(service, issuer, peer, golden):
    request_id = await create(service, issuer.token(), golden)
    told = []
    for one in (request_id, str(uuid4())):
        body = golden | {"retryOf": one}
        async with service.post("/create", json=body, **with_token(issuer.token(sub="b"))) as no:
            told.append((no.status, (await no.text()).replace(one, "ID")))
    assert told[0] == told[1]
    assert told[0][0] == 400
    assert len(peer.asked) == 1


async def test_another_clients_request_takes_as_long_as_one_that_is_not_there(
    service, issuer, peer, golden
):
    request_id = await create(service, issuer.token(), golden)
    clock = asyncio.get_running_loop().time
    for route in ("/taskStatus/{id}", "/exports/{id}"):
        began_s = clock()
        status, *_ = await ask(service, issuer.token(sub="berta"), "GET", route, request_id)
        assert status == 404
        assert clock() - began_s >= VIEW_WAIT_S - 0.1
