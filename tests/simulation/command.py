"""The command `scripts/simulate`: many seeds, one seed with its trace, or a run that goes on."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tests.simulation.mutations import MUTATIONS
from tests.simulation.schedule import Schedule
from tests.simulation.search import Failure, Stage, told

BATCH = 250
"""Seeds between two looks at the clock and two entries in the resume file."""


@dataclass(slots=True)
class Tally:
    """How far a long run is.

    Attributes:
        next_seed: Every seed below it has been played.
        failed: Seeds that broke a promise.
        took_s: Time that it took so far, seconds.
    """

    next_seed: int = 0
    failed: list[int] = field(default_factory=list)
    took_s: float = 0.0

    @classmethod
    def load(cls, path: Path | None, first_seed: int) -> "Tally":
        """Go on from a file, or begin."""
        if path is not None and path.exists():
            return cls(**json.loads(path.read_text()))
        return cls(first_seed)

    def save(self, path: Path | None) -> None:
        """Keep it; whole, or as it was."""
        if path is not None:
            written = path.with_suffix(f"{path.suffix}.new")
            written.write_text(json.dumps(asdict(self)))
            written.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit status, 1 when a promise was broken."""
    options = _parser().parse_args(arguments)
    if options.mutations:
        return _mutations(options.seeds)
    if options.seed is not None:
        return _one(options.seed, traced=options.trace, tail_loss=options.tail_loss)
    return _many(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many seeds to play")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=1, help="processes that play them")
    parser.add_argument("--resume", type=Path, help="file that says where to go on")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a failure")
    parser.add_argument("--seed", type=int, help="play one seed")
    parser.add_argument("--trace", action="store_true", help="with --seed: print every step")
    parser.add_argument(
        "--tail-loss", action="store_true", help="the broker loses its last records, too"
    )
    parser.add_argument(
        "--mutations", action="store_true", help="count the seeds that catch each mistake"
    )
    return parser


def _one(seed: int, *, traced: bool, tail_loss: bool) -> int:
    trace: list[str] | None = [] if traced else None
    schedule = Schedule.of_seed(seed, tail_loss=tail_loss)
    print(told(schedule))  # noqa: T201 - it is a command
    failure = Stage().play(schedule, trace)
    print(*(trace or ()), sep="\n")  # noqa: T201 - as above
    print(failure.message if failure is not None else "every promise was kept")  # noqa: T201 - as above
    return int(failure is not None)


def _many(options: argparse.Namespace) -> int:
    tally = Tally.load(options.resume, options.first)
    end = options.first + options.seeds
    play = partial(_play, tail_loss=options.tail_loss)
    started_s, before_s = time.monotonic(), tally.took_s
    try:
        for batch, failed in _played(_batches(tally.next_seed, end), play, options.jobs):
            tally.next_seed = batch.stop
            tally.failed += failed
            tally.took_s = before_s + time.monotonic() - started_s
            tally.save(options.resume)
            rate = (tally.next_seed - options.first) / max(0.001, tally.took_s)
            line = f"\r{tally.next_seed - options.first} seeds, {rate:.0f} a second, "
            print(f"{line}{len(tally.failed)} failed ", end="", file=sys.stderr, flush=True)  # noqa: T201 - as above
            if failed and not options.keep_going:
                break
    except KeyboardInterrupt:
        pass
    print(file=sys.stderr)  # noqa: T201 - as above
    for seed in tally.failed[:3]:
        _explain(seed, tail_loss=options.tail_loss)
    played = tally.next_seed - options.first
    print(f"{played} seeds, {len(tally.failed)} failed: {tally.failed[:20]}")  # noqa: T201 - as above
    return int(bool(tally.failed))


def _batches(first: int, end: int) -> Iterator[range]:
    return (range(start, min(start + BATCH, end)) for start in range(first, end, BATCH))


def _play(seeds: range, *, tail_loss: bool) -> list[int]:
    stage = Stage()
    played = ((seed, stage.play(Schedule.of_seed(seed, tail_loss=tail_loss))) for seed in seeds)
    return [seed for seed, failure in played if failure is not None]


def _played(
    batches: Iterator[range], play: Callable[[range], list[int]], jobs: int
) -> Iterator[tuple[range, list[int]]]:
    """Play batches, in order; several processes keep only a few of them in hand."""
    if jobs == 1:
        for batch in batches:
            yield batch, play(batch)
        return
    with ProcessPoolExecutor(jobs) as pool:
        in_hand: list[tuple[range, Any]] = [
            (batch, pool.submit(play, batch)) for batch in islice(batches, 2 * jobs)
        ]
        while in_hand:
            batch, future = in_hand.pop(0)
            yield batch, future.result()
            in_hand += [(batch, pool.submit(play, batch)) for batch in islice(batches, 1)]


def _explain(seed: int, *, tail_loss: bool) -> None:
    stage = Stage()
    failure = stage.play(Schedule.of_seed(seed, tail_loss=tail_loss))
    if failure is None:
        print(f"seed {seed} keeps every promise now")  # noqa: T201 - as above
        return
    print(explained(failure, stage))  # noqa: T201 - as above


def explained(failure: Failure, stage: Stage) -> str:
    """A failure as people read it: the schedule, the smallest one like it, and its trace."""
    small = stage.shrunk(failure)
    trace: list[str] = []
    stage.play(small.schedule, trace)
    return "\n".join(
        (
            f"{failure.message}\n{told(failure.schedule)}",
            f"replay: scripts/simulate --seed {failure.schedule.seed} --trace",
            f"shrunk: {small.message}\n{told(small.schedule)}",
            *trace,
        )
    )


def _mutations(seeds: int) -> int:
    missed = 0
    for mutation in MUTATIONS:
        caught = mutation.caught_within(range(seeds))
        missed += caught is None
        says = f"seed {caught.schedule.seed}: {caught.message[:80]}" if caught else "MISSED"
        print(f"{mutation.name:45} {says}", flush=True)  # noqa: T201 - as above
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
