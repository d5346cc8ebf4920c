"""Taking shards over: from then on their writers are refused."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.domain.errors import ShardLost
from app.domain.tile_tables import TileTables
from app.package.connection import connect, in_our_words, write_transaction
from app.package.failures import ShardBusy, ShardDamaged
from app.package.ledger import range_numbers, read_rows
from app.package.ownership import boot_id, check_owner, read_owner, replace_owner
from app.package.shard import SHARD_SUFFIX, make_attempt_folder
from app.package.soundness import check_counts, check_database
from app.package.totals import add_up

SHARD_PATTERN: Final = f"shard-*{SHARD_SUFFIX}"
LOST_PREFIX: Final = "lost-"


@dataclass(frozen=True, slots=True)
class TakenShard:
    """A shard that is ours.

    Attributes:
        path: The file.
        size_bytes: Of the file.
        ranges: Those that its ledger holds.
    """

    path: Path
    size_bytes: int
    ranges: frozenset[int]


def shard_paths(folder: Path) -> list[Path]:
    """The shards in an attempt's folder, by name; none when there is no folder."""
    return sorted(folder.glob(SHARD_PATTERN))


def take_shards(
    folder: Path, *, owner: str, tables: TileTables, beat: Callable[[], None]
) -> list[TakenShard]:
    """Become the owner of all shards of an attempt.

    A shard whose lock cannot be had is left behind, a damaged one is set aside: their ranges
    are missing then and are planned again. Doing this twice changes nothing.

    Returns:
        The shards, largest first.

    Raises:
        StorageFull: The disk is full.
        StorageUnavailable: The disk answers with an error.
    """
    taken = []
    for path in shard_paths(folder):
        beat()
        try:
            taken.append(take_shard(path, owner=owner, tables=tables))
        except ShardBusy:
            continue  # its writer is alive, or another assembler is at it
        except ShardDamaged:
            set_aside(path)
        except ShardLost:
            # Sealed by another assembler at this moment, which keeps facts beside it, or gone:
            # anything else stays unreadable, and its writer must not go on with it.
            if not facts_path(path).exists():
                set_aside(path)
    return sorted(taken, key=lambda shard: (-shard.size_bytes, shard.path.name))


def take_shard(path: Path, *, owner: str, tables: TileTables) -> TakenShard:
    """Replace the owner row under the lock; a transaction that was killed is undone by SQLite.

    Raises:
        ShardBusy: The lock cannot be had in time.
        ShardLost: The file is no whole shard.
        StorageFull: The disk is full.
        StorageUnavailable: The disk answers with an error.
    """
    with in_our_words(path):
        connection = connect(path)
        try:
            with write_transaction(connection):
                found = read_owner(connection)
                if found is None or found[1] != boot_id():
                    check_database(connection, tables.names)
                    totals = add_up(read_rows(connection), tables)
                    for name, told in zip(tables.names, totals.tables, strict=True):
                        check_counts(connection, name, told.zooms)
                replace_owner(connection, owner)
                ranges = frozenset(range_numbers(connection))
        finally:
            connection.close()
        return TakenShard(path, path.stat().st_size, ranges)


def facts_path(shard: Path) -> Path:
    """The file beside a shard that keeps its facts once the ledger is dropped."""
    return shard.with_name(f"{shard.name}.facts")


def set_aside(path: Path) -> None:
    """Give a damaged shard a name under which nobody looks for shards.

    Its writer finds the name gone and begins another.
    """
    with suppress(FileNotFoundError):  # another assembler was quicker
        path.rename(path.with_name(f"{LOST_PREFIX}{path.name}"))
        # A journal belongs to the name: one that stayed would be rolled back into the next file.
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)


def adopt_shards(
    old_folder: Path,
    new_folder: Path,
    *,
    owner: str,
    tables: TileTables,
    beat: Callable[[], None],
) -> list[TakenShard]:
    """Move the shards of a failed attempt into the folder of the attempt that continues it.

    A shard is moved under its lock, so never between a change and the end of its transaction:
    its journal would stay behind. A writer of the failed attempt that wakes up finds another
    owner in it. A shard whose lock cannot be had is left behind.

    Doing this twice, or two at once, is harmless: shards that moved already are reported again.
    Killed at any line, every shard is whole in one of the two folders.

    Returns:
        Every shard in the new folder that can be read; those of the new attempt's own writers
        are not taken, and naming their ranges does no harm.

    Raises:
        StorageFull: The disk is full.
        StorageUnavailable: The disk answers with an error, or is not mounted.
    """
    with in_our_words(new_folder):
        make_attempt_folder(new_folder)
    for taken in take_shards(old_folder, owner=owner, tables=tables, beat=beat):
        with suppress(ShardLost):  # another adopter is quicker, and reports it too
            _move(taken.path, new_folder / taken.path.name, owner=owner)
    return [shard for path in shard_paths(new_folder) if (shard := _seen(path)) is not None]


def _move(path: Path, target: Path, *, owner: str) -> None:
    with in_our_words(path):
        connection = connect(path)
        try:
            with write_transaction(connection):
                check_owner(connection, owner)
                path.rename(target)
        finally:
            connection.close()


def _seen(path: Path) -> TakenShard | None:
    try:
        with in_our_words(path):
            connection = connect(path)
            try:
                ranges = frozenset(range_numbers(connection))
            finally:
                connection.close()
            return TakenShard(path, path.stat().st_size, ranges)
    except ShardLost:
        return None
