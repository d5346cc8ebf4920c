"""`POST /areas`: the polygons of a KML, a GeoPackage or a zipped shapefile, as GeoJSON."""

import asyncio
import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final

import structlog
from aiohttp import BodyPartReader, hdrs, web

from app.domain.errors import InvalidRequest, RequestTooLarge, TemporaryFailure
from app.ingress.area_reader import REFUSED
from app.ingress.request_body import body_deadline, read_body

log = structlog.get_logger(__name__)

MAX_FILE_BYTES: Final = 20_000_000
FILE_DEADLINE_S: Final = 600.0
"""How long the file may take to come: as many bytes a second as other bodies, and more."""
READ_TIMEOUT_S: Final = 15.0
MAX_READERS: Final = 2
"""Files read side by side: each may take a core and a gigabyte."""
TURN_TIMEOUT_S: Final = 10.0
READABLE: Final = "GeoJSON, KML, KMZ, GeoPackage and zipped shapefiles can be read"


class UnknownKind(InvalidRequest):
    """The file is of no kind that can be read."""

    http_status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


@dataclass(slots=True)
class AreaDesk:
    """Has files read by a process with limits on memory and time, a few at once."""

    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_READERS))

    def routes(self) -> list[web.RouteDef]:
        """The route that this answers."""
        return [web.post("/areas", self.read)]

    async def read(self, request: web.Request) -> web.Response:
        """`POST /areas`: the file as the body, or as the first part of a form."""
        content = await _content_of(request)
        kind = kind_of(content)
        try:
            async with asyncio.timeout(TURN_TIMEOUT_S):
                await self._turns.acquire()
        except TimeoutError as error:
            raise TemporaryFailure("too many files are being read; try again shortly") from error
        try:
            geometry = await _read_apart(content, kind)
        finally:
            self._turns.release()
        return web.Response(
            body=geometry,
            content_type="application/geo+json",
            headers={hdrs.CACHE_CONTROL: "no-store"},
        )


def kind_of(content: bytes) -> str:
    """Tell by the first bytes what a file is, whatever its name says.

    Raises:
        UnknownKind: None of those that can be read.

    >>> kind_of(b"SQLite format 3" + bytes(100))
    '.gpkg'
    """
    if content.startswith(b"PK\x03\x04"):
        return "zip"
    if content.startswith(b"SQLite format 3\0"):
        return ".gpkg"
    start = content[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<") and b"<kml" in start:
        return ".kml"
    if start.startswith(b"{"):
        return ".geojson"
    raise UnknownKind(f"the file begins with {content[:8]!r}; {READABLE}")


async def _content_of(request: web.Request) -> bytes:
    if not request.content_type.startswith("multipart/"):
        return await read_body(request, max_bytes=MAX_FILE_BYTES, deadline_s=FILE_DEADLINE_S)
    async with body_deadline(FILE_DEADLINE_S):
        return await _file_of_form(request)


async def _file_of_form(request: web.Request) -> bytes:
    try:
        part = await (await request.multipart()).next()
        if not isinstance(part, BodyPartReader):
            raise InvalidRequest("body is a form without a file")
        content = bytearray()
        while chunk := await part.read_chunk():
            content += chunk
            if len(content) > MAX_FILE_BYTES:
                raise RequestTooLarge(f"the file has more than {MAX_FILE_BYTES} bytes")
    except (ValueError, web.RequestPayloadError) as error:
        raise InvalidRequest(f"body is no form: {error}") from error
    return bytes(content)


async def _read_apart(content: bytes, kind: str) -> bytes:
    """Have the file read by a process of its own.

    Raises:
        InvalidRequest: It holds no area that can be read, or reading it took too long.
    """
    suffix = ".zip" if kind == "zip" else kind
    path = await asyncio.to_thread(_store, content, suffix)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "app.ingress.area_reader", str(path), kind),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=_environment(),
        )
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                told, _ = await process.communicate()
        except TimeoutError as error:
            raise InvalidRequest(
                f"the file took longer than {READ_TIMEOUT_S:g} s to read; simplify it"
            ) from error
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)
    if process.returncode == 0:
        return told
    if process.returncode == REFUSED:
        raise InvalidRequest(f"the file has no area: {told.decode()}")
    log.warning("area_reader_died", kind=kind, status=process.returncode, file_bytes=len(content))
    raise InvalidRequest("the file cannot be read; it is broken, or too large to be an area")


def _store(content: bytes, suffix: str) -> Path:
    file, name = tempfile.mkstemp(suffix=suffix, prefix="area-")
    with os.fdopen(file, "wb") as stored:
        stored.write(content)
    return Path(name)


def _environment() -> dict[str, str]:
    """What the reader may know: nothing of our settings, and no driver that opens addresses."""
    ours = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return ours | {
        "GDAL_SKIP": "HTTP,WFS,OAPIF,AmigoCloud,Carto,Elastic,CSW,PLSCENES,NGW",
        "OGR_SQLITE_LOAD_EXTENSIONS": "NO",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
