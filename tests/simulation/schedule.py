"""What happens in one run: who asks for what and when, and which faults strike when."""

from dataclasses import dataclass, replace
from random import Random

from app.domain.client_limits import ClientLimits

START_MS = 1_700_000_000_000

PACKAGE_MS = 30 * 24 * 3600 * 1000

MOMENTS_PER_REQUEST = 110
"""About as many moments does a request take without faults; a moment is a place to die at."""

KINDS = (
    ("kill", 6),
    ("freeze", 5),
    ("unconfirmed", 2),
    ("duplicate", 3),
    ("lose", 3),
    ("stall", 2),
    ("shard", 2),
    ("source", 1),
    ("slow", 1),
    ("webhook", 2),
    ("disk-full", 1),
    ("gone", 2),
    ("echo", 4),
    ("storm", 2),
    ("catalogue", 1),
    ("rebalance", 2),
)
"""Faults and how often each is drawn, in shares."""

COMMANDS = ("extend", "pin", "unpin", "unpin", "delete", "delete", "redeliver")

COUNTS = (1, 2, 6)
STORMS_MS = (300, 1_500, 4_000)
WAITS_MS = (300, 4_000, 15_000, 60_000)

LONG_ASSEMBLY_MS = 40_000
"""Then the ingress has forgotten the request when its export ends."""

NO_LIMITS = ClientLimits()

_DRAWN = tuple(kind for kind, share in KINDS for _ in range(share))


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        moment: It strikes when so many places to die at have been passed.
        kind: What happens, see `KINDS`; kill and freeze hit whoever passes that place.
        size: How long, ms, or how often; its meaning depends on the kind.
    """

    moment: int
    kind: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class Asking:
    """One request that a caller publishes.

    Attributes:
        after_ms: When, after the start.
        request_id: The request.
        area: Which of the areas.
        client: Who asks.
        via_http: Through the ingress, so that a repeat is an alias.
        urls: Webhooks.
        priority: Of the request.
        cancelled_after_ms: When its caller cancels it, after the start; None: never.
        cancelled_by: Who cancels it; None: who asked.
        retry_of: The request that it tries again.
    """

    after_ms: int
    request_id: str
    area: int
    client: str = "anonymous"
    via_http: bool = False
    urls: tuple[str, ...] = ()
    priority: int = 1000
    cancelled_after_ms: int | None = None
    cancelled_by: str | None = None
    retry_of: str | None = None


@dataclass(frozen=True, slots=True)
class Ordering:
    """One command that somebody publishes, other than an asking's own cancel.

    Attributes:
        after_ms: When, after the start.
        request_id: The request that it names.
        command: extend, pin, unpin, delete or redeliver.
        client: Who orders.
        argument: Of redeliver the address; of extend the time, ms after the start.
        by_administrator: Whether the client may order everything.
    """

    after_ms: int
    request_id: str
    command: str
    client: str = "anonymous"
    argument: str | None = None
    by_administrator: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that one run depends on: two runs of equal schedules are equal.

    Attributes:
        seed: Seeds latencies, answers, partitions: whatever the other fields do not say.
        askings: The requests.
        faults: The faults, by moment.
        lease_ms: The planner's lease; a short one fires while the work still goes on.
        assembly_ms: How long merging and hashing take at most, each.
        max_running: Exports that run at once.
        capacity_bytes: Size of the disk.
        package_ms: How long a package is offered.
        orders: The commands.
        limits: Of each client.
    """

    seed: int
    askings: tuple[Asking, ...]
    faults: tuple[Fault, ...] = ()
    lease_ms: int = 120_000
    assembly_ms: int = 200
    max_running: int = 8
    capacity_bytes: int = 10**12
    package_ms: int = PACKAGE_MS
    orders: tuple[Ordering, ...] = ()
    limits: ClientLimits = NO_LIMITS

    def has_only(self, *kinds: str) -> bool:
        """Whether no fault but of these kinds strikes."""
        return all(fault.kind in kinds for fault in self.faults)

    def size_of(self, kind: str) -> int:
        """Sum of the sizes of a kind of faults."""
        return sum(fault.size for fault in self.faults if fault.kind == kind)

    def count_of(self, kind: str) -> int:
        """Number of faults of a kind."""
        return sum(fault.kind == kind for fault in self.faults)

    @classmethod
    def of_seed(cls, seed: int, *, tail_loss: bool = False) -> "Schedule":
        """Draw a schedule; `tail_loss` adds a broker that forgets its last records."""
        rng = Random(seed)
        askings = _askings(rng)
        moments = MOMENTS_PER_REQUEST * len(askings)
        faults = [_fault(rng, moments) for _ in range(rng.choice((0, 1, 2, 2, 3, 3, 4, 5, 7)))]
        theme = rng.random()
        if theme < 0.15:
            askings, faults = _again(rng, askings, faults)
        elif theme < 0.3:
            askings, faults = _repeat(rng, askings, faults)
        elif theme < 0.4:
            askings, faults = _retry(rng, askings, faults)
        if tail_loss:
            faults += [Fault(rng.randrange(moments), "tail")]
        late = Random(f"end of {seed}")
        is_late = tail_loss and late.random() < 0.2
        if is_late:
            faults[-1] = Fault(late.randrange(moments, 3 * moments), "tail")
        drawn = cls(
            seed=seed,
            askings=askings,
            faults=tuple(sorted(faults, key=lambda fault: (fault.moment, fault.kind, fault.size))),
            lease_ms=rng.choice((120_000, 30_000, 30_000, 8_000, 1_500)),
            assembly_ms=rng.choice((200, 200, 3_000, 9_000)),
            max_running=rng.choice((8, 8, 1)),
            capacity_bytes=10**12 if rng.random() < 0.9 else 64 * 1024 * 1024 + 500_000,
        )
        if is_late:
            drawn = replace(drawn, assembly_ms=LONG_ASSEMBLY_MS)
        return replace(
            drawn,
            askings=tuple(_with_cancel(rng, asking) for asking in askings),
            package_ms=rng.choice((PACKAGE_MS, PACKAGE_MS, 90_000)),
            orders=_orders(Random(f"orders of {seed}"), askings),
            limits=_limits(Random(f"limits of {seed}")),
        )


def _again(
    rng: Random, askings: tuple[Asking, ...], faults: list[Fault]
) -> tuple[tuple[Asking, ...], list[Fault]]:
    """An export that fails at once and is asked for again while its records are still about."""
    first = replace(askings[0], after_ms=0, area=rng.choice((1, 2)))
    second = replace(
        first, after_ms=400 + rng.randrange(2_500), request_id="r9", client="b", urls=()
    )
    full = Fault(15 + rng.randrange(60), "disk-full", 300)
    late = [
        Fault(50 + rng.randrange(300), rng.choice(("echo", "duplicate", "stall")), 6)
        for _ in range(rng.randrange(4))
    ]
    late = [fault if fault.kind == "echo" else replace(fault, size=1_000) for fault in late]
    return (first, second), [full, *late, *faults[:2]]


def _repeat(
    rng: Random, askings: tuple[Asking, ...], faults: list[Fault]
) -> tuple[tuple[Asking, ...], list[Fault]]:
    """A small export that somebody asks for twice over HTTP, and processes that die at the end."""
    first = replace(askings[0], after_ms=0, area=0, via_http=True, urls=("http://a",))
    second = replace(
        first, after_ms=rng.randrange(2_000), request_id="r9", urls=("http://a", "http://b")
    )
    late = [
        Fault(60 + rng.randrange(160), rng.choice(("kill", "kill", "freeze")), 15_000)
        for _ in range(rng.randrange(1, 4))
    ]
    return (first, second), [*late, *faults[:1]]


def _retry(
    rng: Random, askings: tuple[Asking, ...], faults: list[Fault]
) -> tuple[tuple[Asking, ...], list[Fault]]:
    """An export whose source fails until it fails, and that is asked for again after that."""
    first = replace(askings[0], after_ms=0, area=rng.choice((1, 2, 2)))
    second = replace(
        first, after_ms=87_000 + rng.randrange(30_000), request_id="r9", client="b", urls=()
    )
    if second.after_ms % 4 == 1:
        second = replace(second, client=first.client, retry_of=first.request_id)
    # Tiles of the same zooms: their sizes are known when the export is asked for again.
    other = Asking(after_ms=20_000, request_id="r8", area=3 - first.area, client="c")
    broken = Fault(20 + rng.randrange(60), "source", 20)
    late = [
        Fault(120 + rng.randrange(250), rng.choice(("kill", "kill", "freeze", "lose")), 15_000)
        for _ in range(rng.randrange(4))
    ]
    return (first, other, second), [broken, *late, *faults[:1]]


def _with_cancel(rng: Random, asking: Asking) -> Asking:
    """One request in six is cancelled, at any moment, sometimes before it comes or by another."""
    if rng.random() > 0.16:
        return asking
    after_ms = max(0, asking.after_ms + rng.choice((-10, 5, 60, rng.randrange(3_000))))
    by = "somebody else" if rng.random() < 0.1 else None
    return replace(asking, cancelled_after_ms=after_ms, cancelled_by=by)


def _limits(rng: Random) -> ClientLimits:
    """One run in ten has limits that it may reach."""
    if rng.random() > 0.1:
        return NO_LIMITS
    return ClientLimits(
        max_requests_per_minute=rng.choice((None, 1, 2)),
        max_live_exports=rng.choice((None, 1, 1)),
        max_export_bytes=rng.choice((None, 200_000)),
    )


def _orders(rng: Random, askings: tuple[Asking, ...]) -> tuple[Ordering, ...]:
    """In one run of three, up to four commands, at any moment of a package's life."""
    if rng.random() > 0.35:
        return ()
    if len(askings) > 1 and rng.random() < 0.3:
        return _dispute(rng, *rng.sample(askings, 2))
    orders = []
    for _ in range(rng.choice((1, 1, 2, 3, 4))):
        asking = rng.choice(askings)
        command = rng.choice(COMMANDS)
        until_ms = str(rng.choice((30_000, 150_000, 400_000, 10**12)))
        argument = {"extend": until_ms, "redeliver": rng.choice(("http://a", "http://c"))}
        orders.append(
            Ordering(
                after_ms=asking.after_ms + rng.choice((5, rng.randrange(5_000), 80_000)),
                request_id=asking.request_id,
                command=command,
                client="somebody else" if rng.random() < 0.2 else asking.client,
                argument=argument.get(command),
                by_administrator=rng.random() < 0.1,
            )
        )
    return tuple(sorted(orders, key=lambda order: order.after_ms))


def _dispute(rng: Random, one: Asking, other: Asking) -> tuple[Ordering, ...]:
    """Two who may hold the same package do not want the same of it."""
    after_ms = max(one.after_ms, other.after_ms) + rng.randrange(3_000, 40_000)
    against = rng.choice(("unpin", "delete"))
    return (
        Ordering(after_ms, one.request_id, "pin", one.client),
        Ordering(after_ms + 2_000, other.request_id, against, other.client),
    )


def _askings(rng: Random) -> tuple[Asking, ...]:
    askings: list[Asking] = []
    for number in range(rng.choice((1, 1, 2, 2, 3, 3))):
        after_ms = rng.choice((0, 20, rng.randrange(3_000), 62_000 + rng.randrange(100_000)))
        same = askings and rng.random() < 0.7
        area = askings[0].area if same else rng.choice((0, 0, 1, 1, 1, 2, 2, 3, 4))
        asking = Asking(
            after_ms=after_ms,
            request_id=f"r{number + 1}",
            area=area,
            client=rng.choice(("anonymous", "anonymous", "b")),
            via_http=rng.random() < 0.6,
            urls=rng.choice(((), ("http://a",), ("http://b",), ("http://a", "http://b"))),
            priority=rng.choice((1000, 1000, 5000)),
        )
        askings.append(asking)
    if rng.random() < 0.1:  # the same id again: the same request, or another body
        first = askings[0]
        again_ms = first.after_ms + rng.randrange(60_000)
        priority = first.priority + rng.choice((0, 0, 1))
        askings.append(
            Asking(
                again_ms,
                first.request_id,
                first.area,
                first.client,
                first.via_http,
                first.urls,
                priority,
            )
        )
    return tuple(askings)


def _fault(rng: Random, moments: int) -> Fault:
    kind = rng.choice(_DRAWN)
    moment = int(rng.random() * moments)
    if kind in ("source", "webhook", "echo"):
        sizes = COUNTS
    else:
        sizes = STORMS_MS if kind == "storm" else WAITS_MS
    return Fault(moment, kind, rng.choice(sizes))
