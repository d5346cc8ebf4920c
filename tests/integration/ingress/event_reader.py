"""Reads server-sent events as a browser does: by the rules of the HTML standard, section 9.2.6."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
import orjson

from app.ingress.export_answers import ExportListed

DEADLINE_S = 120


@dataclass
class EventReader:
    """One stream: what it has told, and the id to resume with."""

    answer: aiohttp.ClientResponse
    last_id: str = ""
    exports: list[dict[str, Any]] = field(default_factory=list)
    comments: int = 0
    looked_at: int = 0

    async def read_block(self) -> dict[str, Any] | None:
        """Read up to the next empty line; returns the export if it was an event.

        Raises:
            EOFError: The stream is over.
        """
        fields: dict[str, str] = {}
        while line := (await self._line()).rstrip("\r\n"):
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
            else:
                self.comments += 1
        self.last_id = fields.get("id", self.last_id)
        if "data" not in fields:
            return None
        assert fields["event"] == "export"
        told = orjson.loads(fields["data"])
        ExportListed.model_validate(told)
        self.exports.append(told)
        return told

    async def _line(self) -> str:
        line = await self.answer.content.readuntil(b"\n")
        if not line.endswith(b"\n"):
            raise EOFError
        return line.decode()

    async def until(self, is_wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read until an export is told that is wanted, from the last wanted one on."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for told in self.exports[self.looked_at :]:
                    self.looked_at += 1
                    if is_wanted(told):
                        return told
                await self.read_block()

    async def until_status(self, request_id: str, status: str) -> dict[str, Any]:
        """Read until an export has some status."""
        wanted = (request_id, status)
        return await self.until(lambda told: (told["requestId"], told["status"]) == wanted)

    async def until_told(self, *request_ids: str) -> None:
        """Read until each of some exports has been told."""
        async with asyncio.timeout(DEADLINE_S):
            while not set(request_ids) <= {told["requestId"] for told in self.exports}:
                await self.read_block()

    async def until_id(self) -> Self:
        """Read until there is an id to resume with."""
        async with asyncio.timeout(DEADLINE_S):
            while not self.last_id or self.last_id.endswith("~"):
                await self.read_block()
        return self


@asynccontextmanager
async def listening(
    client: aiohttp.ClientSession, path: str = "/exports/events", last_id: str | None = None
) -> AsyncIterator[EventReader]:
    """Open a stream for the time of the block."""
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    async with client.get(path, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        yield EventReader(answer)
