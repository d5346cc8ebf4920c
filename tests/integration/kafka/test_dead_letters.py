"""Dead letters read, shown and put back, on a real broker and through the command line."""

import asyncio
import sys

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from app.domain.errors import InvalidRecord
from app.domain.records import ExportRequested
from app.kafka.dead_letters import find_dead_letter, put_back, read_dead_letters
from app.kafka.embedded_broker import EmbeddedBroker


@pytest.fixture
async def bury(broker, topics):
    """Put a record among the dead letters, as a stage does."""
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()

    async def put(
        key,
        value,
        topic="export-requests",
        partition=3,
        reason="it makes no sense",
        at_ms="1700000000000",
    ):
        headers = [
            ("reason", reason.encode()),
            ("topic", (topics.prefix + topic).encode()),
            ("partition", b"%d" % partition),
            ("offset", b"17"),
            ("at_ms", at_ms.encode()),
        ]
        name = topics.name("dead-letters")
        return (await producer.send_and_wait(name, value, key=key, headers=headers)).offset

    yield put
    await producer.stop()


async def records_of(broker, topic, partition):
    consumer = AIOKafkaConsumer(bootstrap_servers=broker)
    await consumer.start()
    try:
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        left = (await consumer.end_offsets([place]))[place]
        await consumer.seek_to_beginning(place)
        found = []
        while len(found) < left:
            batch = await consumer.getmany(timeout_ms=5_000)
            assert batch
            found += [(m.key, m.value) for m in batch[place]]
        return found
    finally:
        await consumer.stop()


async def command(broker, topics, *words):
    ran = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "app", "dead-letters", *words),
        *("--broker", broker, "--prefix", topics.prefix),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await ran.communicate()
    return ran.returncode, out.decode()


async def test_letters_are_read_with_their_origin_and_their_very_bytes(broker, topics, bury):
    await bury(b"k1", b"\xff\x00garbage")
    await bury(b"k2", None, topic="export-plans", partition=5)
    letters = [letter async for letter in read_dead_letters(broker, topics)]
    assert [(letter.key, letter.value) for letter in letters] == [
        (b"k1", b"\xff\x00garbage"),
        (b"k2", None),
    ]
    assert letters[0].topic == topics.name("export-requests")
    assert (letters[0].partition, letters[0].source_offset) == (3, 17)
    assert (letters[1].partition, letters[1].at_ms) == (5, 1_700_000_000_000)


async def test_no_letters_are_no_error(broker, topics):
    assert [letter async for letter in read_dead_letters(broker, topics)] == []
    assert await find_dead_letter(broker, topics, 0) is None


async def test_a_letter_put_back_stands_where_it_came_from(broker, topics, bury):
    offset = await bury(b"k1", b"again")
    letter = await find_dead_letter(broker, topics, offset)
    assert await put_back(broker, topics, [letter]) == 1
    found = await records_of(broker, topics.name("export-requests"), 3)
    assert found == [(b"k1", b"again")]


async def test_a_letter_from_nowhere_is_not_put_back(broker, topics, bury):
    for fields in ({"topic": "no-such-topic"}, {"partition": 99}):
        letter = await find_dead_letter(broker, topics, await bury(b"k", b"v", **fields))
        with pytest.raises(InvalidRecord):
            await put_back(broker, topics, [letter])


async def test_letters_that_no_clock_has_dated_are_listed(broker, topics, bury):
    for at_ms in ("99999999999999999", "9" * 40, "9" * 5000, "-1", "soon"):
        offset = await bury(b"k", b"v", at_ms=at_ms)
    status, out = await command(broker, topics, "list")
    assert status == 0, out
    assert "  99999999999999999 ms  " in out
    assert len(out.splitlines()) == 5
    status, out = await command(broker, topics, "show", str(offset))
    assert status == 0, out


async def test_the_commands_find_the_embedded_broker_of_a_running_service(tmp_path, monkeypatch):
    monkeypatch.delenv("EXPORT_BROKER", raising=False)

    async def run(*words):
        ran = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "app", *words, "--data-dir", str(tmp_path)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await ran.communicate()
        return ran.returncode, out.decode()

    with EmbeddedBroker(tmp_path / "broker"):
        assert (await run("topics"))[0] == 0
        assert await run("dead-letters", "list") == (0, "")
    for words in (("topics",), ("dead-letters", "list"), ("dead-letters", "replay", "1")):
        status, out = await run(*words)
        assert status == 1
        assert out.startswith(f"error: no embedded broker runs in {tmp_path / 'broker'}: name")


async def test_the_command_lists_shows_and_replays(broker, topics, bury, codec):
    request = ExportRequested("r1", "no uuid", bbox_json="[1,2,3,4]")
    first = await bury(b"r1", codec.encode(request), reason="dbId is 'no uuid'")
    second = await bury(b"odd", b"\x01\x02\x03")
    status, out = await command(broker, topics, "list")
    assert status == 0
    assert "dbId is 'no uuid'" in out
    assert out.index("r1") < out.index("odd")
    status, out = await command(broker, topics, "show", str(first))
    assert (status, "ExportRequested(request_id='r1'" in out) == (0, True)
    status, out = await command(broker, topics, "show", str(second))
    assert (status, "01 02 03" in out) == (0, True)
    status, out = await command(broker, topics, "show", "99")
    assert (status, "no dead letter 99" in out) == (1, True)
    status, _ = await command(broker, topics, "replay", str(first), str(second))
    assert status == 0
    found = await records_of(broker, topics.name("export-requests"), 3)
    assert [key for key, _ in found] == [b"r1", b"odd"]
