"""The shards that this process is filling: one for each attempt, one writer at a time."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.domain.tile_tables import TileTables
from app.package.shard import Shard

IDLE_SHARDS = 16
"""Shards kept open between their ranges; each costs a file and up to 2 MB of cache."""

LOOK_EVERY_S = 1.0
"""How often the files of idle shards are looked for, s; a look costs a hop to a thread."""

AttemptKey = tuple[str, str]


@dataclass(slots=True)
class _Seat:
    """Place of one attempt's shard; `users` wait for it or have it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    shard: Shard | None = None
    users: int = 0


@dataclass(slots=True)
class OpenShards:
    """Hands out shards; all methods belong to the event loop, files are touched in threads.

    Attributes:
        owner: This process, unique per start, so that no two writers share a shard.
        folder_of: The folder of an attempt.
    """

    owner: str
    folder_of: Callable[[str, str], Path]
    _seats: OrderedDict[AttemptKey, _Seat] = field(default_factory=OrderedDict)
    _looked_at_s: float = 0.0

    @asynccontextmanager
    async def borrow(
        self, export_id: str, attempt: str, tables: TileTables
    ) -> AsyncIterator[Shard]:
        """Give the attempt's shard to one caller at a time; it is made when there is none.

        Whoever finds that the shard is lost calls `forget` and borrows again.
        """
        seat = self._seats.setdefault((export_id, attempt), _Seat())
        seat.users += 1
        try:
            async with seat.lock:
                if seat.shard is None:
                    seat.shard = await asyncio.to_thread(
                        Shard.create,
                        self.folder_of(export_id, attempt),
                        owner=self.owner,
                        tables=tables,
                    )
                yield seat.shard
        finally:
            seat.users -= 1
            if (export_id, attempt) in self._seats:
                self._seats.move_to_end((export_id, attempt))
            await self._close_idle()
            await self._close_gone()

    async def forget(self, export_id: str, attempt: str) -> None:
        """Close an attempt's shard; the file stays. The next to borrow gets a new one."""
        seat = self._seats.get((export_id, attempt))
        if seat is None:
            return
        async with seat.lock:
            shard, seat.shard = seat.shard, None
        if shard is not None:
            await asyncio.to_thread(shard.close)
        if not seat.users:
            self._seats.pop((export_id, attempt), None)

    async def close(self) -> None:
        """Close every shard."""
        for export_id, attempt in list(self._seats):
            await self.forget(export_id, attempt)

    async def _close_idle(self) -> None:
        idle = [key for key, seat in self._seats.items() if not seat.users]
        for key in idle[: max(0, len(self._seats) - IDLE_SHARDS)]:
            await self._forget_idle(key)

    async def _close_gone(self) -> None:
        """Let go of shards whose file was published, removed or moved: we alone keep its space."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._looked_at_s + LOOK_EVERY_S:
            return
        self._looked_at_s = now_s
        idle = {key: seat.shard for key, seat in self._seats.items() if not seat.users}
        for key in await asyncio.to_thread(_gone, idle):
            await self._forget_idle(key)

    async def _forget_idle(self, key: AttemptKey) -> None:
        """Forget a shard, unless somebody has taken it meanwhile: nobody waits for their range."""
        seat = self._seats.get(key)
        if seat is not None and not seat.users:
            await self.forget(*key)


def _gone(shards: Mapping[AttemptKey, Shard | None]) -> list[AttemptKey]:
    return [key for key, shard in shards.items() if shard is not None and _is_gone(shard)]


def _is_gone(shard: Shard) -> bool:
    try:
        return shard.is_gone
    except OSError:  # a disk that does not answer: the next range finds out
        return False
