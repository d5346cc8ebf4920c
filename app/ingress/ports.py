"""What the ingress needs from its surroundings."""

from pathlib import Path
from typing import Protocol

from app.domain.records import ExportCommanded, ExportRequested


class RequestPublisher(Protocol):
    """The way of requests and commands into `export-requests`."""

    async def publish(self, asked: ExportRequested | ExportCommanded) -> None:
        """Send a record and wait until the broker keeps it.

        Raises:
            TemporaryFailure: The broker did not acknowledge it in time.
        """
        ...


class Readiness(Protocol):
    """Whether this ingress can do its work now."""

    async def problems(self) -> list[str]:
        """Say what is missing, for operators; an empty list: ready."""
        ...


class PackageFiles(Protocol):
    """The finished files of exports, as the artifact store keeps them."""

    def package_path(self, export_id: str, attempt: str, name: str) -> Path | None:
        """Find one file; None: there is none. It blocks, call it in a thread."""
        ...

    def shard_paths(self, export_id: str, attempt: str) -> list[Path]:
        """Find the files that an attempt is being written to. It blocks."""
        ...

    def free_bytes(self) -> int:
        """Free space, bytes. It blocks; raises StorageUnavailable."""
        ...

    def total_bytes(self) -> int:
        """Size of the file system, bytes. It blocks; raises StorageUnavailable."""
        ...
