"""Whether anybody still reads the requests: an ingress takes none in that would grow too old."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from app.domain.errors import TemporaryFailure

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 30.0


@dataclass(slots=True)
class BacklogWatch:
    """Looks now and then how old the oldest unread request is (rule 17).

    Attributes:
        oldest_unread_at_ms: When that was sent, ms since 1970 UTC; None: all are read. Raises
            TemporaryFailure when nothing can be said, which counts as nothing wrong.
        limit_ms: A request that is older is not handled any more.
        now_ms: Wall clock, ms since 1970 UTC.
        too_old: Why none is accepted, for people; None: they are.
    """

    oldest_unread_at_ms: Callable[[], Awaitable[int | None]]
    limit_ms: int
    now_ms: Callable[[], int]
    too_old: str | None = None

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Look once."""
        try:
            oldest_ms = await self.oldest_unread_at_ms()
        except TemporaryFailure as error:
            log.info("backlog_unknown", error=str(error))
            return
        age_ms = 0 if oldest_ms is None else self.now_ms() - oldest_ms
        self.too_old = None
        if age_ms >= self.limit_ms:
            self.too_old = (
                f"a request has waited for {age_ms / 3_600_000:.1f} hours: nobody reads "
                f"requests, and none is handled after {self.limit_ms / 3_600_000:g} hours"
            )
            log.error("requests_are_not_read", age_ms=age_ms)

    def check(self) -> None:
        """Accept no request that would wait behind such a backlog.

        Raises:
            TemporaryFailure: It would.
        """
        if self.too_old is not None:
            raise TemporaryFailure(self.too_old)
