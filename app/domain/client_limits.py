"""How much one client may ask for, before any work is done; shared by ingress and registrar."""

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

MINUTE_S: Final = 60

REFUSED_FOR_NOW: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INSUFFICIENT_STORAGE})
"""What the registrar refuses a sound request with that it may take in later."""


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Limits of each client; None: there is none."""

    max_requests_per_minute: int | None = None
    """Requests of a client within any minute, repeats and refusals of other kinds among them."""
    max_live_exports: int | None = None
    """Exports that wait or run because a client asked for them first, at a time."""
    max_export_bytes: int | None = None
    """Estimated size of one export, bytes."""


@dataclass(slots=True)
class RecentRequests:
    """The requests of the last minute, by client, each counted once however often it is noted.

    Times count in whole seconds. They may come in any order, as rows do at a recovery; what is a
    minute older than the newest is forgotten.

    >>> recent = RecentRequests()
    >>> for number in range(3):
    ...     recent.note(f"r{number}", "ann", 1_000 * number)
    >>> recent.count("ann", 2_000), recent.count("ann", 60_500), recent.count("bob", 0)
    (3, 2, 0)
    >>> recent.wait_s("ann", 60_500)
    1
    """

    _seconds: dict[int, dict[str, set[str]]] = field(default_factory=dict)
    """Second, client, requests."""
    _known: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Request to its second and client."""
    _newest_s: int = 0

    def note(self, request_id: str, client: str, at_ms: int) -> None:
        """Count a request, unless it is known or older than a minute."""
        at_s = at_ms // 1000
        if at_s > self._newest_s:
            self._newest_s = at_s
            self._forget(at_s)
        if request_id not in self._known and at_s > self._newest_s - MINUTE_S:
            self._known[request_id] = at_s, client
            self._seconds.setdefault(at_s, {}).setdefault(client, set()).add(request_id)

    def count(self, client: str, now_ms: int, *, besides: str = "") -> int:
        """Requests of a client within the minute before now, but for one."""
        self._forget(now_ms // 1000)
        count = sum(len(clients.get(client, ())) for clients in self._seconds.values())
        _, whose = self._known.get(besides, (0, None))
        return count - (whose == client)

    def wait_s(self, client: str, now_ms: int) -> int:
        """When the oldest request of a client is a minute old, seconds from now, at least 1."""
        seconds = (at_s for at_s, clients in self._seconds.items() if client in clients)
        return max(1, min(seconds, default=0) + MINUTE_S - now_ms // 1000)

    def _forget(self, now_s: int) -> None:
        """Forget what is a minute old; there are never more than 60 seconds to look at."""
        for at_s in [known for known in self._seconds if known <= now_s - MINUTE_S]:
            for requests in self._seconds.pop(at_s).values():
                for request_id in requests:
                    del self._known[request_id]


def too_many_requests(limits: ClientLimits, client: str, count: int) -> str | None:
    """Say why a client has to wait before its next request; None: it need not.

    Args:
        limits: Of each client.
        client: Who asks.
        count: Its requests within the last minute, without this one.
    """
    limit = limits.max_requests_per_minute
    if limit is None or count < limit:
        return None
    return (
        f"client {client!r:.80} has sent {count} requests within a minute; "
        f"max_requests_per_minute is {limit}"
    )


def too_many_exports(limits: ClientLimits, client: str, count: int) -> str | None:
    """Say why no further export is begun for a client; None: it is.

    Args:
        limits: Of each client.
        client: Who asks.
        count: Exports that wait or run for it, without this one.
    """
    limit = limits.max_live_exports
    if limit is None or count < limit:
        return None
    return (
        f"client {client!r:.80} has {count} exports that wait or run; "
        f"max_live_exports_per_client is {limit}"
    )


def too_large(limits: ClientLimits, estimated_bytes: int) -> str | None:
    """Say why an export is too large; None: it is not."""
    limit = limits.max_export_bytes
    if limit is None or estimated_bytes <= limit:
        return None
    return f"this export needs about {estimated_bytes} bytes; max_export_bytes is {limit}"
