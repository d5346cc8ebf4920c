"""What callers order about their exports, over HTTP, a real broker and a scripted registrar."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import orjson
import pytest

from app.domain.records import ExportRequested
from app.ingress.answers import Message
from app.ingress.export_answers import Export


async def ask(client, method: str, path: str, body: dict | None = None):
    data = None if body is None else orjson.dumps(body)
    async with client.request(method, path, data=data) as answer:
        return answer.status, await answer.json()


@pytest.fixture
def failing(peer, say):
    """The registrar refuses every request that comes; commands have no effect."""
    peer.script = lambda asked: [
        say.progress(asked, min_zoom=3, priority=7, description="d", callback_urls=("http://h/",)),
        say.finished(asked.request_id, "Failed"),
    ]


@pytest.fixture
def completing(peer, say):
    peer.script = lambda asked: [
        say.progress(asked),
        say.export(18, "Completed"),
        say.finished(asked.request_id),
    ]


@pytest.fixture
def become(client, golden, eventually):
    """Create an export and wait until it has some status."""

    async def create(status: str, body: dict = golden) -> str:
        _, answer = await ask(client, "POST", "/create", body)
        path = f"/exports/{answer['requestId']}"

        async def has_it() -> bool:
            return (await ask(client, "GET", path))[1]["status"] == status

        await eventually(has_it)
        return answer["requestId"]

    return create


async def test_a_cancel_is_published_and_answered_with_its_effect(client, peer, say, become):
    request_id = await become("Pending")
    peer.on_command = lambda _command: [say.finished(request_id, "Aborted")]
    status, told = await ask(client, "DELETE", f"/exports/{request_id}")
    Export.model_validate(told)
    assert (status, told["status"]) == (202, "Aborted")
    (command,) = peer.commands
    assert (command.command, command.request_id) == ("cancel", request_id)
    assert (command.client, command.by_administrator) == ("anonymous", False)
    status, told = await ask(client, "DELETE", f"/exports/{request_id}")
    assert (status, "is Aborted" in told["message"]) == (409, True)


async def test_the_package_of_a_finished_export_is_deleted(client, peer, say, completing, become):
    request_id = await become("Completed")
    asked = peer.asked[0]
    peer.on_command = lambda _command: [say.progress(asked, deleted=True)]
    status, told = await ask(client, "DELETE", f"/exports/{request_id}")
    assert (status, told["status"], peer.commands[0].command) == (202, "Expired", "delete")


async def test_a_package_is_kept_longer_and_pinned(client, peer, say, completing, become):
    request_id = await become("Completed")
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=90)

    def obey(command):
        expires = int(until.timestamp() * 1000)
        pins = command.command == "pin"
        return [
            say.export(18, "Completed", expires_at_ms=expires, pinned=True),  # another pins it, too
            say.progress(peer.asked[0], pinned=pins),
        ]

    peer.on_command = obey
    body = {"expirationTime": until.isoformat(), "pinned": True}
    status, told = await ask(client, "PATCH", f"/exports/{request_id}", body)
    assert (status, told["pinned"]) == (200, True)
    assert datetime.fromisoformat(told["expirationTime"]) == until
    assert [command.command for command in peer.commands] == ["extend", "pin"]
    assert peer.commands[0].argument == str(int(until.timestamp() * 1000))
    status, told = await ask(client, "PATCH", f"/exports/{request_id}", {"pinned": False})
    assert (status, told["pinned"], peer.commands[2].command) == (200, False, "unpin")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "changes nothing"),
        ({"pinned": "yes"}, "pinned is"),
        ({"expirationTime": "soon"}, "expirationTime is 'soon'"),
        ({"expirationTime": "2020-01-01T00:00:00Z"}, "must lie ahead"),
        ({"expirationTime": "9999-01-01T00:00:00Z"}, "365 days"),
        ({"priority": 1}, "known fields are expirationTime, pinned"),
    ],
)
async def test_a_bad_change_is_a_400_that_names_it(client, completing, become, body, message):
    request_id = await become("Completed")
    status, told = await ask(client, "PATCH", f"/exports/{request_id}", body)
    assert status == 400
    assert message in told["message"]


async def test_a_package_is_never_kept_shorter_than_it_was_promised(
    client, peer, say, completing, become, eventually
):
    request_id = await become("Completed")
    path, promised = f"/exports/{request_id}", datetime.now(UTC) + timedelta(days=20)
    await peer.send(say.export(18, "Completed", expires_at_ms=int(promised.timestamp() * 1000)))

    async def is_refused():
        sooner = promised - timedelta(days=1)
        status, told = await ask(client, "PATCH", path, {"expirationTime": sooner.isoformat()})
        return status == 400 and "can only be kept longer" in told["message"]

    await eventually(is_refused)


async def test_only_a_finished_export_is_kept_and_only_an_ended_one_tried_again(client, become):
    request_id = await become("Pending")
    path = f"/exports/{request_id}"
    assert (await ask(client, "PATCH", path, {"pinned": True}))[0] == 409
    assert (await ask(client, "POST", f"{path}/retry"))[0] == 409


async def test_a_failed_export_is_tried_again_with_everything_it_asked_for(
    client, peer, say, golden, failing, become
):
    request_id = await become("Failed")
    peer.script = lambda asked: [say.progress(asked)]
    status, told = await ask(client, "POST", f"/exports/{request_id}/retry")
    assert (status, told["status"]) == (200, "Pending")
    assert told["requestId"] != request_id
    again = peer.asked[1]
    assert again.retry_of == request_id
    assert orjson.loads(again.bbox_json) == golden["bbox"]
    assert (again.priority, again.description, again.via_http) == (7, "d", True)
    assert again.callback_urls == ("http://h/",)
    assert again.min_resolution_deg == 0.703125 / 8


async def test_a_failed_export_of_features_is_tried_again_with_the_features_own_resolutions(
    client, peer, say, golden, failing, become
):
    ring = [[34.81, 31.95], [34.82, 31.95], [34.82, 31.96], [34.81, 31.95]]
    feature = {
        "type": "Feature",
        "properties": {"maxResolutionDeg": golden["targetResolution"]},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    bbox = {"type": "FeatureCollection", "features": [feature]}
    request_id = await become("Failed", {"dbId": golden["dbId"], "bbox": bbox})
    peer.script = lambda asked: [say.progress(asked)]
    status, told = await ask(client, "POST", f"/exports/{request_id}/retry")
    assert (status, told["status"]) == (200, "Pending"), told
    again = peer.asked[1]
    assert orjson.loads(again.bbox_json) == bbox
    assert (again.target_resolution_deg, again.min_resolution_deg) == (None, None)


async def test_an_export_whose_area_is_not_known_any_more_is_not_tried_again_as_its_layer(
    client, peer, say, eventually
):
    asked = ExportRequested(str(uuid4()), "l", client="anonymous")
    await peer.send(
        say.progress(asked, area_omitted=True, deleted=True, bbox_json=None),
        say.finished(asked.request_id, "Failed"),
    )
    path = f"/exports/{asked.request_id}"

    async def has_failed() -> bool:
        return (await ask(client, "GET", path))[1].get("status") == "Failed"

    await eventually(has_failed)
    status, told = await ask(client, "POST", f"{path}/retry")
    assert (status, "not kept any more" in told["message"]) == (409, True)
    assert peer.asked == []


async def test_create_takes_the_request_that_it_tries_again(client, peer, golden, failing, become):
    request_id = await become("Failed")
    status, _ = await ask(client, "POST", "/create", golden | {"retryOf": request_id})
    assert status == 200
    assert peer.asked[1].retry_of == request_id
    for value, message in (
        ("7", "must be a uuid"),
        (str(uuid4()), "no such request"),
    ):
        status, told = await ask(client, "POST", "/create", golden | {"retryOf": value})
        assert status == 400
        assert message in told["message"]


def refusing(say, http_status, reason):
    """The registrar refuses; of what admission refused it knows little more than the reason."""

    def refuse(asked):
        told = {"priority": 7, "min_zoom": 3} if http_status == 507 else {"bbox_json": None}
        changes = {"http_status": http_status, "reason": reason, "export_id": None}
        return [
            say.progress(asked, "Refused", **changes, **told),
            say.finished(asked.request_id, "Failed", error_reason=reason),
        ]

    return refuse


async def test_what_admission_refused_is_told_without_values_and_never_asked_for_again(
    client, peer, say, golden, eventually
):
    peer.script = refusing(say, 400, "bbox is no JSON")
    _, refused = await ask(client, "POST", "/create", golden)
    request_id = peer.asked[0].request_id
    assert refused == {"message": "bbox is no JSON", "requestId": request_id}
    Message.model_validate(refused)
    status, told = await ask(client, "GET", f"/exports/{request_id}")
    Export.model_validate(told)
    assert (status, told["status"], told["errorReason"]) == (200, "Failed", "bbox is no JSON")
    assert [told[name] for name in ("zoom", "minZoom", "priority", "onError")] == [None] * 4
    status, told = await ask(client, "POST", f"/exports/{request_id}/retry")
    words = "was refused: bbox is no JSON; send a new request"
    assert (status, words in told["message"]) == (409, True)
    status, told = await ask(client, "POST", "/create", golden | {"retryOf": request_id})
    assert (status, words in told["message"]) == (400, True)
    assert len(peer.asked) == 1


async def test_what_had_no_room_is_tried_again_with_everything_it_asked_for(
    client, peer, say, golden
):
    peer.script = refusing(say, 507, "not enough space")
    assert (await ask(client, "POST", "/create", golden))[0] == 507
    request_id = peer.asked[0].request_id
    assert (await ask(client, "GET", f"/exports/{request_id}"))[1]["priority"] == 7
    peer.script = lambda asked: [say.progress(asked)]
    status, _ = await ask(client, "POST", f"/exports/{request_id}/retry")
    assert (status, peer.asked[1].priority, peer.asked[1].retry_of) == (200, 7, request_id)
    assert peer.asked[1].min_resolution_deg == 0.703125 / 8


async def test_an_open_export_is_not_tried_again_by_create(client, peer, golden, become):
    request_id = await become("Pending")
    status, told = await ask(client, "POST", "/create", golden | {"retryOf": request_id})
    assert (status, "Pending" in told["message"]) == (400, True)


async def test_nobody_commands_the_exports_of_others(service, issuer, peer, say):
    stranger = ExportRequested(str(uuid4()), "l", client="somebody else")
    await peer.send(say.progress(stranger))
    path, token = f"/exports/{stranger.request_id}", f"token={issuer.token()}"
    assert (await ask(service, "DELETE", f"{path}?{token}"))[0] == 404
    assert (await ask(service, "PATCH", f"{path}?{token}", {"pinned": True}))[0] == 404
    assert (await ask(service, "POST", f"{path}/retry?{token}"))[0] == 404
    assert peer.commands == []


async def test_without_keys_an_export_is_commanded_in_the_name_of_who_asked(
    client, peer, say, eventually
):
    by_kafka = ExportRequested(str(uuid4()), "l", client="a producer")
    await peer.send(say.progress(by_kafka))

    async def is_known() -> bool:
        return (await ask(client, "GET", f"/exports/{by_kafka.request_id}"))[0] == 200

    await eventually(is_known)
    peer.on_command = lambda _command: [say.finished(by_kafka.request_id, "Aborted")]
    status, told = await ask(client, "DELETE", f"/exports/{by_kafka.request_id}")
    assert (status, told["status"]) == (202, "Aborted")
    (command,) = peer.commands
    assert (command.client, command.by_administrator) == ("a producer", False)
