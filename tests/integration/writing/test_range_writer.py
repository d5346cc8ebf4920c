"""One WriteRange carried out on real shards and a real folder of tiles."""

import asyncio
import io
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import orjson
import pytest
from PIL import Image

from app.domain.errors import StorageFull, StorageUnavailable
from app.domain.records import RangeUnreadable, RangeWritten, TileRunOrdered, WriteRange
from app.domain.tile_tables import TileTables
from app.package.shard import Shard
from app.sources.opening import open_source
from app.store.artifact_store import ArtifactStore
from app.writing.open_shards import IDLE_SHARDS, OpenShards
from app.writing.range_writer import RangeWriter


@pytest.fixture
def layers(tmp_path):
    image = io.BytesIO()
    Image.new("RGB", (256, 256), (90, 120, 30)).save(image, "JPEG")
    for col in range(4):
        folder = tmp_path / "layers" / "relief" / "2" / str(col)
        folder.mkdir(parents=True)
        for row in range(4):
            (folder / f"{row}.jpeg").write_bytes(image.getvalue())
    return tmp_path / "layers"


@pytest.fixture
async def writer(layers, tmp_path):
    store = ArtifactStore(tmp_path / "exports")
    with ThreadPoolExecutor(2) as executor:
        made = RangeWriter(
            OpenShards("worker-1-abc", store.attempt_folder),
            partial(open_source, allowed_roots=[layers]),
            executor,
            now_ms=lambda: 1_700_000_000_000,
        )
        yield made
        await made.shards.close()


def order(number=0, **changes):
    fields = {
        "export_id": "ab" * 32,
        "attempt": "1700000000000-1",
        "at_ms": 1,
        "lane": 0,
        "range_number": number,
        "runs": (TileRunOrdered(2, number, number, 0, 4),),  # the source has rows 0 to 3
        "table": "relief",
        "source_json": orjson.dumps({"type": "folder", "path": "relief"}).decode(),
        "on_error": "fail",
        "lease_until_ms": 2_000_000_000_000,
        "trial": 0,
    }
    return WriteRange(**(fields | changes))


def shards(tmp_path, export_id="ab" * 32):
    return sorted((tmp_path / "exports" / export_id).rglob("*.part"))


async def test_a_range_is_written_and_reported_with_its_missing_tiles(writer, tmp_path):
    send = await writer.write(order())
    assert isinstance(send.record, RangeWritten)
    (zoom,) = send.record.zooms
    assert (zoom.expected, zoom.written, zoom.missing) == (5, 4, 1)
    assert len(shards(tmp_path)) == 1


async def test_ranges_of_one_attempt_share_a_shard_and_repeats_are_answered_the_same(
    writer, tmp_path, layers
):
    sends = await asyncio.gather(*(writer.write(order(number)) for number in range(4)))
    shutil.rmtree(layers / "relief")  # a range in the ledger is answered without reading
    again = await writer.write(order(2))
    assert again.record.zooms == sends[2].record.zooms
    assert len(shards(tmp_path)) == 1


async def test_an_unreadable_tile_is_reported_with_its_place_and_its_try(writer, layers):
    (layers / "relief" / "2" / "1" / "2.jpeg").write_bytes(b"<html>not an image</html>")
    send = await writer.write(order(1, trial=3))
    assert isinstance(send.record, RangeUnreadable)
    assert "2/1/2" in send.record.reason
    assert (send.record.trial, send.record.fatal) == (3, False)
    skipped = await writer.write(order(1, on_error="skip"))
    assert skipped.record.zooms[0].skipped == 1


async def test_a_source_that_is_not_allowed_fails_the_export_at_once(writer):
    send = await writer.write(order(source_json='{"type":"folder","path":"../../etc"}'))
    assert isinstance(send.record, RangeUnreadable)
    assert send.record.fatal


async def test_a_shard_that_is_gone_is_replaced_by_a_new_one(writer, tmp_path):
    await writer.write(order(0))
    (lost,) = shards(tmp_path)
    lost.unlink()
    send = await writer.write(order(1))
    assert isinstance(send.record, RangeWritten)
    assert [path for path in shards(tmp_path) if path != lost]


def open_shards_of(root):
    """Files of shards that this process has open, whether they have a name or not."""
    names = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            names.append(str(link.readlink()))
    return [name for name in names if str(root) in name and ".part" in name]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are told by /proc")
async def test_a_shard_that_was_removed_does_not_keep_its_space_for_long(
    writer, tmp_path, monkeypatch
):
    monkeypatch.setattr("app.writing.open_shards.LOOK_EVERY_S", 0.0)
    await writer.write(order(0))
    store = ArtifactStore(tmp_path / "exports")
    store.remove_attempt("ab" * 32, "1700000000000-1")
    assert any("deleted" in name for name in open_shards_of(tmp_path))
    await writer.write(replace(order(), export_id="cd" * 32))
    assert not any("deleted" in name for name in open_shards_of(tmp_path))
    assert len(open_shards_of(tmp_path)) == 1


async def test_a_full_disk_is_fatal_and_one_that_is_read_only_is_not(writer, monkeypatch):
    for error, fatal in ((StorageFull("no space"), True), (StorageUnavailable("ro"), False)):

        def refuse(*_, error=error, **__):
            raise error

        monkeypatch.setattr("app.writing.open_shards.Shard.create", refuse)
        send = await writer.write(order(0))
        assert (send.record.fatal, send.record.reason) == (fatal, str(error))


async def test_only_so_many_shards_stay_open(writer, tmp_path):
    for number in range(IDLE_SHARDS + 4):
        await writer.write(replace(order(), export_id=f"{number:02x}" * 32))
    assert len(writer.shards._seats) <= IDLE_SHARDS
    first = await writer.write(replace(order(1), export_id="00" * 32))
    assert isinstance(first.record, RangeWritten)


async def test_whoever_closes_idle_shards_waits_for_none_that_was_taken_meanwhile(
    writer, monkeypatch
):
    names = [f"{number:02x}" * 32 for number in range(3)]
    for name in names:
        await writer.write(order(export_id=name))
    closing, go_on = threading.Event(), threading.Event()
    first = writer.shards._seats[names[0], order().attempt].shard
    close = Shard.close

    def slowly(shard):
        if shard is first:
            closing.set()
            go_on.wait(20)
        close(shard)

    monkeypatch.setattr(Shard, "close", slowly)
    monkeypatch.setattr("app.writing.open_shards.IDLE_SHARDS", 0)
    tables = TileTables.single("relief")
    leaving = asyncio.create_task(writer.write(order(1, export_id=names[2])))
    await asyncio.to_thread(closing.wait, 20)
    async with writer.shards.borrow(names[1], order().attempt, tables):
        go_on.set()
        async with asyncio.timeout(60):
            assert isinstance((await leaving).record, RangeWritten)


class Hanging:
    """Answers when it is allowed to; any path of a layer may be opened."""

    def __init__(self, layers):
        self.layers = layers
        self.answer = threading.Event()
        self.asked = []

    def open(self, source):
        if source["path"] == "opening hangs":
            self.asked.append(source["path"])
            self.answer.wait(20)
        if "hangs" not in source["path"]:
            return open_source(source, [self.layers])
        return self.Source(self, source["path"])

    class Source:
        def __init__(self, desk, path):
            self.desk, self.path = desk, path

        def read_many(self, tiles):
            if self.path != "opening hangs":
                self.desk.asked.append(self.path)
                self.desk.answer.wait(20)
            return [b"\xff\xd8\xff\xd9 late" for _ in tiles]


@pytest.fixture
def hanging(layers, writer, monkeypatch):
    """Sources that hang; the writer gives them up soon."""
    made = Hanging(layers)
    writer.open_source = made.open
    monkeypatch.setattr("app.writing.reading_thread.READ_DEADLINE_S", 0.1)
    yield made
    made.answer.set()


def from_path(path, export_id="ab" * 32, number=0):
    source = orjson.dumps({"type": "folder", "path": path}).decode()
    return order(number, source_json=source, export_id=export_id)


@pytest.mark.parametrize("path", ["reading hangs", "opening hangs"])
async def test_a_source_that_hangs_is_given_up_and_asked_again_only_when_it_has_answered(
    writer, hanging, tmp_path, path
):
    """Promise: nothing hangs a worker, and what comes late is written nowhere."""
    before = set(threading.enumerate())
    first = await writer.write(from_path(path))
    assert isinstance(first.record, RangeUnreadable)
    assert "has not answered for 0.1 s" in first.record.reason
    assert not first.record.fatal
    again = await writer.write(from_path(path, number=1))
    assert "hangs" in again.record.reason
    assert hanging.asked == [path]
    (left,) = [t for t in set(threading.enumerate()) - before if t.name == "read tiles"]
    hanging.answer.set()
    await asyncio.to_thread(left.join, 10)
    (shard,) = shards(tmp_path)
    assert stored(shard) == 0
    last = await writer.write(from_path(path))
    assert isinstance(last.record, RangeWritten)
    assert stored(shard) == 5


async def test_sources_that_hang_hold_no_thread_that_others_need(writer, hanging):
    """Promise: more layers hang than ranges are written at a time, and the others go on."""
    hung = [writer.write(from_path(f"{n} hangs", export_id=f"{n:02x}" * 32)) for n in range(5)]
    for send in await asyncio.gather(*hung):
        assert isinstance(send.record, RangeUnreadable)
    send = await writer.write(from_path("relief", export_id="cd" * 32))
    assert isinstance(send.record, RangeWritten)


def stored(shard):
    connection = sqlite3.connect(shard)
    (count,) = connection.execute("SELECT count(*) FROM relief").fetchone()
    connection.close()
    return count
