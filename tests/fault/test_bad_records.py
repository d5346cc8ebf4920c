"""Fault: records that are no records, or not of here, or not of today.

Promise: each goes where it belongs (a dead letter, or nowhere), and the next one is handled.
"""

import asyncio
import io
import json
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import psutil
import pytest

from app.demo import DEMO_LAYER_ID
from app.domain.records import (
    DeliveryTried,
    ExportBeat,
    ExportFinished,
    ExportRequested,
    RangeWritten,
    TilesTold,
    WriteRange,
)
from app.kafka.codec import HEADER, read_schema_ids, schemas_folder
from app.kafka.topics import DAY_MS, MAX_MESSAGE_BYTES, topic_spec
from app.supervisor.child import Backoff

INBOXES = (
    ("export-requests", "worker"),
    ("export-registry", "coordinator"),
    ("export-plans", "coordinator"),
    ("tile-range-work", "worker"),
    ("export-settlements", "coordinator"),
)
NEWER_ID = 4242
SLOW_START_S = 400
"""Three starts of a worker beside other tests, and the pauses before them."""
SMALL_BBOX = "[30,30,31,31]"
NOWHERE = ("f" * 64, "1700000000000-1")

FOREIGN = ExportFinished(
    *("r", "l", True, "Completed", "", None, None, "", "", "", 0, ""),
    TilesTold(0, 0, 0),
    "",
    "2026-11-23T03:30:00.000Z",
)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def request(**fields: Any) -> ExportRequested:
    wanted = ExportRequested(str(uuid.uuid4()), DEMO_LAYER_ID, bbox_json=SMALL_BBOX)
    return replace(wanted, **fields)


def own_record(inbox: str) -> Any:
    """A record that the inbox carries, of an export or request that does not exist."""
    at_ms = now_ms()
    return {
        "export-requests": ExportRequested("ghost", DEMO_LAYER_ID, retry_of="nobody"),
        "export-registry": ExportBeat(*NOWHERE, at_ms, "writing", 1, 0, 1),
        "export-plans": RangeWritten(*NOWHERE, at_ms, 0, ()),
        "tile-range-work": WriteRange(*NOWHERE, at_ms, 0, 0, (), "t", "{}", "fail", at_ms - 1, 0),
        "export-settlements": DeliveryTried("ghost", at_ms, "ghost/1", 1, 200, None),
    }[inbox]


def in_schema_of_an_older_release(record: str, fields: dict[str, Any]) -> bytes:
    """Write a record as the first release did that had it."""
    oldest = min(
        (one for one in read_schema_ids(schemas_folder()) if one.record == record),
        key=lambda one: one.id,
    )
    assert oldest.file.startswith("history/")
    body = io.BytesIO()
    schema = json.loads((schemas_folder() / oldest.file).read_bytes())
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), fields)
    return HEADER.pack(0, oldest.id) + body.getvalue()


async def good_export(bench: Any) -> None:
    """An export goes through all five inboxes."""
    wanted = request()
    await asyncio.to_thread(bench.ask, wanted)
    assert (await bench.result_of(wanted.request_id)).success


async def new_letters(bench: Any, known: int, count: int, deadline_s: float = 300) -> list[Any]:
    end = time.monotonic() + deadline_s
    while len(letters := await bench.letters(known)) < count:
        assert time.monotonic() < end, [letter.reason for letter in letters]
        await asyncio.sleep(0.1)
    return letters


@pytest.mark.parametrize(("inbox", "group"), INBOXES)
async def test_bytes_that_are_no_record_of_an_inbox_are_dead_letters_and_the_next_is_handled(
    bench: Any, codec: Any, eventually: Any, inbox: str, group: str
) -> None:
    partitions = topic_spec(inbox).partitions
    bad = {
        b"\xff\x00garbage": "first byte is 255",
        b"": "a record has at least 5",
        b"\x00\x00": "a record has at least 5",
        b"\x00\x00\x00\x00\x00body": "schema id 0 is unknown",
        b"\x00" + NEWER_ID.to_bytes(4, "big") + b"body": "a newer release may have written it",
        codec.encode(own_record(inbox))[:-1]: "cannot be read",
        codec.encode(own_record(inbox)) + b"more": "4 bytes too many",
        codec.encode(FOREIGN): f"ExportFinished is no record of {inbox}",
    }
    known = await bench.letter_count()
    for partition in range(partitions):
        await asyncio.to_thread(bench.put, inbox, *bad, key="k", partition=partition)
    await asyncio.to_thread(bench.put, inbox, None, key="gone", partition=0)
    await asyncio.to_thread(bench.put, inbox, None, partition=0)
    letters = await new_letters(bench, known, len(bad) * partitions + 2)
    assert {letter.topic for letter in letters} == {inbox}
    for value, reason in bad.items():
        reasons = [letter.reason for letter in letters if letter.value == value]
        assert len(reasons) == partitions
        assert all(reason in told for told in reasons), (reason, reasons)
    # Workers handle records of different keys side by side.
    tombstones = {letter.key for letter in letters if letter.value is None}
    assert tombstones == {b"gone", b""}
    await good_export(bench)
    await eventually(
        lambda: asyncio.to_thread(lambda: not bench.unread(group, inbox, partitions)), 20
    )


@pytest.mark.long
@pytest.mark.parametrize(("inbox", "group"), INBOXES)
async def test_records_of_the_largest_size_and_far_beyond_hold_up_no_one(
    bench: Any, eventually: Any, inbox: str, group: str
) -> None:
    known = await bench.letter_count()
    largest = b"\xff" * (MAX_MESSAGE_BYTES - 200)
    await asyncio.to_thread(bench.put, inbox, largest, key="large", partition=0)
    await asyncio.to_thread(bench.raise_limit, inbox)
    await asyncio.to_thread(bench.put, inbox, b"\xfe" * 20_000_000, key="huge", partition=0)
    letters = await new_letters(bench, known, 2)
    whole, cut = sorted(letters, key=lambda letter: letter.cut_from_bytes is not None)
    assert (whole.value, whole.cut_from_bytes) == (largest, None)
    assert cut.cut_from_bytes == 20_000_004
    assert cut.value == b"\xfe" * 65_536
    await good_export(bench)
    await eventually(
        lambda: asyncio.to_thread(
            lambda: not bench.unread(group, inbox, topic_spec(inbox).partitions)
        ),
        20,
    )
    status, out = await bench.command("replay", str(cut.offset))
    assert status != 0
    assert "was cut" in out
    assert "Traceback" not in out
    status, out = await bench.command("show", str(cut.offset))
    assert (status, "cut: key and value had 20000004 bytes" in out) == (0, True)


@pytest.mark.parametrize(("inbox", "group"), INBOXES[1:])
async def test_news_of_an_export_that_does_not_exist_change_nothing(
    bench: Any, codec: Any, eventually: Any, inbox: str, group: str
) -> None:
    record = codec.encode(own_record(inbox))
    known = await bench.letter_count()
    await asyncio.to_thread(bench.put, inbox, record, key="ghost", partition=0)
    await good_export(bench)
    await eventually(
        lambda: asyncio.to_thread(
            lambda: not bench.unread(group, inbox, topic_spec(inbox).partitions)
        ),
        20,
    )
    assert await bench.letter_count() == known


async def test_a_live_order_of_an_export_that_does_not_exist_writes_no_package(
    bench: Any, codec: Any, service: Any, eventually: Any
) -> None:
    order = replace(own_record("tile-range-work"), lease_until_ms=now_ms() + 60_000)
    await asyncio.to_thread(bench.put, "tile-range-work", codec.encode(order), key="ghost")
    await good_export(bench)
    await eventually(
        lambda: asyncio.to_thread(lambda: not bench.unread("worker", "tile-range-work", 6)), 20
    )
    assert not list((service.data_dir / "exports" / NOWHERE[0]).rglob("*.gpkg"))


@pytest.mark.parametrize(("inbox", "group"), INBOXES)
async def test_a_replay_of_a_month_ago_is_a_dead_letter_that_says_how_old_it_is(
    bench: Any, codec: Any, inbox: str, group: str
) -> None:
    known = await bench.letter_count()
    then_ms = now_ms() - 30 * DAY_MS
    record = replace(own_record(inbox), at_ms=then_ms)
    if inbox == "export-requests":
        record = request(at_ms=then_ms)
    await asyncio.to_thread(
        bench.put, inbox, codec.encode(record), key=group, partition=0, timestamp=then_ms
    )
    (letter,) = await new_letters(bench, known, 1)
    assert "30.0 days old" in letter.reason
    await good_export(bench)


async def test_a_request_too_old_to_be_handled_has_a_failed_result_that_says_so(
    bench: Any,
) -> None:
    wanted = request()
    known = await bench.letter_count()
    await asyncio.to_thread(bench.ask, wanted, timestamp=now_ms() - 4 * DAY_MS)
    result = await bench.result_of(wanted.request_id)
    assert not result.success
    assert "4.0 days old" in result.error_reason
    (letter,) = await new_letters(bench, known, 1)
    # Put back by a person it is young again, and known: told the same result.
    for _ in range(2):
        status, _ = await bench.command("replay", str(letter.offset))
        assert status == 0
    await good_export(bench)
    assert len(set(await bench.results_of(wanted.request_id))) == 1


async def test_an_old_request_of_an_export_long_done_keeps_its_result(bench: Any) -> None:
    wanted = request()
    await asyncio.to_thread(bench.ask, wanted)
    first = await bench.result_of(wanted.request_id)
    known = await bench.letter_count()
    await asyncio.to_thread(bench.ask, wanted, timestamp=now_ms() - 4 * DAY_MS)
    await new_letters(bench, known, 1)
    await good_export(bench)
    assert first.success
    assert len(set(await bench.results_of(wanted.request_id))) == 1


async def test_a_client_whose_clock_is_wrong_is_served(bench: Any) -> None:
    wanted = request(at_ms=1)
    await asyncio.to_thread(bench.ask, wanted)
    assert (await bench.result_of(wanted.request_id)).success


@pytest.mark.parametrize(
    "fields",
    [
        {"bbox_json": "no JSON at all"},
        {"bbox_json": "[NaN,0,1,1]"},
        {"bbox_json": "[" * 50_000},
        {"bbox_json": " " * (MAX_MESSAGE_BYTES - 2_000) + SMALL_BBOX},
        {"layer_id": "x" * 5_000_000},
        {"client": "c" * 5_000_000, "layer_id": "nowhere"},
        {"target_resolution_deg": float("nan")},
    ],
    ids=["text", "nan", "nested", "8 MB of blanks", "layer id", "client", "nan resolution"],
)
async def test_a_request_of_nonsense_is_refused_and_its_webhook_told(
    bench: Any, hooks: Any, fields: dict[str, Any]
) -> None:
    wanted = request(callback_urls=(hooks.url,), **fields)
    await asyncio.to_thread(bench.ask, wanted)
    told = await hooks.result(wanted.request_id)
    assert not told["success"]
    assert told["errorReason"]


async def test_an_order_in_the_schema_of_an_older_release_is_carried_out(bench: Any) -> None:
    known = await bench.letter_count()
    wanted = request()
    order = {
        "request_id": wanted.request_id,
        "at_ms": now_ms(),
        "client": wanted.client,
        "command": "cancel",
        "argument": None,
    }
    # It comes before its request, so that there is no export that could be faster.
    older = in_schema_of_an_older_release("ExportCommanded", order)
    await asyncio.to_thread(bench.put, "export-requests", older, key=wanted.request_id)
    await asyncio.to_thread(bench.ask, wanted)
    assert (await bench.result_of(wanted.request_id)).status == "Aborted"
    assert await bench.letter_count() == known


async def test_a_person_lists_shows_and_replays_what_a_newer_release_had_written(
    bench: Any, update: Path
) -> None:
    known = await bench.letter_count()
    wanted = request(client="newer release")
    await asyncio.to_thread(bench.ask, wanted)
    (letter,) = await new_letters(bench, known, 1)
    status, out = await bench.command("list")
    assert status == 0
    assert f"{letter.offset}  " in out
    assert "newer release" in out
    status, out = await bench.command("show", str(letter.offset))
    assert (status, wanted.request_id in out) == (0, True)
    assert not await bench.results_of(wanted.request_id)
    await asyncio.to_thread(update.touch)
    for _ in range(2):
        status, out = await bench.command("replay", str(letter.offset))
        assert (status, "1 of 1 sent again" in out) == (0, True)
    assert (await bench.result_of(wanted.request_id)).success
    await good_export(bench)
    assert len(set(await bench.results_of(wanted.request_id))) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"client": "kills admission"}, "export-requests"),
        ({"bbox_json": "[-90,-89.9,-89,-89.5]"}, "tile-range-work"),
    ],
)
async def test_a_request_that_kills_its_worker_fails_and_all_others_succeed(
    bench: Any, service: Any, eventually: Any, fields: dict[str, str], where: str
) -> None:
    # A worker that was killed before has to be well again, or the pauses before its next starts
    # are half a minute each: the supervisor takes it for one that cannot live.
    well_s = Backoff().healthy_s + 2  # the kernel's start times are a second coarse

    def is_well() -> bool:
        with suppress(LookupError, psutil.NoSuchProcess):  # between two lives
            return bool(time.time() - service.child("worker").create_time() > well_s)
        return False

    await eventually(is_well, 60)
    known = await bench.letter_count()
    deadly = request(**fields)
    others = [request(bbox_json=f"[{west},0,{west + 1},1]") for west in range(0, 100, 10)]
    for wanted in [*others[:5], deadly, *others[5:]]:
        await asyncio.to_thread(bench.ask, wanted)
    for wanted in others:
        assert (await bench.result_of(wanted.request_id, SLOW_START_S)).success
    result = await bench.result_of(deadly.request_id, SLOW_START_S)
    assert not result.success
    assert "died 3 times" in result.error_reason
    (letter,) = await new_letters(bench, known, 1)
    assert letter.topic == where
    assert "died 3 times" in letter.reason
