"""Loads the test stage and reads topics as a stranger would."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

_STAGE = Path(__file__).with_name("notebook_stage.py")


@pytest.fixture(scope="session")
def stage() -> Any:
    """The module notebook_stage: an Owner, a codec and apps to run."""
    if "notebook_stage" not in sys.modules:
        spec = importlib.util.spec_from_file_location("notebook_stage", _STAGE)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["notebook_stage"] = module
        spec.loader.exec_module(module)
    return sys.modules["notebook_stage"]


class Bench:
    """A producer and a look at whole topics, beside the app under test."""

    def __init__(self, broker: str, topics: Any, stage: Any) -> None:
        self.broker, self.topics, self.codec = broker, topics, stage.JsonCodec()

    async def __aenter__(self) -> Self:
        self.producer = AIOKafkaProducer(bootstrap_servers=self.broker, acks="all")
        await self.producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.producer.stop()

    async def send(self, topic: str, record: Any, partition: int | None = None, **more: Any) -> Any:
        value = record if isinstance(record, bytes) else self.codec.encode(record)
        key = getattr(record, "key", "raw").encode()
        return await self.producer.send_and_wait(
            self.topics.name(topic), value, key=key, partition=partition, **more
        )

    async def read(self, topic: str, partitions: int = 6) -> list[Any]:
        """All records of a topic as they are now, raw."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.broker, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            tps = [TopicPartition(self.topics.name(topic), p) for p in range(partitions)]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            ends = await consumer.end_offsets(tps)
            found: list[Any] = []
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for records in (await consumer.getmany(timeout_ms=50)).values():
                    found.extend(records)
            return found
        finally:
            await consumer.stop()

    async def committed(self, group: str, topic: str, partition: int) -> int:
        """Committed offset of a group, 0 where there is none."""
        tp = TopicPartition(self.topics.name(topic), partition)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.broker,
            group_id=self.topics.prefix + group,
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            consumer.assign([tp])
            return await consumer.committed(tp) or 0
        finally:
            await consumer.stop()

    async def copied(self) -> list[Any]:
        return [self.codec.decode(r.value) for r in await self.read("export-settlements")]


class Workers:
    """Processes of notebook_stage.py, started, killed and ended by this test only."""

    def __init__(self, broker: str, prefix: str, folder: Path) -> None:
        self.broker, self.prefix, self.folder = broker, prefix, folder
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, instance: str, kind: str) -> subprocess.Popen[bytes]:
        output = (self.folder / f"{instance}.out").open("ab")
        worker = subprocess.Popen(
            [sys.executable, _STAGE, self.broker, self.prefix, instance, self.folder, kind],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parents[3],
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parents[3]),
                "PYTHONUNBUFFERED": "1",
            },
        )
        output.close()
        self.running.append(worker)
        return worker

    def log(self, instance: str) -> list[list[Any]]:
        """What an instance has noted, over all its processes: kind of event and its facts."""
        file = self.folder / f"{instance}.log"
        return (
            [json.loads(line)[2:] for line in file.read_text().splitlines()]
            if file.exists()
            else []
        )

    def output(self, instance: str) -> str:
        """What an instance has printed, over all its processes."""
        return (self.folder / f"{instance}.out").read_text()

    def end(self) -> None:
        for worker in self.running:
            if worker.poll() is None:
                worker.kill()
            worker.wait()


@pytest.fixture
def workers(broker: str, topic_prefix: str, tmp_path: Path) -> Iterator[Workers]:
    workers = Workers(broker, topic_prefix, tmp_path)
    yield workers
    workers.end()
    for output in sorted(tmp_path.glob("*.out")):
        # pytest shows it where a test failed
        sys.stdout.write(f"{output.name}\n{output.read_text()[-20_000:]}\n")


@pytest.fixture
async def bench(broker: str, topics: Any, stage: Any) -> Any:
    async with Bench(broker, topics, stage) as bench:
        yield bench


@pytest.fixture
def make_workers() -> type[Workers]:
    """For tests with a broker of their own."""
    return Workers


@pytest.fixture
def make_bench() -> type[Bench]:
    """For tests with a broker of their own."""
    return Bench
