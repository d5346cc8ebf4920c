"""`GET /storage`: how much space there is, and how much of it is promised to running exports."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from app.domain.errors import StorageUnavailable
from app.domain.space import available_bytes
from app.ingress.json_answer import json_answer
from app.ingress.ports import PackageFiles

LOOK_TIMEOUT_S: Final = 2.0
"""How long an answer waits for the disk, as admission does."""
LOOK_AGE_S: Final = 1.0
"""An answer within this time of a look at the disk tells the same."""


@dataclass(frozen=True, slots=True)
class Space:
    """Space of the artifact store, bytes.

    Attributes:
        total: Size of the file system.
        free: What is not written yet.
        reserved: What live exports may still need of it, as the registrar counts it.
    """

    total: int
    free: int
    reserved: int

    @property
    def available(self) -> int:
        """What a new export may reserve, bytes."""
        return available_bytes(self.free, self.reserved)


class StorageGauge:
    """Looks at the disk, once for all who ask at once: one that hangs holds a single thread."""

    def __init__(self, files: PackageFiles, reserved_bytes: Callable[[], int]) -> None:
        """Remember whom to ask.

        Args:
            files: The artifact store.
            reserved_bytes: What live exports may still need, bytes.
        """
        self._files = files
        self._reserved_bytes = reserved_bytes
        self._look: asyncio.Task[tuple[int, int]] | None = None
        self._looked_at_s = float("-inf")

    async def space(self) -> Space:
        """Tell how much space there is.

        Raises:
            StorageUnavailable: The disk did not answer in time.
        """
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                total, free = await asyncio.shield(self._looking())
        except TimeoutError as error:
            raise StorageUnavailable(
                f"the artifact store did not answer within {LOOK_TIMEOUT_S:g} s"
            ) from error
        return Space(total, free, self._reserved_bytes())

    def _looking(self) -> asyncio.Task[tuple[int, int]]:
        now_s = asyncio.get_running_loop().time()
        look = self._look
        if look is None or (look.done() and not self._is_fresh(look, now_s)):
            look = asyncio.create_task(asyncio.to_thread(self._ask), name="look at the disk")
            self._look = look
            self._looked_at_s = now_s
        return look

    def _is_fresh(self, look: asyncio.Task[tuple[int, int]], now_s: float) -> bool:
        return look.exception() is None and now_s - self._looked_at_s < LOOK_AGE_S

    def _ask(self) -> tuple[int, int]:
        return self._files.total_bytes(), self._files.free_bytes()


@dataclass(frozen=True, slots=True)
class StorageDesk:
    """Tells callers of the space.

    Attributes:
        gauge: Looks at the disk.
    """

    gauge: StorageGauge

    def routes(self) -> list[web.RouteDef]:
        """The route that this answers."""
        return [web.get("/storage", self.show, allow_head=False)]

    async def show(self, _request: web.Request) -> web.Response:
        """`GET /storage`: total, free, reserved and available space."""
        space = await self.gauge.space()
        return json_answer(
            {
                "totalBytes": space.total,
                "freeBytes": space.free,
                "reservedBytes": space.reserved,
                "availableBytes": space.available,
            }
        )
