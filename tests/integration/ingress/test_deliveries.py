"""Webhooks as callers see them, over HTTP, a real broker and a scripted completion."""

from dataclasses import replace
from uuid import uuid4

import pytest

from app.domain.decision import Send
from app.domain.records import ExportRequested
from app.domain.rows import DeliveryRow, DeliveryTrial
from app.ingress.delivery_answers import Delivery, DeliveryList

ID = "5f3c9a0b7e214d68" * 2
CHANGELOG = "coordinator-deliveries-changelog"


async def ask(client, method: str, path: str):
    async with client.request(method, path) as answer:
        return answer.status, await answer.json()


def row(request_id: str, **changes) -> DeliveryRow:
    fields = {"url": "http://h/hook", "state": "given-up", "created_at_ms": 1_000, "trials": 3}
    fields["history"] = (DeliveryTrial(2_000, 500, None),)
    return DeliveryRow(request_id=request_id, **fields | changes)


@pytest.fixture
def asked() -> ExportRequested:
    return ExportRequested(str(uuid4()), "l", client="anonymous")


@pytest.fixture
async def known(client, peer, say, asked, eventually) -> DeliveryRow:
    """A finished request with one delivery, which was given up."""
    known = row(asked.request_id)
    await peer.send(say.progress(asked), say.finished(asked.request_id), Send(CHANGELOG, ID, known))

    async def is_told() -> bool:
        status, told = await ask(client, "GET", f"/exports/{asked.request_id}/deliveries")
        return status == 200 and told["deliveries"]

    await eventually(is_told)
    return known


async def test_deliveries_are_told_until_they_are_forgotten(client, peer, known, eventually):
    path = f"/exports/{known.request_id}/deliveries"
    status, told = await ask(client, "GET", path)
    DeliveryList.model_validate(told)
    (one,) = told["deliveries"]
    assert (status, one["id"], one["url"], one["state"]) == (200, ID, known.url, "given-up")
    assert one["history"] == [{"at": "1970-01-01T00:00:02.000Z", "status": 500, "error": None}]
    await peer.forget(CHANGELOG, ID)

    async def is_gone() -> bool:
        return (await ask(client, "GET", path))[1] == {"deliveries": []}

    await eventually(is_gone)


async def test_a_redelivery_is_ordered_and_answered_with_its_effect(client, peer, known):
    again = replace(known, state="pending", next_at_ms=5_000, asked_again_at_ms=5_000)
    peer.on_command = lambda _command: [Send(CHANGELOG, ID, again)]
    path = f"/exports/{known.request_id}/deliveries/{ID}/redeliver"
    status, told = await ask(client, "POST", path)
    Delivery.model_validate(told)
    assert (status, told["state"]) == (202, "pending")
    assert told["nextTryAt"] == "1970-01-01T00:00:05.000Z"
    (command,) = peer.commands
    assert (command.command, command.argument) == ("redeliver", known.url)
    assert (command.request_id, command.client) == (known.request_id, "anonymous")


async def test_without_an_effect_in_time_the_order_is_answered_all_the_same(client, peer, known):
    path = f"/exports/{known.request_id}/deliveries/{ID}/redeliver"
    status, told = await ask(client, "POST", path)
    assert (status, told["state"], len(peer.commands)) == (202, "given-up", 1)


async def test_a_warning_is_not_sent_again(client, peer, known, eventually):
    await peer.send(Send(CHANGELOG, "w" * 32, row(known.request_id, event="expiring")))
    path = f"/exports/{known.request_id}/deliveries/{'w' * 32}/redeliver"

    async def is_refused() -> bool:
        status, told = await ask(client, "POST", path)
        return status == 409 and "warned of an expiry" in told["message"]

    await eventually(is_refused)
    assert peer.commands == []


async def test_the_deliveries_of_others_are_not_told(service, issuer, peer, say, eventually):
    mine = ExportRequested(str(uuid4()), "l", client="anna")
    stranger = ExportRequested(str(uuid4()), "l", client="somebody else")
    for one, delivery_id in ((stranger, "s" * 32), (mine, ID)):
        await peer.send(say.progress(one), Send(CHANGELOG, delivery_id, row(one.request_id)))
    token = f"?token={issuer.token()}"
    path = f"/exports/{mine.request_id}/deliveries"

    async def is_told() -> bool:
        status, told = await ask(service, "GET", path + token)
        return status == 200 and told["deliveries"]

    await eventually(is_told)
    for method, path in (
        ("GET", f"/exports/{stranger.request_id}/deliveries"),
        ("POST", f"/exports/{stranger.request_id}/deliveries/{'s' * 32}/redeliver"),
        ("POST", f"/exports/{mine.request_id}/deliveries/{'s' * 32}/redeliver"),
        ("POST", f"/exports/{mine.request_id}/deliveries/7/redeliver"),
    ):
        status, told = await ask(service, method, path + token)
        assert status == 404
        assert "no such" in told["message"]
    assert peer.commands == []
