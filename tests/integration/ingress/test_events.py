"""Server-sent events over HTTP and a real broker, also while the ingress starts anew."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import aiohttp
import orjson
import pytest

from app.domain.records import ExportRequested
from app.ingress import events, run
from app.kafka.producer import RecordProducer
from app.kafka.topic_admin import create_topics
from app.kafka.topics import Topics
from tests.integration.ingress.event_reader import EventReader, listening


async def create(client, body: dict) -> str:
    async with client.post("/create", data=orjson.dumps(body)) as answer:
        assert answer.status == 200
        return (await answer.json())["requestId"]


def asked(client: str = "anonymous") -> ExportRequested:
    return ExportRequested(str(uuid4()), "l", client=client)


async def listed(client, request_id: str) -> dict:
    async with client.get("/exports") as answer:
        (found,) = [
            one for one in (await answer.json())["exports"] if one["requestId"] == request_id
        ]
        return found


async def test_what_happens_to_an_export_is_told_as_it_happens(client, peer, say, golden):
    async with listening(client) as stream:
        await stream.until_id()
        request_id = await create(client, golden)
        await stream.until_status(request_id, "Pending")
        await peer.send(say.export(9, tiles_per_s=3.0))
        told = await stream.until_status(request_id, "In-Progress")
        assert (told["percentage"], told["etaSeconds"]) == (50, 4)
        await peer.send(say.export(18, "Completed"), say.finished(request_id))
        told = await stream.until_status(request_id, "Completed")
        assert told == await listed(client, request_id)


async def test_one_export_is_told_as_it_is_and_then_as_it_changes(client, peer, say, golden):
    request_id = await create(client, golden)
    await peer.send(say.export(18, "Completed"), say.finished(request_id))
    other = asked()
    async with (
        listening(client, f"/exports/{request_id}/events") as one,
        listening(client, f"/exports/events?ids={request_id.upper()},{uuid4()}") as some,
    ):
        for stream in (one, some):
            await stream.until_status(request_id, "Completed")
        await peer.send(
            say.progress(other), say.progress(peer.asked[0], deleted=True), say.progress(other)
        )
        for stream in (one, some):
            await stream.until_status(request_id, "Expired")
            assert {told["requestId"] for told in stream.exports} == {request_id}


async def test_the_exports_of_others_are_not_told(service, issuer, peer, say):
    token, mine, stranger = issuer.token(), asked("anna"), asked("somebody else")
    await peer.send(say.progress(stranger, export_id="f" * 64))
    async with listening(service, f"/exports/events?token={token}") as stream:
        await stream.until_id()
        await peer.send(say.progress(stranger, export_id="f" * 64), say.progress(mine))
        await stream.until_status(mine.request_id, "Pending")
        assert {told["client"] for told in stream.exports} == {"anna"}
    some = f"/exports/events?token={token}&ids={stranger.request_id}"
    async with listening(service, some) as stream:
        await stream.until_id()
        assert stream.exports == []
    async with service.get(f"/exports/{stranger.request_id}/events?token={token}") as answer:
        assert answer.status == 404


async def test_without_keys_the_exports_of_all_are_told(client, peer, say):
    by_kafka = replace(asked("a producer"), request_id="Harbour/7")
    async with (
        listening(client) as stream,
        listening(client, "/exports/events?ids=Harbour%2F7") as one,
    ):
        await stream.until_id()
        await one.until_id()
        await peer.send(say.progress(by_kafka))
        await stream.until_status("Harbour/7", "Pending")
        await one.until_status("Harbour/7", "Pending")


async def test_who_comes_again_misses_nothing_though_the_ingress_has_started_anew_meanwhile(
    settings, broker, topics, peer, say, ingress_of
):
    running, quiet, joined = asked(), asked(), asked()
    await peer.send(
        say.progress(running),
        say.export(12),
        say.progress(quiet, export_id="f" * 64),
        say.export(3, export_id="f" * 64),
    )
    async with ingress_of(settings, broker) as client, listening(client) as stream:
        await stream.until_id()
        told = await stream.until_status(running.request_id, "In-Progress")
        assert told["percentage"] == 66
        last_id = (await stream.until_id()).last_id
    # The ingress is gone; what happens now, nobody sees.
    await peer.send(
        say.export(18, "Completed"),
        say.finished(running.request_id),
        say.progress(joined, "Cached"),
        say.finished(joined.request_id),
    )
    async with (
        ingress_of(settings, broker) as client,
        listening(client, last_id=last_id) as stream,
    ):
        await stream.until_told(running.request_id, joined.request_id)
        assert {told["percentage"] for told in stream.exports} == {100}
        last_id = stream.last_id
        # What has been told is not told again.
        async with listening(client, last_id=last_id) as again:
            await again.until_id()
            await peer.send(say.export(4, export_id="f" * 64))
            await again.until_status(quiet.request_id, "In-Progress")
            assert len(again.exports) == 1


async def test_who_was_cut_off_before_the_first_event_misses_nothing_either(
    settings, broker, topics, peer, say, ingress_of
):
    async with ingress_of(settings, broker) as client, listening(client) as stream:
        last_id = (await stream.until_id()).last_id
    short = asked()
    await peer.send(
        say.progress(short), say.export(18, "Completed"), say.finished(short.request_id)
    )
    async with (
        ingress_of(settings, broker) as client,
        listening(client, last_id=last_id) as stream,
    ):
        await stream.until_status(short.request_id, "Completed")


async def test_percentages_never_go_back_though_ingress_and_attempt_start_anew(
    settings, broker, topics, peer, say, ingress_of
):
    one = asked()
    percentages = []
    await peer.send(say.progress(one), say.export(4))
    last_id = None
    for done in (9, 13):
        async with (
            ingress_of(settings, broker) as client,
            listening(client, last_id=last_id) as stream,
        ):
            await stream.until_id()
            await peer.send(say.export(done))
            await stream.until(lambda told, done=done: told["percentage"] == 100 * done // 18)
            await peer.send(say.export(2, attempt="1795404000000-18"))
            await stream.until(lambda told: told["attempt"] == "1795404000000-18")
            await peer.send(say.export(done))
            await stream.until(lambda told: told["attempt"] != "1795404000000-18")
            percentages += [told["percentage"] for told in stream.exports]
            last_id = stream.last_id
    assert percentages == sorted(percentages)
    assert percentages[-1] == 72


async def test_a_stream_opened_before_the_view_has_caught_up_waits_for_it(
    unready_client, broker, topic_prefix, codec, say
):
    one = asked()
    async with listening(unready_client) as stream:
        reading = asyncio.create_task(stream.until_status(one.request_id, "Pending"))
        names = Topics(topic_prefix)
        await create_topics(broker, names)
        async with RecordProducer(broker, codec, names) as producer:
            send = say.progress(one)
            await producer.send(send.topic, send.key, send.record)
        await reading


async def test_a_quiet_stream_is_kept_alive_by_comments(client, monkeypatch):
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    async with listening(client) as stream, asyncio.timeout(60):
        while stream.comments < 3:
            await stream.read_block()
        assert stream.exports == []


@pytest.mark.parametrize(
    ("path", "last_id", "message"),
    [
        (f"/exports/events?ids={'7' * 101}", None, 'one of ids is "777'),
        ("/exports/events?ids=", None, 'one of ids is ""; it must have 1 to 100 characters'),
        ("/exports/events?ids=" + ",".join(str(uuid4()) for _ in range(101)), None, "101 ids"),
        ("/exports/events?status=Failed", None, "status is unknown"),
        ("/exports/events", "yesterday", "Last-Event-ID is 'yesterday'"),
        (f"/exports/{'7' * 101}/events", None, 'id is "777'),
    ],
)
async def test_a_bad_question_is_a_400_that_names_it(client, path, last_id, message):
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    async with client.get(path, headers=headers) as answer:
        assert answer.status == 400
        assert message in (await answer.json())["message"]


async def test_open_streams_do_not_hold_up_the_end_of_the_ingress(
    settings, broker, topics, ingress_of, monkeypatch
):
    # Longer than a stop takes on a busy machine: one that waited for a stream would last as long.
    monkeypatch.setattr(run, "STOP_GRACE_S", 60.0)
    clock = asyncio.get_running_loop().time
    async with aiohttp.ClientSession(settings.base_url) as outside:
        async with ingress_of(settings, broker):
            answer = await outside.get("/exports/events")
            await EventReader(answer).until_id()
            begun_s = clock()
        assert clock() - begun_s < run.STOP_GRACE_S
        # It ends as a whole answer does, not as one that was cut off.
        async with asyncio.timeout(60):
            await answer.read()
