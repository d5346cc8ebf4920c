"""The report of a storm, in Markdown, and its closing line."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from tests.fault.storm.checks import Findings
from tests.fault.storm.faults import Blow
from tests.fault.storm.figures import Recovery, recoveries, share
from tests.fault.storm.fleet import Ending
from tests.fault.storm.load import Asked
from tests.fault.storm.plan import StormPlan
from tests.fault.storm.receiver import Receiver
from tests.fault.storm.witness import Witness

MB: Final = 1_000_000
TOLD: Final = 40


@dataclass(frozen=True)
class Storm:
    """Everything that a storm has left to tell.

    Attributes:
        plan: What was asked for.
        lasted_s: From the first request until everything was settled, seconds.
        blows: Faults that happened.
        asked: Requests.
        witness: Results.
        receiver: Webhooks.
        endings: Lives of processes that ended.
        memory: Largest RSS by kind of process, bytes.
        events: Log lines from warnings on.
        leftovers: Files in the exports folder that are no package.
        findings: Breaches.
    """

    plan: StormPlan
    lasted_s: float
    blows: Sequence[Blow]
    asked: Sequence[Asked]
    witness: Witness
    receiver: Receiver
    endings: Sequence[Ending]
    memory: dict[str, int]
    events: Counter[str]
    leftovers: Sequence[str]
    findings: Findings

    @property
    def kills(self) -> int:
        """SIGKILLs."""
        return sum(blow.kind.startswith("kill") for blow in self.blows)

    @cached_property
    def recoveries(self) -> list[Recovery]:
        """What each fault cost, worst first."""
        return recoveries(self.blows, self.asked, self.witness.arrived_s)

    @property
    def waits_s(self) -> list[float]:
        """From request to result, ascending, seconds; of accepted requests that were answered."""
        arrived = self.witness.arrived_s
        return sorted(
            arrived[asked.request_id] - asked.asked_s
            for asked in self.asked
            if asked.fate == "accepted" and asked.request_id in arrived
        )


def closing_line(storm: Storm) -> str:
    """One line that says it all."""
    findings = storm.findings
    verdict = "every promise was kept" if findings.is_sound else "PROMISES WERE BROKEN"
    return (
        f"storm: {storm.kills} kills, {len(storm.witness.exports)} exports, "
        f"{_fates(storm)['accepted']} requests, {len(findings.lost)} lost, "
        f"{len(findings.doubled)} doubled, {len(findings.wrong)} wrong, "
        f"{len(findings.left)} left over, slowest recovery "
        f"{storm.recoveries[0].all_s if storm.blows else 0:.1f} s: {verdict}"
    )


def markdown(storm: Storm) -> str:
    """The whole report."""
    plan = storm.plan
    nodes = f", {plan.nodes} node(s)" if plan.broker == "kafka" else ""
    lines = [
        f"# Storm on {plan.broker}{nodes}, {plan.membership} membership, seed {plan.seed}",
        "",
        closing_line(storm),
        "",
        *_table(("figure", "value"), [*_faults(storm), *_requests(storm), *_times(storm)]),
        "",
        "## Slowest recoveries",
        "",
        *_table(
            ("fault", "process", "next result, s", "last result of what was open, s"),
            [
                (it.blow.kind, it.blow.victim, f"{it.next_s:.1f}", f"{it.all_s:.1f}")
                for it in storm.recoveries[:8]
            ],
        ),
        "",
        "## Slowest requests",
        "",
        *_table(("request", "by", "export and package", "request to result, s"), _slowest(storm)),
        "",
        "## Log lines from warnings on",
        "",
        *_table(("event", "count"), storm.events.most_common(TOLD)),
    ]
    for name in ("lost", "doubled", "wrong", "left"):
        found = getattr(storm.findings, name)
        if found:
            lines += ["", f"## {name} ({len(found)})", "", *(f"- {it}" for it in found[:TOLD])]
    return "\n".join(lines) + "\n"


def _faults(storm: Storm) -> list[tuple[str, object]]:
    kinds = Counter(f"{blow.kind}, {blow.victim.split('-')[0]}" for blow in storm.blows)
    own = Counter(
        f"{ending.name} with status {ending.status}" for ending in storm.endings if not ending.by_us
    )
    unclean = Counter(
        f"{ending.name} with status {ending.status}"
        for ending in storm.endings
        if ending.by_us and ending.status not in (0, -9)
    )
    return [
        ("kills (SIGKILL)", storm.kills),
        *sorted(kinds.items()),
        ("ended by themselves", _told(own)),
        ("ended with another status than 0 after SIGTERM", _told(unclean)),
    ]


def _requests(storm: Storm) -> list[tuple[str, object]]:
    fates = _fates(storm)
    values = storm.witness.values.values()
    resent = sum(len(bodies) - 1 for bodies in storm.receiver.bodies.values())
    known = {asked.request_id for asked in storm.asked if asked.fate == "accepted"}
    notes = Counter(asked.note[:60] for asked in storm.asked if asked.fate != "accepted")
    return [
        ("requests accepted", fates["accepted"]),
        ("of these straight to Kafka", sum(a.by == "kafka" for a in storm.asked)),
        ("requests refused while the ingress was down", fates["refused"]),
        ("requests whose answer was lost", fates["unknown"]),
        ("why not accepted", _told(notes)),
        ("results", len(storm.witness.values)),
        ("results under ids that no caller was told", len(storm.witness.values.keys() - known)),
        ("exports", len(storm.witness.exports)),
        ("result records equal to one before them", sum(len(v) - len(set(v)) for v in values)),
        ("requests lost", len(storm.findings.lost)),
        ("requests with different results", len(storm.findings.doubled)),
        ("wrong", len(storm.findings.wrong)),
        ("webhooks called", len(storm.receiver.bodies)),
        ("webhook calls repeated", resent),
        ("files left over", _told(Counter(name.rsplit(".", 1)[-1] for name in storm.leftovers))),
    ]


def _times(storm: Storm) -> list[tuple[str, object]]:
    waits_s = storm.waits_s
    next_s = max((recovery.next_s for recovery in storm.recoveries), default=0.0)
    all_s = max((recovery.all_s for recovery in storm.recoveries), default=0.0)
    return [
        ("lasted, s", f"{storm.lasted_s:.0f}"),
        ("longest from a fault to the next result, s", f"{next_s:.1f}"),
        ("longest from a fault to the last result of what was open then, s", f"{all_s:.1f}"),
        ("request to result p50, s", f"{share(waits_s, 50):.2f}"),
        ("request to result p95, s", f"{share(waits_s, 95):.2f}"),
        ("request to result longest, s", f"{waits_s[-1] if waits_s else 0:.1f}"),
        *(
            (f"memory of {kind} at most, MB", f"{rss / MB:.0f}")
            for kind, rss in sorted(storm.memory.items())
        ),
    ]


def _slowest(storm: Storm) -> list[tuple[object, ...]]:
    arrived = storm.witness.arrived_s
    waits = [
        (arrived[asked.request_id] - asked.asked_s, asked)
        for asked in storm.asked
        if asked.fate == "accepted" and asked.request_id in arrived
    ]
    rows: list[tuple[object, ...]] = []
    for wait_s, asked in sorted(waits, key=lambda pair: pair[0], reverse=True)[:8]:
        result = storm.witness.result(str(asked.request_id))
        package = result.file_uri.rsplit("/", 3)[1:3] if result is not None else []
        rows.append((asked.request_id, asked.by, "/".join(package), f"{wait_s:.1f}"))
    return rows


def _fates(storm: Storm) -> Counter[str]:
    return Counter(asked.fate for asked in storm.asked)


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in counts.most_common()) or "none"


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return [f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines]
