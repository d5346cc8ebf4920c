"""The HTTP side of `export`: ask, follow, and download, through restarts of the service."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from app.domain.errors import ExportServiceError

POLL_S: Final = 0.5
PATIENCE_S: Final = 60.0
"""A running service may restart; only silence longer than this ends the command."""

PAUSE_S: Final = 1.0
CHUNK_BYTES: Final = 1024 * 1024
ANSWER_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
DOWNLOAD_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
FINISHED: Final = ("Completed", "Failed", "Expired", "Aborted")


class ServiceNotReached(ExportServiceError):
    """Nobody answers at the address, or nobody who is this service."""


class ExportRefused(ExportServiceError):
    """The service said no; its message says why."""


class ExportDidNotFinish(ExportServiceError):
    """The export was accepted and ended without a package."""


class DownloadDamaged(ExportServiceError):
    """What was downloaded is not what the service promised."""


@dataclass(frozen=True, slots=True)
class FinishedExport:
    """What the service says of a finished package.

    Attributes:
        file_uri: Where to download the GeoPackage.
        metadata_uri: Where to download its metadata.
        sha256: SHA-256 of the GeoPackage, 64 hexadecimal digits.
        file_bytes: Size of the GeoPackage.
        request_id: The request that it answers.
    """

    file_uri: str
    metadata_uri: str
    sha256: str
    file_bytes: int
    request_id: str = ""

    @classmethod
    def from_answer(cls, answer: dict[str, Any]) -> "FinishedExport":
        """Read a Completed answer of `POST /create`."""
        file_uri = str(answer["fileUri"])
        metadata_uri = answer.get("metadataUri") or file_uri.removesuffix(".gpkg") + ".json"
        return cls(
            file_uri,
            str(metadata_uri),
            str(answer["sha256"]),
            int(answer["fileSize"]),
            str(answer.get("requestId", "")),
        )


class ServiceClient:
    """Speaks to one running service."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, *, patience_s: float = PATIENCE_S
    ) -> None:
        """Use a session; see `connected`."""
        self._session = session
        self._url = url.rstrip("/")
        self._patience_s = patience_s

    @classmethod
    @asynccontextmanager
    async def connected(
        cls, url: str, *, token: str | None = None, patience_s: float = PATIENCE_S
    ) -> AsyncIterator["ServiceClient"]:
        """Open a session; a proxy of the environment is used for other machines only.

        Args:
            url: Address of the service.
            token: Whom to show; None: nobody. As Authorization, which does not follow a redirect
                to another host.
            patience_s: See PATIENCE_S, seconds.
        """
        trust_env = urlsplit(url).hostname not in LOOPBACK
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with aiohttp.ClientSession(trust_env=trust_env, headers=headers) as session:
            yield cls(session, url, patience_s=patience_s)

    async def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Ask for an export; the same body again joins the first one.

        Raises:
            ServiceNotReached: No connection, or no answer of this service.
            ExportRefused: A 4xx or 507; the message is the service's.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        while True:
            status, answer = await self._json("POST", "/create", body)
            if status == HTTPStatus.OK:
                return answer
            busy = status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
            if not busy or loop.time() > deadline:
                raise ExportRefused(f"{answer.get('message', answer)} (HTTP {status})")
            await asyncio.sleep(PAUSE_S)

    async def follow(self, request_id: str, on_percentage: Callable[[float, str], None]) -> None:
        """Wait until an accepted request is finished.

        Args:
            request_id: As `ask` answered it.
            on_percentage: Told percentage (0 to 100) and status after each look.

        Raises:
            ExportDidNotFinish: It failed, was cancelled or has expired.
            ServiceNotReached: The service was silent for longer than the patience.
        """
        loop = asyncio.get_running_loop()
        heard_at = loop.time()
        while True:
            try:
                code, answer = await self._json("GET", f"/taskStatus/{request_id}")
            except ServiceNotReached:
                code, answer = 0, {}
                if loop.time() - heard_at > self._patience_s:
                    raise
            if code == HTTPStatus.OK:
                heard_at = loop.time()
                status = str(answer.get("status"))
                on_percentage(float(answer.get("percentage") or 0), status)
                if status == "Completed":
                    return
                if status in FINISHED:
                    reason = answer.get("errorReason") or "no reason given"
                    raise ExportDidNotFinish(f"request {request_id} {status.lower()}: {reason}")
            elif loop.time() - heard_at > self._patience_s:
                raise ServiceNotReached(f"no status of request {request_id}: HTTP {code} {answer}")
            await asyncio.sleep(POLL_S)

    async def finished(self, body: dict[str, Any]) -> FinishedExport:
        """Ask again for an export that is finished: the answer is its whole result."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        while (answer := await self.ask(body)).get("status") != "Completed":
            if loop.time() > deadline:
                raise ExportDidNotFinish(f"no result although the status is Completed: {answer}")
            await asyncio.sleep(POLL_S)
        return FinishedExport.from_answer(answer)

    async def linked(self, export: FinishedExport) -> FinishedExport:
        """The same export by links that outlast a token: a long download needs no second one.

        Raises:
            ServiceNotReached: No connection, or no answer of this service.
            ExportRefused: There are no links.
        """
        status, answer = await self._json("POST", f"/exports/{export.request_id}/links")
        if status != HTTPStatus.OK:
            raise ExportRefused(f"{answer.get('message', answer)} (HTTP {status})")
        return replace(
            export, file_uri=str(answer["fileUri"]), metadata_uri=str(answer["metadataUri"])
        )

    async def download_package(
        self, export: FinishedExport, path: Path, on_bytes: Callable[[int, int], None]
    ) -> None:
        """Download a package, going on with what an earlier attempt left at the path.

        Raises:
            DownloadDamaged: The bytes are not those of the service's sha256, twice.
            ServiceNotReached: The service was silent for longer than the patience.
        """
        for _ in range(2):
            await self._download(export, path, on_bytes)
            if await asyncio.to_thread(file_sha256, path) == export.sha256:
                return
            # The rest of another package lay there, or the disk lied: once from the beginning.
            await asyncio.to_thread(path.unlink)
        raise DownloadDamaged(
            f"{export.file_uri} does not have the promised sha256 {export.sha256}"
        )

    async def download_metadata(self, export: FinishedExport, path: Path) -> None:
        """Download the metadata beside a package."""
        status, content = await self._bytes(export.metadata_uri)
        if status != HTTPStatus.OK:
            raise DownloadDamaged(f"{export.metadata_uri}: HTTP {status}")
        await asyncio.to_thread(path.write_bytes, content)

    async def _download(
        self, export: FinishedExport, path: Path, on_bytes: Callable[[int, int], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        heard_at = loop.time()
        while (have := _size(path)) < export.file_bytes:
            try:
                await self._download_rest(export, path, on_bytes)
            except (aiohttp.ClientError, TimeoutError) as error:
                if _size(path) > have:
                    heard_at = loop.time()
                if loop.time() - heard_at > self._patience_s:
                    raise ServiceNotReached(f"{export.file_uri}: {error!r}") from error
                await asyncio.sleep(PAUSE_S)
        on_bytes(_size(path), export.file_bytes)

    async def _download_rest(
        self, export: FinishedExport, path: Path, on_bytes: Callable[[int, int], None]
    ) -> None:
        have = _size(path)
        headers = {"Range": f"bytes={have}-"} if have else {}
        async with self._session.get(
            export.file_uri, headers=headers, timeout=DOWNLOAD_TIMEOUT
        ) as answer:
            if answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    answer.raise_for_status()
                raise DownloadDamaged(f"{export.file_uri}: HTTP {answer.status}")
            resumed = answer.status == HTTPStatus.PARTIAL_CONTENT
            done = have if resumed else 0
            with path.open("ab" if resumed else "wb") as file:
                async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                    await asyncio.to_thread(file.write, chunk)
                    done += len(chunk)
                    on_bytes(done, export.file_bytes)

    async def _json(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        url = self._url + path
        try:
            async with self._session.request(
                method, url, json=body, timeout=ANSWER_TIMEOUT
            ) as answer:
                content = await answer.json(content_type=None)
                if not isinstance(content, dict):
                    raise ServiceNotReached(
                        f"{url} is no export service: it answers {content!r:.80}"
                    )
                return answer.status, content
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ServiceNotReached(
                f"no export service answers at {self._url} ({error}); start one with scripts/run, "
                "or name another with --url"
            ) from error

    async def _bytes(self, url: str) -> tuple[int, bytes]:
        try:
            async with self._session.get(url, timeout=ANSWER_TIMEOUT) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServiceNotReached(f"{url}: {error!r}") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
