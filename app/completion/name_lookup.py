"""Look names up in threads of their own: a name server that hangs holds up its own names only."""

import asyncio
import errno
import socket
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class ThreadPerLookup(AbstractResolver):
    """The system's own look-up, so that its hosts file and search domains count.

    It cannot be stopped, and asyncio has but a few threads for it, which Kafka's client needs
    too: a handful of names whose server hangs would stop all look-ups of the process. Threads of
    their own are daemons, so that the process can end while they hang.
    """

    def __init__(self, most: int) -> None:
        """Allow so many look-ups at a time."""
        self._room = asyncio.Semaphore(most)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Find the addresses of a name.

        Raises:
            OSError: It has none, or no name server answers.
        """
        await self._room.acquire()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[Any]] = loop.create_future()

        def end(infos: list[Any] | None, error: Exception | None) -> None:
            self._room.release()
            if found.cancelled():
                return
            if error is None:
                found.set_result(infos or [])
            else:
                found.set_exception(error)

        def look_up() -> None:
            infos: list[Any] | None = None
            error: Exception | None = None
            try:
                infos = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
            except OSError as caught:
                error = caught
            except UnicodeError:
                error = OSError(errno.EINVAL, f"{host} is no name")
            with suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(partial(end, infos, error))

        Thread(target=look_up, name=f"look up {host:.40}", daemon=True).start()
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=address[1],
                family=kind,
                proto=protocol,
                flags=NUMERIC,
            )
            for kind, _, protocol, _, address in await found
        ]

    async def close(self) -> None:
        """There is nothing to close: threads end by themselves."""
