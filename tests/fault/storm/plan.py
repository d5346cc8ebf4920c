"""What a storm is made of, decided before it begins: which fault, at whom, after which pause."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

Broker = Literal["embedded", "kafka"]
Membership = Literal["static", "dynamic"]
Kind = Literal["kill", "kill in assembly", "rolling restart", "freeze"]

PROCESSES: Final = ("ingress", "coordinator-1", "coordinator-2", "worker-1", "worker-2")

GAP_S: Final = {"static": 6.0, "dynamic": 25.0}
"""Least time between two faults: a restart under a known name heals in 3 s, a session lasts 10 s
and the join after it some more; faster than that measures only the restarts."""

FREEZE_S: Final = {"static": 36.0, "dynamic": 16.0}
"""Longer than the session (30 s, 10 s): when the process wakes up, others have its partitions."""

ROLL_S: Final = 40.0
"""What a rolling restart of the five processes takes, about."""

SHARE_IN_ASSEMBLY: Final = 0.3
VICTIMS: Final = ("worker",) * 5 + ("coordinator",) * 4 + ("ingress",) * 2


class TooDense(ValueError):
    """More kills than the time has room for."""


@dataclass(frozen=True, slots=True)
class StormPlan:
    """What the person asked for.

    Attributes:
        minutes: How long faults come, minutes.
        kills: SIGKILLs in that time.
        broker: Which one the service runs on.
        membership: How its processes belong to their consumer groups.
        nodes: Of Apache Kafka.
        seed: Decides faults and load.
    """

    minutes: float = 3.0
    kills: int = 20
    broker: Broker = "embedded"
    membership: Membership = "static"
    nodes: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """One blow.

    Attributes:
        kind: What is done.
        victim: Name of the process; empty: all of them, or whoever assembles.
        pause_s: Time since the fault before it, seconds.
    """

    kind: Kind
    victim: str
    pause_s: float = field(compare=False)


def plan_faults(plan: StormPlan) -> list[Fault]:
    """Decide all faults of a storm; the same seed gives the same ones.

    Rolling restarts and freezes come besides the kills, about one each in five minutes, and are
    left out where the time has no room for them.

    Raises:
        TooDense: The kills alone are closer together than GAP_S.

    >>> sorted(fault.kind for fault in plan_faults(StormPlan(minutes=2, kills=2, seed=1)))
    ['freeze', 'kill', 'kill', 'rolling restart']
    >>> len(plan_faults(StormPlan(minutes=30, kills=200)))
    212
    """
    rng = random.Random(f"faults-{plan.seed}")
    gap_s, span_s = GAP_S[plan.membership], 60 * plan.minutes
    needed_s = plan.kills * gap_s
    if needed_s > span_s:
        raise TooDense(
            f"{plan.kills} kills {gap_s:g} s apart need {needed_s:g} s, there are {span_s:g}: "
            "faster than recovery measures only the restarts"
        )
    faults: list[tuple[Kind, str]] = [_kill(rng) for _ in range(plan.kills)]
    for kind, victim, lasts_s in _others(plan, rng):
        if needed_s + gap_s + lasts_s <= span_s:
            needed_s += gap_s + lasts_s
            faults.append((kind, victim))
    rng.shuffle(faults)
    shares = _shares(span_s - needed_s, len(faults), rng)
    return [
        Fault(kind, victim, gap_s + share_s)
        for (kind, victim), share_s in zip(faults, shares, strict=True)
    ]


def _kill(rng: random.Random) -> tuple[Kind, str]:
    if rng.random() < SHARE_IN_ASSEMBLY:
        return "kill in assembly", ""
    return "kill", _victim(rng, VICTIMS)


def _others(plan: StormPlan, rng: random.Random) -> list[tuple[Kind, str, float]]:
    rounds = max(1, round(plan.minutes / 5))
    freeze_s = FREEZE_S[plan.membership]
    pairs: list[list[tuple[Kind, str, float]]] = [
        [
            ("rolling restart", "", ROLL_S),
            ("freeze", _victim(rng, ("worker", "coordinator")), freeze_s),
        ]
        for _ in range(rounds)
    ]
    return list(itertools.chain.from_iterable(pairs))


def _victim(rng: random.Random, kinds: Sequence[str]) -> str:
    kind = rng.choice(kinds)
    return rng.choice([name for name in PROCESSES if name.startswith(kind)])


def _shares(whole_s: float, count: int, rng: random.Random) -> list[float]:
    """Cut a time into random pieces."""
    cuts = sorted(rng.uniform(0, whole_s) for _ in range(count))
    return [later - earlier for earlier, later in itertools.pairwise([0.0, *cuts])]
