"""Remove what nobody orders to be removed: leftovers beside packages, folders known to nobody."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from app.domain.errors import StorageUnavailable

log = structlog.get_logger(__name__)

ORPHAN_S: Final = 8 * 24 * 3600
"""Records are kept for 7 days: a folder that nothing has touched for longer is in no record."""

LOOKS_A_GRACE: Final = 4
SHORTEST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 900.0


class Store(Protocol):
    """The artifact store, as far as it is swept; blocking calls."""

    def leftovers(self, now_s: float, *, grace_s: float, orphan_s: float) -> list[tuple[str, str]]:
        """Export and attempt of folders with leftovers. Raises StorageUnavailable."""

    def sweep_attempt(self, export_id: str, attempt: str) -> int:
        """Remove all but a published pair; returns bytes. Raises StorageUnavailable."""


@dataclass(slots=True)
class Sweeper:
    """The background task that sweeps; every worker has one, and they do not disturb each other.

    A late writer may make a shard in the folder of a package that is published, and an assembler
    may die before it has tidied up. An attempt that is over is removed by RemoveAttempt; what is
    left of one that no record names any more is found here. Packages are never swept.

    Attributes:
        store: Where the files are.
        grace_s: What lies beside a package for so long is a leftover, seconds.
        now_ms: Wall clock, ms since 1970 UTC.
    """

    store: Store
    grace_s: float
    now_ms: Callable[[], int]

    async def run(self) -> None:
        """Sweep until cancelled; may die at any line, the next look begins anew."""
        pause_s = min(max(self.grace_s / LOOKS_A_GRACE, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
        while True:
            # Not all workers at once.
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load only
            try:
                await asyncio.to_thread(self.sweep)
            except StorageUnavailable as error:
                log.warning("sweep_put_off", error=str(error))
            except Exception:
                # A folder that cannot be understood must not cost a worker that writes exports.
                log.exception("sweep_failed")

    def sweep(self) -> None:
        """Look once; blocks.

        Raises:
            StorageUnavailable: The disk does not answer.
        """
        now_s = self.now_ms() / 1000
        for export_id, attempt in self.store.leftovers(
            now_s, grace_s=self.grace_s, orphan_s=max(ORPHAN_S, self.grace_s)
        ):
            freed_bytes = self.store.sweep_attempt(export_id, attempt)
            log.info(
                "leftovers_swept", export_id=export_id, attempt=attempt, freed_bytes=freed_bytes
            )
