"""Downloads: whole files or ranges of them, with the package's sha256 as ETag."""

import asyncio
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Final

import orjson
from aiohttp import ETag, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import ETAG_ANY, content_disposition_header

from app.domain.errors import StorageUnavailable
from app.ingress.ports import PackageFiles
from app.ingress.problems import problem

CONTENT_TYPES: Final = {
    ".gpkg": "application/geopackage+sqlite3",
    ".json": "application/json",
}
DISK_TIMEOUT_S: Final = 5.0
"""How long finding a file may take: a disk that hangs is a 503."""
_UNSATISFIABLE: Final = "unsatisfiable"

_EXPORT_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ATTEMPT: Final = re.compile(r"\d{1,20}-\d{1,20}", re.ASCII)
_NAME: Final = re.compile(r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,250}\.(gpkg|json)")
_RANGE: Final = re.compile(r"bytes=(\d{0,20})-(\d{0,20})", re.ASCII | re.IGNORECASE)


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


class PackageResponse(web.FileResponse):
    """A file whose preconditions and range have been decided.

    aiohttp would make an ETag of time and size, and knows If-Range with a date only.
    """

    def __init__(self, stored: StoredFile, byte_range: str | None) -> None:
        """Prepare the answer.

        Args:
            stored: What to send.
            byte_range: `bytes=first-last`, satisfiable; None: all of it.
        """
        super().__init__(stored.path, headers=_headers_of(stored))
        self._request_headers = {hdrs.RANGE: byte_range} if byte_range else {}

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


def answer_download(request: web.Request, stored: StoredFile) -> web.StreamResponse:
    """Decide between the whole file, a range, 304, 412 and 416.

    A range that cannot be read, or several at once, counts as none, as RFC 9110 allows.

    Source:
        RFC 9110, sections 13.2.2 (order of preconditions) and 14.2 (Range).
    """
    if (wanted := request.if_match) is not None and not _matches(wanted, stored.etag):
        told = ", ".join(etag.value for etag in wanted)
        return problem(
            HTTPStatus.PRECONDITION_FAILED, f"If-Match is {told:.200}; the file is {stored.etag}"
        )
    if _is_unchanged(request, stored):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=_headers_of(stored))
    byte_range = _asked_range(request, stored)
    if byte_range == _UNSATISFIABLE:
        answer = problem(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            f"Range is {request.headers[hdrs.RANGE]:.80}; the file has {stored.size_bytes} bytes",
        )
        answer.headers[hdrs.CONTENT_RANGE] = f"bytes */{stored.size_bytes}"
        return answer
    return PackageResponse(stored, byte_range)


def _headers_of(stored: StoredFile) -> dict[str, str]:
    return {
        hdrs.ETAG: f'"{stored.etag}"',
        hdrs.CONTENT_TYPE: CONTENT_TYPES[stored.path.suffix],
        hdrs.CONTENT_DISPOSITION: content_disposition_header(
            "attachment", filename=stored.path.name
        ),
        hdrs.CACHE_CONTROL: "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }


def _matches(wanted: tuple[ETag, ...], etag: str, *, weakly: bool = False) -> bool:
    return any(
        one.value in (ETAG_ANY, etag) and (weakly or not one.is_weak or one.value == ETAG_ANY)
        for one in wanted
    )


def _is_unchanged(request: web.Request, stored: StoredFile) -> bool:
    if (known := request.if_none_match) is not None:
        return _matches(known, stored.etag, weakly=True)
    since = request.if_modified_since
    return since is not None and stored.modified_at_s <= since.timestamp()


def _asked_range(request: web.Request, stored: StoredFile) -> str | None:
    """The range to send, `_UNSATISFIABLE`, or None for the whole file."""
    match = _RANGE.fullmatch(request.headers.get(hdrs.RANGE, ""))
    if request.method != hdrs.METH_GET or match is None or not _if_range_holds(request, stored):
        return None
    first, last = match.groups()
    if not first:
        if not last:
            return None
        return f"bytes=-{last}" if int(last) and stored.size_bytes else _UNSATISFIABLE
    if last and int(last) < int(first):
        return None
    return f"bytes={first}-{last}" if int(first) < stored.size_bytes else _UNSATISFIABLE


def _if_range_holds(request: web.Request, stored: StoredFile) -> bool:
    condition = request.headers.get(hdrs.IF_RANGE)
    if condition is None:
        return True
    if request.if_range is not None:
        return stored.modified_at_s <= request.if_range.timestamp()
    return condition == f'"{stored.etag}"'


async def find_download(
    files: PackageFiles, export_id: str, attempt: str, name: str
) -> StoredFile | None:
    """Find a file by the parts of its address, as decoded.

    Returns:
        None: no such file, or parts that no file of ours can have.

    Raises:
        StorageUnavailable: The disk did not answer in time.
    """
    if not (
        _EXPORT_ID.fullmatch(export_id) and _ATTEMPT.fullmatch(attempt) and _NAME.fullmatch(name)
    ):
        return None
    try:
        async with asyncio.timeout(DISK_TIMEOUT_S):
            return await asyncio.to_thread(_stored_file, files, export_id, attempt, name)
    except TimeoutError as error:
        raise StorageUnavailable(
            f"the artifact store did not answer within {DISK_TIMEOUT_S:g} s"
        ) from error


def _stored_file(files: PackageFiles, export_id: str, attempt: str, name: str) -> StoredFile | None:
    path = files.package_path(export_id, attempt, name)
    if path is None:
        return None
    try:
        status = path.stat()
        etag = f"{status.st_mtime_ns:x}-{status.st_size:x}"
        if path.suffix == ".gpkg":
            etag = _sha256_of(path.with_suffix(".json"), status.st_mtime_ns) or etag
    except FileNotFoundError:
        return None
    return StoredFile(path, status.st_size, math.ceil(status.st_mtime), etag)


@lru_cache(maxsize=1024)
def _sha256_of(metadata: Path, _package_mtime_ns: int) -> str | None:
    """The package's digest as its metadata tells it; read once, as both are written once."""
    try:
        sha256 = orjson.loads(metadata.read_bytes()).get("sha256")
    except (OSError, ValueError, AttributeError):
        return None
    return sha256 if isinstance(sha256, str) and re.fullmatch(r"[0-9a-f]{64}", sha256) else None
