"""A stored file as answers: all of it, one range, or several ranges as parts; without copying.

The kernel sends the bytes from the file to the socket where it can (`sendfile`), so a download
costs the ingress neither memory nor time.
"""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final

from aiohttp import ETag, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import content_disposition_header

from app.ingress.byte_ranges import ByteRange

CONTENT_TYPES: Final = {
    ".gpkg": "application/geopackage+sqlite3",
    ".json": "application/json",
}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that can be downloaded.

    Attributes:
        path: Where it is.
        size_bytes: Its size.
        modified_at_s: When it was written, s since 1970 UTC, rounded up as aiohttp does.
        etag: Strong validator: changes when the bytes change.
    """

    path: Path
    size_bytes: int
    modified_at_s: int
    etag: str

    @property
    def content_type(self) -> str:
        """The media type of its bytes."""
        return CONTENT_TYPES[self.path.suffix]

    @property
    def headers(self) -> dict[str, str]:
        """What every answer about it tells."""
        return {
            hdrs.ETAG: f'"{self.etag}"',
            hdrs.CONTENT_TYPE: self.content_type,
            hdrs.CONTENT_DISPOSITION: content_disposition_header(
                "attachment", filename=self.path.name
            ),
            hdrs.CACHE_CONTROL: "private, no-cache",
            "X-Content-Type-Options": "nosniff",
        }


class WholeOrRange(web.FileResponse):
    """A file or one range of it; preconditions and range have been decided.

    aiohttp would make an ETag of time and size, and knows If-Range with a date only.
    """

    def __init__(self, stored: StoredFile, asked: ByteRange | None) -> None:
        """Prepare the answer; None: all of the file."""
        super().__init__(stored.path, headers=stored.headers)
        self._request_headers = {hdrs.RANGE: f"bytes={asked.first}-{asked.last}"} if asked else {}

    @property
    def etag(self) -> ETag | None:
        """The validator of the file's bytes."""
        return super().etag

    @etag.setter
    def etag(self, value: ETag | str | None) -> None:
        """Keep ours: this one is aiohttp's, of time and size."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the file, with no other header of the request than the range."""
        return await super().prepare(request.clone(headers=self._request_headers))


class SeveralRanges(web.StreamResponse):
    """Several ranges of a file as the parts of one answer.

    Source:
        RFC 9110, section 14.6 (multipart/byteranges).
    """

    def __init__(self, stored: StoredFile, ranges: Sequence[ByteRange]) -> None:
        """Prepare the answer; the parts come in the order of the ranges."""
        super().__init__(status=HTTPStatus.PARTIAL_CONTENT, headers=stored.headers)
        boundary = secrets.token_hex(16)
        self._path = stored.path
        self._parts = [
            (
                f"\r\n--{boundary}\r\n{hdrs.CONTENT_TYPE}: {stored.content_type}\r\n"
                f"{hdrs.CONTENT_RANGE}: {one.told(stored.size_bytes)}\r\n\r\n".encode(),
                one,
            )
            for one in ranges
        ]
        self._end = f"\r\n--{boundary}--\r\n".encode()
        self.headers[hdrs.CONTENT_TYPE] = f"multipart/byteranges; boundary={boundary}"
        self.headers[hdrs.ACCEPT_RANGES] = "bytes"
        self.last_modified = stored.modified_at_s
        sizes = (len(head) + one.size_bytes for head, one in self._parts)
        self.content_length = sum(sizes) + len(self._end)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the parts; a file that has gone meanwhile is a 404, as with one range."""
        try:
            file = await asyncio.to_thread(self._path.open, "rb")
        except FileNotFoundError:
            self.set_status(HTTPStatus.NOT_FOUND)
            self.content_length = 0
            return await super().prepare(request)
        try:
            writer = await super().prepare(request)
            if writer is not None:
                await self._send(writer, request, file)
            return writer
        finally:
            await asyncio.to_thread(file.close)

    async def _send(
        self, writer: AbstractStreamWriter, request: web.BaseRequest, file: BinaryIO
    ) -> None:
        loop = asyncio.get_running_loop()
        for head, one in self._parts:
            await writer.write(head)
            if request.transport is None:
                raise ConnectionResetError("the caller has gone")
            await loop.sendfile(request.transport, file, one.first, one.size_bytes)
        await writer.write(self._end)
        await self.write_eof()
