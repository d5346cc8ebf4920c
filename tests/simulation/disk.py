"""The simulated disk: shards with owner rows and ledgers, and packages under their final names."""

from dataclasses import dataclass, field, replace

from app.domain.errors import ShardLost, StorageFull
from app.domain.package_facts import PackageFacts, ZoomCounts
from app.domain.records import TileRunOrdered
from tests.simulation.violation import Violation

Runs = tuple[TileRunOrdered, ...]


@dataclass(slots=True, eq=False)
class Shard:
    """One shard file.

    Attributes:
        name: File name; unique.
        owner: The owner row; None: it was dropped, or is not there yet.
        whole: Tables and owner row exist.
        named: It has its final name, so that others find it.
        ledger: Range number to the tiles and their counts.
        facts: The file beside it.
        sealed: The ledger was dropped.
        locked_by: Who holds the lock of its transaction.
        lost: The file is gone; who has it open writes into nothing.
    """

    name: str
    owner: str | None = None
    whole: bool = False
    named: bool = False
    ledger: dict[int, tuple[Runs, tuple[ZoomCounts, ...]]] = field(default_factory=dict)
    facts: tuple[int, tuple[ZoomCounts, ...]] | None = None
    sealed: bool = False
    locked_by: object = None
    lost: bool = False

    @property
    def size_bytes(self) -> int:
        """Bytes of its tiles."""
        return sum(zoom.tile_bytes for _, zooms in self.ledger.values() for zoom in zooms)


@dataclass(slots=True, eq=False)
class Package:
    """A published pair.

    Attributes:
        facts: What the metadata says.
        ranges: The tiles in it, by range number.
        gone_at_ms: When somebody removed it.
        was_swept: It was the service that removed it.
    """

    facts: PackageFacts
    ranges: dict[int, Runs]
    gone_at_ms: int | None = None
    was_swept: bool = False


@dataclass(slots=True, eq=False)
class Folder:
    """The folder of one attempt; `gone` is the package that somebody removed from it."""

    shards: list[Shard] = field(default_factory=list)
    metadata: PackageFacts | None = None
    package: Package | None = None
    gone: Package | None = None


@dataclass(slots=True)
class Disk:
    """All folders, and how much space is left.

    Attributes:
        capacity_bytes: Size of the disk.
        folders: By export and attempt.
        is_full: Nothing can be written now.
        locks: Transactions keep others out; a mutation switches that off.
        checks_owner: Writers read the owner row; a mutation switches that off.
        commits: Ranges written, those written twice twice.
    """

    capacity_bytes: int
    folders: dict[tuple[str, str], Folder] = field(default_factory=dict)
    is_full: bool = False
    locks: bool = True
    checks_owner: bool = True
    commits: int = 0

    def folder(self, export_id: str, attempt: str) -> Folder:
        """The folder of an attempt; made at its first use."""
        return self.folders.setdefault((export_id, attempt), Folder())

    def free_bytes(self) -> int:
        """Space left."""
        used = sum(
            sum(shard.size_bytes for shard in folder.shards)
            + (folder.package.facts.file_bytes if folder.package is not None else 0)
            for folder in self.folders.values()
        )
        return max(0, self.capacity_bytes - used)

    def published(self, export_id: str, attempt: str) -> Package | None:
        """The published package of an attempt."""
        folder = self.folders.get((export_id, attempt))
        return folder.package if folder is not None else None

    def finished_attempts(self, export_id: str) -> tuple[str, ...]:
        """Attempts of an export whose package stands."""
        return tuple(
            attempt
            for known_id, attempt in self.folders
            if known_id == export_id and self.published(known_id, attempt) is not None
        )

    def begin(self, shard: Shard, owner: str, holder: object) -> None:
        """Begin a transaction as a writer: the lock, then the owner row."""
        if shard.lost:
            raise ShardLost(f"{shard.name} is gone")
        if self.locks and shard.locked_by is not None:
            raise ShardLost(f"{shard.name} is locked")
        if self.checks_owner and shard.owner != owner:
            raise ShardLost(f"{shard.name} belongs to {shard.owner}")
        if self.locks:
            shard.locked_by = holder

    def commit(
        self, shard: Shard, owner: str, number: int, tiles: tuple[Runs, tuple[ZoomCounts, ...]]
    ) -> None:
        """Store a range with its ledger row, all or nothing."""
        shard.locked_by = None
        if shard.lost:
            raise ShardLost(f"{shard.name} is gone")
        if self.is_full:
            raise StorageFull("no space left")
        if shard.sealed or shard.owner != owner:
            raise Violation(f"{owner} wrote into {shard.name}, which belongs to {shard.owner}")
        shard.ledger[number] = tiles
        self.commits += 1

    def take(self, shard: Shard, owner: str) -> None:
        """Become the owner of a shard."""
        if not shard.whole:
            raise Violation(f"{shard.name} was found before it was whole")
        if shard.lost or shard.sealed or (self.locks and shard.locked_by is not None):
            raise ShardLost(f"{shard.name} cannot be had")
        shard.owner = owner

    def remove_package(self, folder: Folder, now_ms: int) -> None:
        """Remove what was published in a folder."""
        if folder.package is not None:
            folder.gone, folder.package.gone_at_ms = folder.package, now_ms
            folder.gone.was_swept = True
        folder.package = folder.metadata = None

    def link_metadata(self, folder: Folder, facts: PackageFacts) -> None:
        """Give the metadata its name; what an assembler that died left is replaced."""
        if folder.metadata is None or folder.package is None:
            folder.metadata = facts

    def link_package(self, folder: Folder, sealed: Shard) -> None:
        """Give a sealed shard the package's name, unless the name is taken."""
        if folder.package is not None:
            return
        if folder.metadata is None:
            raise Violation(f"{sealed.name} was published before its metadata")
        ranges = {number: runs for number, (runs, _) in sealed.ledger.items()}
        folder.package = Package(replace(folder.metadata), ranges)
