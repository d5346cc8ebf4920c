"""A model of `app.package.assemble`, which makes one package of the shards of an attempt."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from app.domain.errors import ShardLost, StorageFull
from app.domain.package_facts import PackageFacts
from app.domain.records import AssemblePackage
from app.package.assemble import missing_spans
from app.package.failures import EmptyPackage, LedgerMismatch
from tests.simulation import asked
from tests.simulation.disk import Disk, Folder, Shard

if TYPE_CHECKING:
    from tests.simulation.worker_memory import WorkerMemory

Waits = Generator[int, None, Any]
Spans = tuple[tuple[int, int], ...]


def make_package(memory: "WorkerMemory", order: AssemblePackage) -> Waits:
    """The facts of the published package, or the missing ranges; every step may be the last."""
    world = memory.world
    disk, folder = world.disk, world.disk.folder(order.export_id, order.attempt)
    facts = read_published(folder)
    if facts is None:
        sealed = _find_sealed(folder)
        while sealed is None:
            shards = yield from _take_all(disk, folder, memory.owner)
            missing = world.work.missing(shards, order)
            sealed = _find_sealed(folder)
            if missing and sealed is None:
                return read_published(folder) or missing
            if sealed is None:
                yield from _combine(memory, shards)
                yield from _seal(memory, folder, shards[0], order)
                sealed = shards[0]
        facts = yield from world.work.publish(memory, folder, sealed, order)
    for shard in folder.shards:
        shard.lost = True
    folder.shards = []
    yield 1
    return facts


def read_published(folder: Folder) -> PackageFacts | None:
    """The facts of a whole pair."""
    return folder.metadata if folder.package is not None else None


def _find_sealed(folder: Folder) -> Shard | None:
    return next((shard for shard in folder.shards if shard.sealed), None)


def _take_all(disk: Disk, folder: Folder, owner: str) -> Waits:
    taken = []
    for shard in list(folder.shards):
        try:
            disk.take(shard, owner)
        except ShardLost:
            continue
        taken.append(shard)
        yield 1
    return sorted(taken, key=lambda shard: (-shard.size_bytes, shard.name))


def missing_ranges(shards: list[Shard], order: AssemblePackage) -> Spans:
    """The ranges that no ledger holds."""
    return missing_spans((shard.ledger for shard in shards), order.range_count)


def _check(disk: Disk, shard: Shard, owner: str) -> None:
    if shard.lost or shard.sealed or (disk.checks_owner and shard.owner != owner):
        raise ShardLost(f"{shard.name} belongs to {shard.owner}")
    if disk.is_full:
        raise StorageFull("no space left")


def _combine(memory: "WorkerMemory", shards: list[Shard]) -> Waits:
    target, *others = shards
    for source in others:
        yield 1 + int(memory.world.chance() * memory.world.schedule.assembly_ms)
        if source.lost:
            raise ShardLost(f"{source.name} is gone")
        _check(memory.world.disk, target, memory.owner)
        target.ledger = source.ledger | target.ledger


def _seal(memory: "WorkerMemory", folder: Folder, target: Shard, order: AssemblePackage) -> Waits:
    world = memory.world
    _check(world.disk, target, memory.owner)
    cover = asked.cut_covers()[order.export_id]
    zooms = asked.total(zooms for _, zooms in target.ledger.values())
    told = tuple((zoom.zoom, zoom.expected) for zoom in zooms)
    if told != cover.cover.tiles_by_zoom:
        raise LedgerMismatch(f"the ledgers tell of {told}")
    if not any(zoom.written for zoom in zooms):
        raise EmptyPackage("none of the tiles could be had")
    target.locked_by = memory.process
    target.facts = (memory.process.now_ms, zooms)
    yield 2
    target.locked_by = None
    _check(world.disk, target, memory.owner)
    target.sealed, target.owner = True, None
    yield 1


def publish(memory: "WorkerMemory", folder: Folder, sealed: Shard, order: AssemblePackage) -> Waits:
    """Metadata first, then the package; who comes second answers with what is there."""
    disk = memory.world.disk
    yield 1 + int(memory.world.chance() * memory.world.schedule.assembly_ms)
    if sealed.lost or sealed.facts is None:
        raise ShardLost(f"{sealed.name} is gone")
    if disk.is_full:
        raise StorageFull("no space left")
    facts = facts_of(sealed, order)
    yield from memory.world.work.links(disk, folder, sealed, facts)
    yield 1
    found = read_published(folder)
    if found is None:
        raise ShardLost(f"no package of {order.export_id}")
    return found


def links(disk: Disk, folder: Folder, sealed: Shard, facts: PackageFacts) -> Waits:
    """Give both files their names."""
    disk.link_metadata(folder, facts)
    yield 1
    if not sealed.lost:
        disk.link_package(folder, sealed)


def facts_of(sealed: Shard, order: AssemblePackage) -> PackageFacts:
    """What is true of a sealed shard."""
    assert sealed.facts is not None
    finished_at_ms, zooms = sealed.facts
    name = order.package.package_name
    return PackageFacts(
        package_name=name,
        metadata_name=name.replace(".gpkg", ".json"),
        file_bytes=sum(zoom.tile_bytes for zoom in zooms) + 4096,
        sha256=f"{sealed.name} {finished_at_ms}",
        finished_at_ms=finished_at_ms,
        zooms=zooms,
    )
