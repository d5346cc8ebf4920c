"""Giving a sealed shard its final name; from then on it never changes."""

import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from app.domain.package_facts import PackageFacts, PackagePlan
from app.package.connection import in_our_words
from app.package.durable_file import sync_folder, write_durably
from app.package.failures import PackageFailed
from app.package.metadata import Published, facts_of, metadata_bytes, metadata_name
from app.package.table_plan import TablePlan, tile_tables
from app.package.taking import facts_path
from app.package.tile_proof import prove_sealed
from app.package.totals import SealedFacts

HASH_STEP_BYTES: Final = 1 << 20
BEAT_STEPS: Final = 64
BEAT_S: Final = 1.0


def read_published(folder: Path, package_name: str) -> PackageFacts | None:
    """The facts of a published package, or None when the pair is not complete.

    Raises:
        PackageFailed: The metadata is damaged. The package may be, too, and was perhaps told of:
            it is not made anew under the same name.
    """
    if not (folder / package_name).is_file():
        return None
    name = metadata_name(package_name)
    try:
        return facts_of(orjson.loads((folder / name).read_bytes()))
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise PackageFailed(f"the published metadata {name} is damaged") from error


@dataclass(frozen=True, slots=True)
class Publication:
    """What a package is published as.

    Attributes:
        plan: Of the export.
        tables: Its tile tables, by ascending first range.
        export_id: Of the export.
        attempt: Of the export.
        footprint: GeoJSON for the metadata.
    """

    plan: PackagePlan
    tables: tuple[TablePlan, ...]
    export_id: str
    attempt: str
    footprint: Mapping[str, Any]


def publish(
    sealed: Path,
    publication: Publication,
    *,
    owner: str,
    beat: Callable[[], None],
) -> PackageFacts:
    """Hash a sealed shard while it is proven and reaches the disk; link it and its metadata.

    The metadata comes first: a package under its final name is whole and described. Who comes
    second finds the names taken and answers with what is there.

    Args:
        sealed: The shard.
        publication: What it becomes.
        owner: This process, unique per start.
        beat: Called often while the work goes on, by two threads; it must return at once, or
            raise to end the work, which then only waits for the disk.

    Returns:
        The facts of the package that stands there.

    Raises:
        RangesDamaged: Tiles are not what was read; nothing is published.
        ShardDamaged: The shard is no whole database; nothing is published.
        ShardLost: The shard is gone and no package stands there.
        StorageFull: The disk is full.
        StorageUnavailable: The disk answers with an error.
    """
    plan = publication.plan
    tables = tile_tables(publication.tables)
    folder, package = sealed.parent, sealed.parent / plan.package_name
    with in_our_words(sealed):
        facts = SealedFacts.read(facts_path(sealed))
        if facts is None:
            raise FileNotFoundError(facts_path(sealed))
        sha256 = _hash_while_syncing(
            sealed, lambda: prove_sealed(sealed, facts.unproven, tables, beat), beat
        )
        published = Published(
            export_id=publication.export_id,
            attempt=publication.attempt,
            sha256=sha256,
            file_bytes=sealed.stat().st_size,
            finished_at_ms=facts.finished_at_ms,
            totals=facts.totals,
        )
        metadata = metadata_bytes(plan, publication.tables, publication.footprint, published)
        _put_metadata(package, metadata, owner=owner)
        with suppress(FileExistsError):
            os.link(sealed, package)
        sync_folder(folder)
        found = read_published(folder, plan.package_name)
        if found is None:
            raise FileNotFoundError(package)
        return found


def remove_leftovers(folder: Path, package_name: str) -> None:
    """Remove everything but the published pair from an attempt's folder."""
    kept = {package_name, metadata_name(package_name)}
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    # A shard goes before its journal: without it nobody is misled about the shard's state.
    for name in sorted(names, key=lambda name: (name.endswith("-journal"), name)):
        if name not in kept:
            (folder / name).unlink(missing_ok=True)


def _put_metadata(package: Path, content: bytes, *, owner: str) -> None:
    path = package.with_name(metadata_name(package.name))
    if package.exists() and not path.exists():
        # Metadata is linked first, so somebody removed it, and with it what the package was made
        # of. Nobody may be told of ours beside its bytes. (Asked in this order: whoever publishes
        # at this moment has linked the metadata before the package.)
        package.unlink(missing_ok=True)
    whole = path.with_name(f"{path.name}.{owner}.whole")
    try:
        write_durably(whole, content, owner=owner)
        try:
            os.link(whole, path)
        except FileExistsError:
            # Left by an assembler that was killed before it linked the package; its shard may
            # have been damaged since, and ours be another. Nobody was told yet.
            if not package.exists():
                whole.replace(path)
    finally:
        whole.unlink(missing_ok=True)


def _hash_while_syncing(path: Path, prove: Callable[[], None], beat: Callable[[], None]) -> str:
    """Hash the file, write it to the disk and prove its tiles, all at once."""
    # Opened after the last SQLite connection of ours is closed: closing any descriptor of a file
    # gives up all locks that this process holds on it.
    with path.open("r+b", buffering=0) as file, ThreadPoolExecutor(2) as threads:
        others = [threads.submit(os.fsync, file.fileno()), threads.submit(prove)]
        digest = hashlib.sha256()
        buffer = bytearray(HASH_STEP_BYTES)
        view = memoryview(buffer)
        steps = 0
        while size := file.readinto(buffer):
            digest.update(view[:size])
            steps += 1
            if steps % BEAT_STEPS == 0:
                beat()
        while wait(others, timeout=BEAT_S).not_done:
            beat()
        for other in others:
            other.result()
    return digest.hexdigest()
