"""One AssemblePackage carried out on real shards, told to a planner that only listens."""

import asyncio
import io
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import orjson
import pytest
from PIL import Image

from app.assembly import assembler as assembler_module
from app.assembly.assembler import Assembler
from app.domain.area import area_to_wkb
from app.domain.package_facts import PackagePlan
from app.domain.records import (
    AssemblePackage,
    AssemblyBeat,
    AssemblyFailed,
    PackageAssembled,
    RangesMissing,
    RangeSpan,
    TileRunOrdered,
    WriteRange,
)
from app.domain.requested_area import parse_bbox
from app.domain.tile_cover import TileCover
from app.package import merging, publishing
from app.sources.opening import open_source
from app.store.artifact_store import ArtifactStore
from app.writing.open_shards import OpenShards
from app.writing.range_writer import RangeWriter

EXPORT_ID, ATTEMPT, NOW_MS = "ab" * 32, "1700000000000-1", 1_700_000_000_000
AREA = parse_bbox([-10.0, -10.0, 10.0, 10.0])
COVER = TileCover.of(AREA, 0, 3, max_tiles=1000)
TILES_PER_RANGE = 4
WORLD = [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]]
LAYER = {"id": "l", "footprint": {"type": "Polygon", "coordinates": WORLD}}
PLAN = PackagePlan(
    package_name=f"relief_2.0_z3_abababababab_{ATTEMPT}.gpkg",
    table="relief",
    identifier="Relief 2.0",
    layer_json=orjson.dumps(LAYER).decode(),
    area_wkb=area_to_wkb(AREA),
    min_zoom=0,
    max_zoom=3,
    tiles_per_range=TILES_PER_RANGE,
    algorithm=1,
    on_error="fail",
)
ORDER = AssemblePackage(
    EXPORT_ID, ATTEMPT, 1, PLAN, COVER.range_count(TILES_PER_RANGE), NOW_MS + 60_000
)


class Planner:
    """Keeps what it is told."""

    def __init__(self):
        self.told = []
        self.news = asyncio.Event()

    async def send(self, topic, key, record):
        assert (topic, key) == ("export-plans", EXPORT_ID)
        self.told.append(record)
        self.news.set()

    async def until(self, kind):
        async with asyncio.timeout(120):
            while not any(isinstance(record, kind) for record in self.told):
                self.news.clear()
                await self.news.wait()


class Bench:
    """A worker's writer and assembler over one folder."""

    def __init__(self, root, executor, owner="worker-1-abc"):
        store = ArtifactStore(root / "exports")
        self.folder = store.attempt_folder(EXPORT_ID, ATTEMPT)
        self.planner = Planner()
        shards = OpenShards(owner, store.attempt_folder)
        self.writer = RangeWriter(
            shards,
            partial(open_source, allowed_roots=[root / "layers"]),
            executor,
            now_ms=lambda: NOW_MS,
        )
        self.assembler = Assembler(
            store.attempt_folder, shards.forget, self.planner, executor, owner, lambda: NOW_MS
        )

    async def write(self, *numbers):
        for number in numbers:
            runs = COVER.range_at(number, TILES_PER_RANGE).runs
            order = WriteRange(
                export_id=EXPORT_ID,
                attempt=ATTEMPT,
                at_ms=1,
                lane=0,
                range_number=number,
                runs=tuple(
                    TileRunOrdered(r.zoom, r.min_col, r.max_col, r.min_row, r.max_row) for r in runs
                ),
                table="relief",
                source_json='{"type":"folder","path":"relief"}',
                on_error="fail",
                lease_until_ms=NOW_MS + 60_000,
                trial=0,
            )
            await self.writer.write(order)


@pytest.fixture
def executor():
    with ThreadPoolExecutor(3) as made:
        yield made


@pytest.fixture
def layers(tmp_path):
    for zoom, _ in COVER.tiles_by_zoom:
        for run in COVER.runs(zoom):
            for _, col, row in run.tiles():
                image = io.BytesIO()
                Image.new("RGB", (256, 256), (zoom, col, row)).save(image, "JPEG")
                folder = tmp_path / "layers" / "relief" / str(zoom) / str(col)
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{row}.jpeg").write_bytes(image.getvalue())
    return tmp_path / "layers"


@pytest.fixture
async def bench(tmp_path, executor, layers):
    made = Bench(tmp_path, executor)
    yield made
    await made.writer.shards.close()


async def test_shards_become_a_package_and_the_planner_hears_its_facts(bench):
    await bench.write(*range(ORDER.range_count))
    (send,) = await bench.assembler.assemble(ORDER)
    facts = send.record.facts
    assert isinstance(send.record, PackageAssembled)
    assert facts.written == facts.expected == COVER.tile_count
    left = {path.name for path in bench.folder.iterdir()}
    assert left == {PLAN.package_name, facts.metadata_name}
    connection = sqlite3.connect(bench.folder / PLAN.package_name)
    (count,) = connection.execute("SELECT count(*) FROM relief").fetchone()
    connection.close()
    assert count == COVER.tile_count


async def test_an_order_that_comes_twice_is_answered_with_the_same_facts(bench):
    await bench.write(*range(ORDER.range_count))
    first = await bench.assembler.assemble(ORDER)
    again = await bench.assembler.assemble(replace(ORDER, trial=1))
    assert first[0].record.facts == again[0].record.facts


async def test_ranges_that_no_ledger_has_are_reported(bench):
    await bench.write(0, 2)
    (send,) = await bench.assembler.assemble(ORDER)
    assert isinstance(send.record, RangesMissing)
    expected = [RangeSpan(1, 1)]
    if ORDER.range_count > 3:
        expected.append(RangeSpan(3, ORDER.range_count - 1))
    assert list(send.record.spans) == expected


async def test_shards_of_two_workers_become_one_package(bench, tmp_path, executor):
    other = Bench(tmp_path, executor, owner="worker-2-def")
    await bench.write(*range(0, ORDER.range_count, 2))
    await other.write(*range(ORDER.range_count))  # some ranges in both: counted once
    (send,) = await bench.assembler.assemble(ORDER)
    assert send.record.facts.written == COVER.tile_count
    await other.writer.shards.close()


async def test_an_export_without_any_tile_fails_with_the_reason(bench, layers):
    (layers / "relief").rename(layers / "elsewhere")
    (layers / "relief").mkdir()
    await bench.write(*range(ORDER.range_count))
    (send,) = await bench.assembler.assemble(ORDER)
    assert isinstance(send.record, AssemblyFailed)
    assert str(COVER.tile_count) in send.record.reason


async def test_a_background_assembly_reports_by_itself_and_is_not_started_twice(bench):
    await bench.write(*range(ORDER.range_count))
    bench.assembler.start(ORDER)
    bench.assembler.start(ORDER)
    await bench.planner.until(PackageAssembled)
    assert len([r for r in bench.planner.told if isinstance(r, PackageAssembled)]) == 1


async def test_a_long_assembly_beats(bench, monkeypatch):
    monkeypatch.setattr(assembler_module, "BEAT_S", 0.01)
    finish = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(*_):
        asyncio.run_coroutine_threadsafe(finish.wait(), loop).result()
        return [RangeSpan(0, 0)]

    monkeypatch.setattr(assembler_module, "make_package", slow)
    bench.assembler.start(ORDER)
    await bench.planner.until(AssemblyBeat)
    finish.set()
    await bench.planner.until(RangesMissing)


async def test_draining_waits_for_what_runs_and_starts_nothing_more(bench):
    await bench.write(*range(ORDER.range_count))
    bench.assembler.start(ORDER)
    await bench.assembler.drain(20)
    assert isinstance(bench.planner.told[-1], PackageAssembled)
    bench.assembler.start(replace(ORDER, attempt="1700000000001-2"))
    assert bench.assembler._running == {}


@pytest.mark.parametrize("step", ["merge", "hash"])
async def test_a_long_assembly_is_stopped_where_it_is_and_the_next_process_ends_it(
    bench, tmp_path, executor, monkeypatch, step
):
    """Promise: SIGTERM ends a worker in time, whatever it assembles; its locks are given up."""
    other = Bench(tmp_path, executor, owner="worker-2-def")
    await bench.write(*range(0, ORDER.range_count, 2))
    if step == "merge":
        await other.write(*range(1, ORDER.range_count, 2))
    else:
        await bench.write(*range(1, ORDER.range_count, 2))
    under_way = threading.Event()

    def until_stopped(original):
        def slow(*args):
            under_way.set()
            deadline_s = time.monotonic() + 20
            while not bench.assembler._stopping and time.monotonic() < deadline_s:
                time.sleep(0.001)
            return original(*args)

        return slow

    with monkeypatch.context() as patched:
        patched.setattr(assembler_module, "STOP_S", 60)
        if step == "merge":
            patched.setattr(merging, "_copy_range", until_stopped(merging._copy_range))
        else:
            patched.setattr(publishing, "prove_sealed", until_stopped(publishing.prove_sealed))
        bench.assembler.start(ORDER)
        await asyncio.to_thread(under_way.wait, 20)
        await bench.assembler.drain(0)
    assert not bench.assembler.is_left
    assert not (bench.folder / PLAN.package_name).exists()
    assert {type(record) for record in bench.planner.told} == {AssemblyBeat}
    (send,) = await other.assembler.assemble(ORDER)
    assert send.record.facts.written == COVER.tile_count
    await other.writer.shards.close()


async def test_an_assembly_that_heeds_no_stop_is_left(bench, monkeypatch):
    heedless = threading.Event()
    monkeypatch.setattr(assembler_module, "STOP_S", 0.05)
    monkeypatch.setattr(assembler_module, "make_package", lambda *_: heedless.wait(20) and [])
    bench.assembler.start(ORDER)
    await bench.planner.until(AssemblyBeat)
    await bench.assembler.drain(0)
    assert bench.assembler.is_left
    heedless.set()


async def test_a_bug_is_left_to_the_lease_and_fails_the_export_at_last(bench, monkeypatch):
    """Promise 1: whatever was accepted ends with a result that explains it."""

    def broken(*_):
        raise KeyError("coordinates")

    monkeypatch.setattr(assembler_module, "make_package", broken)
    bench.assembler.start(ORDER)
    await bench.assembler.drain(20)
    assert not [r for r in bench.planner.told if isinstance(r, AssemblyFailed)]
    bench.assembler._draining = False
    bench.assembler.start(replace(ORDER, trial=3))
    await bench.planner.until(AssemblyFailed)
    (failed,) = [r for r in bench.planner.told if isinstance(r, AssemblyFailed)]
    assert "KeyError('coordinates')" in failed.reason
