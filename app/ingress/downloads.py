"""Downloads: whole files or ranges of them, with the package's sha256 as ETag."""

import asyncio
import math
import re
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Final

import orjson
from aiohttp import ETag, hdrs, web
from aiohttp.helpers import ETAG_ANY

from app.domain.errors import StorageUnavailable
from app.ingress.byte_ranges import ByteRange, asked_ranges
from app.ingress.ports import PackageFiles
from app.ingress.problems import problem
from app.ingress.stored_file import SeveralRanges, StoredFile, WholeOrRange
from app.ingress.view import IngressView

DISK_TIMEOUT_S: Final = 5.0
"""How long finding a file may take: a disk that hangs is a 503."""

_EXPORT_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ATTEMPT: Final = re.compile(r"\d{1,20}-\d{1,20}", re.ASCII)
_NAME: Final = re.compile(r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,250}\.(gpkg|json)")


def answer_download(request: web.Request, stored: StoredFile) -> web.StreamResponse:
    """Decide between the whole file, ranges of it, 304, 412 and 416.

    Source:
        RFC 9110, sections 13.2.2 (order of preconditions) and 14.2 (Range).
    """
    if (broken := _broken_condition(request, stored)) is not None:
        return problem(HTTPStatus.PRECONDITION_FAILED, broken)
    if _is_unchanged(request, stored):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=stored.headers)
    ranges = _asked_ranges(request, stored)
    if ranges is None:
        return WholeOrRange(stored, None)
    if not ranges:
        answer = problem(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            f"Range is {request.headers[hdrs.RANGE]:.80}; the file has {stored.size_bytes} bytes",
        )
        answer.headers[hdrs.CONTENT_RANGE] = f"bytes */{stored.size_bytes}"
        return answer
    return WholeOrRange(stored, ranges[0]) if len(ranges) == 1 else SeveralRanges(stored, ranges)


def _broken_condition(request: web.Request, stored: StoredFile) -> str | None:
    """Which condition of the request does not hold, for people; None: all do."""
    if (wanted := request.if_match) is not None:
        if _matches(wanted, stored.etag):
            return None
        told = ", ".join(etag.value for etag in wanted)
        return f"If-Match is {told:.200}; the file is {stored.etag}"
    since = request.if_unmodified_since
    if since is not None and stored.modified_at_s > since.timestamp():
        written = datetime.fromtimestamp(stored.modified_at_s, UTC)
        return f"If-Unmodified-Since is {since:%FT%TZ}; the file was written at {written:%FT%TZ}"
    return None


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


def _asked_ranges(request: web.Request, stored: StoredFile) -> tuple[ByteRange, ...] | None:
    """The ranges to send; None: the whole file, which is what a HEAD is told of, too."""
    if request.method != hdrs.METH_GET or not _if_range_holds(request, stored):
        return None
    return asked_ranges(request.headers.get(hdrs.RANGE, ""), stored.size_bytes)


def _if_range_holds(request: web.Request, stored: StoredFile) -> bool:
    condition = request.headers.get(hdrs.IF_RANGE)
    if condition is None:
        return True
    if request.if_range is not None:
        # Another date is another file's, also a later one (RFC 9110, section 13.1.5).
        return stored.modified_at_s == request.if_range.timestamp()
    return condition == f'"{stored.etag}"'


def missing_download(
    view: IngressView, export_id: str, attempt: str, name: str, path: str
) -> web.Response:
    """Tell a package that has gone from one that never was.

    Args:
        view: Remembers results for a week after their packages expired.
        export_id: Of the address.
        attempt: Of the address.
        name: Of the address.
        path: The address, for the message.
    """
    package_name = f"{name.rsplit('.', 1)[0]}.gpkg"
    if _NAME.fullmatch(name) and view.has_offered(export_id, attempt, package_name):
        return problem(
            HTTPStatus.GONE, f"{name:.260} expired or was deleted; POST /create makes it again"
        )
    return problem(HTTPStatus.NOT_FOUND, f"there is no file at {path:.300}")


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
