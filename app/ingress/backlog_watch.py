"""Whether anybody still reads the records: an ingress takes none in that would grow too old."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from app.domain.errors import TemporaryFailure
from app.kafka.backlog import Waiting

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 30.0
HOUR_MS: Final = 3_600_000


@dataclass(slots=True)
class BacklogWatch:
    """Looks now and then how old the oldest unread record is (rule 17).

    A producer that repeats records of last month gives them their old times: a record counts when
    two looks have found it unread.

    Attributes:
        oldest_unread: The oldest one; None: all are read. Raises TemporaryFailure when nothing
            can be said, which counts as nothing new.
        limit_ms: A record that is older is not handled any more.
        now_ms: Wall clock, ms since 1970 UTC.
        too_old: Why none is accepted, for people; None: they are.
    """

    oldest_unread: Callable[[], Awaitable[Waiting | None]]
    limit_ms: int
    now_ms: Callable[[], int]
    too_old: str | None = None
    _seen: Waiting | None = None

    async def run(self) -> None:
        """Look until cancelled; a look that has begun is ended first.

        aiokafka leaves its connection open when its start is cancelled.
        """
        while True:
            looking = asyncio.create_task(self.look(), name="look at the backlog")
            try:
                await asyncio.shield(looking)
            except asyncio.CancelledError:
                while not looking.done():  # however often we are told: it ends within seconds
                    with suppress(asyncio.CancelledError):
                        await asyncio.wait([looking])
                raise
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Look once."""
        try:
            waiting = await self.oldest_unread()
        except TemporaryFailure as error:
            log.info("backlog_unknown", error=str(error))
            return
        seen, self._seen, self.too_old = self._seen, waiting, None
        if waiting is None or waiting != seen:
            return
        age_ms = self.now_ms() - waiting.at_ms
        if age_ms >= self.limit_ms:
            self.too_old = (
                f"a record of {waiting.topic} has waited for {age_ms / HOUR_MS:.1f} hours: nobody "
                f"reads it, and none is handled after {self.limit_ms / HOUR_MS:g} hours"
            )
            log.error("records_are_not_read", topic=waiting.topic, age_ms=age_ms)

    def check(self) -> None:
        """Accept no request that would wait behind such a backlog.

        Raises:
            TemporaryFailure: It would.
        """
        if self.too_old is not None:
            raise TemporaryFailure(self.too_old)
