#!/usr/bin/env python3
"""Put load on the whole service: 5,000 requests at once, 100 a second, and past a giant export.

    .venv/bin/python scripts/bench/load.py [--burst 5000] [--stream 100x60] [--giant-s 60]

Starts the service in a folder of its own (broker, ingress, coordinator, workers). Prints how the
requests were answered, when their results stood in export-finished, and how much memory each
process had meanwhile.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from loaded_service import (
    WORLD_TILES,
    Asked,
    Giant,
    Service,
    Up,
    burst,
    cancel,
    connected,
    pass_giant,
    start_giant,
    started,
    stream,
)


def percentile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def report(title: str, service: Service, asked: list[Asked]) -> None:
    """Print how a load was answered."""
    began_s = min(one.started_s for one in asked)
    statuses = Counter(one.status for one in asked)
    done = [
        (service.results[one.request_id][0], one)
        for one in asked
        if one.request_id in service.results
    ]
    failed = sum(not service.results[one.request_id][1].success for _, one in done)
    posts = [one.answered_s - one.started_s for one in asked]
    waits = [at_s - one.started_s for at_s, one in done]
    last_s = max((at_s for at_s, _ in done), default=began_s) - began_s
    last_answer_s = max(one.answered_s for one in asked) - began_s
    print(
        f"{title}: answered "
        + ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
        + f"; results {len(done)} of {statuses[200]}, {failed} of them failures\n"
        f"    last answer after {last_answer_s:.1f} s, last result after {last_s:.1f} s: "
        f"{len(done) / max(last_s, 0.001):.1f} a second\n"
        f"    POST p50 {percentile(posts, 0.5):.3f} s, p99 {percentile(posts, 0.99):.3f} s; "
        f"request to result p50 {percentile(waits, 0.5):.2f} s, "
        f"p99 {percentile(waits, 0.99):.2f} s",
        flush=True,
    )


async def measure_burst(service: Service, count: int, connections: int) -> None:
    with service.watching() as watch:
        asked = await burst(service, range(count), connections)
        await service.until_done(asked, 60 + count / 5)
    report(f"{count} at once over {connections} connections", service, asked)
    watch.report()


async def measure_stream(service: Service, first: int, per_s: float, seconds: float) -> None:
    count = int(per_s * seconds)
    with service.watching() as watch:
        asked = await stream(service, range(first, first + count), per_s)
        await service.until_done(asked, 60 + count / 5)
    report(f"{per_s:g} a second for {seconds:g} s", service, asked)
    watch.report()


async def measure_giant(service: Service, first: int, seconds: float, *, cancels: bool) -> None:
    with service.watching() as watch:
        giant = await start_giant(service)
        print(f"giant of {WORLD_TILES} tiles: first range {giant.first_range_s(service):.1f} s")
        took = await pass_giant(service, range(first, first + 20))
        print(
            f"    20 small ones beside it: p50 {statistics.median(took):.2f} s, "
            f"max {max(took):.2f} s; " + " ".join(f"{one:.2f}" for one in took)
        )
        await asyncio.sleep(max(0.0, giant.asked_s + seconds - time.perf_counter()))
        report_giant(service, giant)
        if cancels:
            await measure_cancel(service, giant)
    watch.report()


def report_giant(service: Service, giant: Giant) -> None:
    ranges = giant.ranges(service)
    tiles = sum(count for _, count in ranges)
    elapsed_s = ranges[-1][0] - giant.asked_s
    print(
        f"    {len(ranges)} ranges, {tiles} tiles in {elapsed_s:.0f} s: {tiles / elapsed_s:.0f} "
        f"tiles a second; largest range {max(count for _, count in ranges)} tiles, at most "
        f"{giant.plan(service).widest()} ranges outstanding"
    )


async def measure_cancel(service: Service, giant: Giant) -> None:
    cancelled_s = await cancel(service, giant)
    known = await service.until(lambda: giant.request_id in service.results, 60)
    result_s, status = float("nan"), "none"
    if known:
        at_s, result = service.results[giant.request_id]
        result_s, status = at_s - cancelled_s, result.status
    await asyncio.sleep(30)
    late = [at_s - cancelled_s for at_s, _ in giant.ranges(service) if at_s > cancelled_s]
    print(
        f"    cancelled: result {status} {result_s:.2f} s later; {len(late)} ranges written after "
        f"it, the last {max(late, default=0):.1f} s later"
    )


async def measure(up: Up, options: argparse.Namespace) -> None:
    per_s, seconds = map(float, options.stream.split("x"))
    async with connected(up) as service:
        if options.burst:
            await measure_burst(service, options.burst, options.connections)
        if per_s * seconds:
            await measure_stream(service, 100_000, per_s, seconds)
        if options.giant_s:
            await measure_giant(service, 1_000_000, options.giant_s, cancels=options.cancel)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--burst", type=int, default=5000, help="requests at once; 0: none")
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--stream", default="100x60", help="requests a second x seconds; 0x0: none")
    parser.add_argument("--giant-s", type=float, default=60, help="seconds of it; 0: none")
    parser.add_argument("--cancel", action="store_true", help="cancel the giant at the end")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--broker", help="host:port of another broker; default: the embedded one")
    parser.add_argument("--folder", type=Path, help="data folder; default: a temporary one")
    options = parser.parse_args()
    arguments = ["--workers", str(options.workers)]
    arguments += ["--broker", options.broker] if options.broker else []
    with tempfile.TemporaryDirectory(prefix="load-") as temporary:
        data_dir = (options.folder or Path(temporary)).resolve()
        with started(data_dir, arguments) as up:
            asyncio.run(measure(up, options))


if __name__ == "__main__":
    main()
