"""The command `scripts/storm`: the whole service under load and kills, then every promise checked.

Ctrl-C ends load and faults early; what was accepted until then is still checked and reported.
Exit status 1: a promise was broken; 69: Java or Maven is missing.
"""

import argparse
import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.bootstrap.process import quieten_embedded_broker
from app.demo import DemoLayer, make_demo_layer
from app.kafka.codec import Codec
from app.kafka.embedded_broker import EmbeddedBroker
from app.kafka.producer import RecordProducer
from app.kafka.topic_admin import create_topics
from app.kafka.topics import Topics
from app.settings import Settings
from app.supervisor.supervise import choose_port
from tests.apache_kafka.cluster import EXIT_UNAVAILABLE, Cluster, KafkaUnavailable
from tests.fault.storm.checks import Checks, SourceTiles, leftovers
from tests.fault.storm.faults import Faults
from tests.fault.storm.figures import Memory, loud_events
from tests.fault.storm.fleet import Fleet, still_running
from tests.fault.storm.load import Load
from tests.fault.storm.plan import StormPlan, TooDense, plan_faults
from tests.fault.storm.receiver import receiving
from tests.fault.storm.report import Storm, closing_line, markdown
from tests.fault.storm.witness import witnessing

SETTLE_S: Final = 400.0
"""Everything that was accepted has its result and its webhook so long after the last fault."""

GRACE_S: Final = 20
"""EXPORT_REMOVAL_GRACE_S, an hour by default: longer than anything takes here, but for a freeze."""

SWEEP_S: Final = 240.0
"""Leftovers of dead attempts are gone so long after everything is settled."""

RANGE_BYTES: Final = 200_000
LOOK_S: Final = 0.1


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(words)
    plan = StormPlan(
        minutes=options.minutes,
        kills=options.kills,
        broker=options.broker,
        membership=options.membership,
        nodes=options.nodes,
        seed=options.seed,
    )
    if (plan.broker, plan.membership) == ("embedded", "dynamic"):
        _parser().error("the embedded broker needs --membership static")
    try:
        plan_faults(plan)
    except TooDense as error:
        _parser().error(str(error))
    if options.dir is not None and options.dir.is_dir() and any(options.dir.iterdir()):
        # The same seed asks with the same ids: what an earlier storm left would answer for it.
        _parser().error(f"--dir is {options.dir}; it must be empty or not exist")
    for name in [name for name in os.environ if name.startswith("EXPORT_")]:
        del os.environ[name]
    folder = options.dir or Path(tempfile.mkdtemp(prefix="storm-"))
    try:
        storm = asyncio.run(_storm(plan, folder.absolute()))
    except KafkaUnavailable as error:
        _say(str(error))
        return EXIT_UNAVAILABLE
    if options.report is not None:
        options.report.write_text(markdown(storm))
    else:
        print(markdown(storm))  # noqa: T201 - it is a command
    if storm.findings.is_sound and options.dir is None:
        shutil.rmtree(folder)
    else:
        _say(f"logs, packages and broker data: {folder}")
    print(closing_line(storm))  # noqa: T201 - as above
    return int(not storm.findings.is_sound)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/storm", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="how long faults come")
    parser.add_argument("--kills", type=int, default=20, help="SIGKILLs in that time")
    parser.add_argument("--broker", choices=["embedded", "kafka"], default="embedded")
    parser.add_argument("--membership", choices=["static", "dynamic"], default="static")
    parser.add_argument("--nodes", type=int, choices=[1, 3], default=1, help="of Apache Kafka")
    parser.add_argument("--seed", type=int, default=0, help="decides load and faults")
    parser.add_argument("--report", type=Path, help="file for the report, Markdown")
    parser.add_argument("--dir", type=Path, help="folder for data and logs, kept; default: /tmp")
    return parser


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)  # noqa: T201 - as above


@contextmanager
def _broker(plan: StormPlan, folder: Path) -> Iterator[str]:
    """Run the broker in this, the main thread: on Linux the embedded one ends with it."""
    if plan.broker == "embedded":
        with EmbeddedBroker(folder / "data" / "broker") as embedded:
            yield embedded.address
    else:
        with Cluster.planned(folder / "kafka", node_count=plan.nodes) as cluster:
            yield cluster.address


@dataclass(frozen=True, slots=True)
class _Scene:
    """What is there before the first fault."""

    settings: Settings
    layer: DemoLayer
    fleet: Fleet
    load: Load
    memory: Memory


@asynccontextmanager
async def _scene(plan: StormPlan, folder: Path, broker: str) -> AsyncIterator[_Scene]:
    settings = Settings(
        broker=broker,
        embedded=plan.broker == "embedded",
        data_dir=folder / "data",
        port=choose_port("127.0.0.1", 0),
        replication_factor=plan.nodes,
    )
    os.environ["EXPORT_RANGE_BYTES"] = str(RANGE_BYTES)
    os.environ["EXPORT_REMOVAL_GRACE_S"] = str(GRACE_S)
    quieten_embedded_broker(settings)
    layer = await asyncio.to_thread(make_demo_layer, settings.layers_dir, settings.catalogue_dir)
    await create_topics(broker, Topics(""), replication_factor=plan.nodes)
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(receiving())
        witness = await stack.enter_async_context(witnessing(broker))
        producer = RecordProducer(broker, Codec.from_folder(), Topics(""))
        await producer.start()
        stack.push_async_callback(producer.stop)
        fleet = Fleet(settings, broker, plan.membership, _say)
        load = Load(fleet.url, producer, witness, receiver, random.Random(f"load-{plan.seed}"))
        try:
            await fleet.start()
            yield _Scene(settings, layer, fleet, load, Memory(fleet))
        finally:
            await fleet.stop()


async def _storm(plan: StormPlan, folder: Path) -> Storm:
    early = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, early.set)
    with _broker(plan, folder) as broker:
        async with _scene(plan, folder, broker) as scene:
            faults = Faults(
                scene.fleet,
                scene.settings.exports_dir,
                plan.membership,
                random.Random(f"moments-{plan.seed}"),
                _say,
            )
            _say(f"ready at {scene.fleet.url}, data in {folder}")
            began_s = time.monotonic()
            sampling = asyncio.create_task(scene.memory.watch())
            broken = await _rage(plan, scene.load, faults, early)
            await _settle(scene.load)
            lasted_s = time.monotonic() - began_s
            left = await _sweep(scene.settings.exports_dir)
            sampling.cancel()
            broken += [f"{name} did not stop in time" for name in await scene.fleet.stop()]
        return await _judge(plan, scene, faults, left, lasted_s, broken)


async def _rage(plan: StormPlan, load: Load, faults: Faults, early: asyncio.Event) -> list[str]:
    """Load and faults, until both have had their time or somebody has seen enough.

    Returns:
        What went wrong with them: a process that did not start again, for one.
    """
    over_s = time.monotonic() + 60 * plan.minutes

    async def deal() -> None:
        await faults.deal(plan_faults(plan))
        await asyncio.sleep(max(0.0, over_s - time.monotonic()))

    tasks = [asyncio.create_task(part) for part in (load.run(), deal(), early.wait())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    return [repr(error) for error in ended if isinstance(error, Exception)]


async def _settle(load: Load) -> None:
    _say(f"load and faults are over, {len(load.waiting())} requests wait")
    deadline_s = time.monotonic() + SETTLE_S
    while load.waiting() or load.uncalled():
        if time.monotonic() > deadline_s:
            return
        await asyncio.sleep(LOOK_S)


async def _sweep(exports_dir: Path) -> list[str]:
    """Wait until only packages are left; returns what else is there at the deadline."""
    deadline_s = time.monotonic() + SWEEP_S
    while True:
        left = await asyncio.to_thread(leftovers, exports_dir)
        if not left or time.monotonic() > deadline_s:
            return [str(path.relative_to(exports_dir)) for path in left]
        await asyncio.sleep(1)


async def _judge(
    plan: StormPlan,
    scene: _Scene,
    faults: Faults,
    left: list[str],
    lasted_s: float,
    broken: list[str],
) -> Storm:
    load = scene.load
    _say("checking every result and every package")
    source = await asyncio.to_thread(SourceTiles(scene.layer.tiles_dir).load)
    checks = Checks(load.asked, load.witness, load.receiver, source, scene.settings.exports_dir)
    findings = await asyncio.to_thread(checks.run)
    findings.wrong += broken
    findings.left += still_running(scene.settings.data_dir)
    findings.left += left
    return Storm(
        plan=plan,
        lasted_s=lasted_s,
        blows=faults.blows,
        asked=load.asked,
        witness=load.witness,
        receiver=load.receiver,
        endings=scene.fleet.endings,
        memory=dict(scene.memory.most),
        events=loud_events(scene.fleet.run_dir),
        leftovers=left,
        findings=findings,
    )


if __name__ == "__main__":
    sys.exit(main())
