"""From the shards of an attempt to one published GeoPackage."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.domain.package_facts import PackageFacts, PackagePlan
from app.domain.tile_tables import TileTables
from app.package.connection import in_our_words
from app.package.failures import RangesDamaged, ShardDamaged
from app.package.ledger import LedgerRow
from app.package.merging import merge_shard
from app.package.publishing import Publication, publish, read_published, remove_leftovers
from app.package.sealing import find_sealed, seal, unseal
from app.package.soundness import is_whole
from app.package.table_plan import TablePlan, tile_tables
from app.package.taking import TakenShard, set_aside, take_shards
from app.package.tile_proof import drop_damaged_ranges


@dataclass(frozen=True, slots=True)
class AssemblyTask:
    """What to assemble.

    Attributes:
        plan: Of the export.
        export_id: Of the export.
        attempt: Of the export.
        range_count: Ranges that the ledgers must hold, numbered from 0.
        tables: The tile tables, by ascending first range.
        footprint: GeoJSON for the metadata: the bounds of the tables' finest tiles within the
            layer's footprint.
    """

    plan: PackagePlan
    export_id: str
    attempt: str
    range_count: int
    tables: tuple[TablePlan, ...]
    footprint: Mapping[str, Any]

    @property
    def tile_tables(self) -> TileTables:
        """Which ranges each table holds."""
        return tile_tables(self.tables)


@dataclass(frozen=True, slots=True)
class MissingRanges:
    """No package yet: the ledgers lack ranges.

    Attributes:
        spans: First and last number of each run of missing ranges, ascending, inclusive.
    """

    spans: tuple[tuple[int, int], ...]


def assemble(
    folder: Path,
    task: AssemblyTask,
    *,
    owner: str,
    now_ms: Callable[[], int],
    beat: Callable[[], None],
) -> PackageFacts | MissingRanges:
    """Make and publish the package of an attempt, or say which ranges are missing.

    Every step may be repeated, by this process or another, and may be killed at any line: what
    was published is answered again, a sealed shard is only published, and everything else starts
    over from the ledgers.

    Args:
        folder: Of the attempt.
        task: What to assemble.
        owner: This process, unique per start; replaces the owner of every shard.
        now_ms: The time, ms since 1970 UTC; asked once, for `finished_at_ms`.
        beat: Called often while the work goes on, from any thread; it must return at once, or
            raise to end the work here: files are closed and locks given up, and what is left is
            what a kill would leave.

    Returns:
        The facts of the published package, the same at every repeat, or the missing ranges.

    Raises:
        PackageFailed: No package can be made of these shards; the message says why.
        ShardLost: Another assembler has taken over, or a shard went away: assemble again.
        StorageFull: The disk is full.
        StorageUnavailable: The disk answers with an error.
    """
    with in_our_words(folder / task.plan.package_name):
        facts = _published_or_missing(folder, task, owner=owner, now_ms=now_ms, beat=beat)
        if isinstance(facts, PackageFacts):
            remove_leftovers(folder, task.plan.package_name)
        return facts


def missing_spans(
    ledgers: Iterable[Iterable[int]], range_count: int
) -> tuple[tuple[int, int], ...]:
    """The ranges that no ledger holds.

    >>> missing_spans([{0, 3}, {3, 4}], range_count=7)
    ((1, 2), (5, 6))
    """
    held = set().union(*ledgers)
    spans: list[tuple[int, int]] = []
    for number in range(range_count):
        if number in held:
            continue
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    return tuple(spans)


def _published_or_missing(
    folder: Path,
    task: AssemblyTask,
    *,
    owner: str,
    now_ms: Callable[[], int],
    beat: Callable[[], None],
) -> PackageFacts | MissingRanges:
    name, tables = task.plan.package_name, task.tile_tables
    if (facts := read_published(folder, name)) is not None:
        return facts
    while True:
        rows: tuple[LedgerRow, ...] = ()
        sealed = find_sealed(folder, tables)
        if sealed is None:
            shards = take_shards(folder, owner=owner, tables=tables, beat=beat)
            missing = missing_spans((shard.ranges for shard in shards), task.range_count)
            if not missing:
                shards, rows = _sound(shards, task, owner=owner, beat=beat)
                missing = missing_spans((shard.ranges for shard in shards), task.range_count)
            # Another assembler may have sealed or published while we were taking.
            sealed = find_sealed(folder, tables)
            if missing and sealed is None:
                return read_published(folder, name) or MissingRanges(missing)
            if sealed is None:
                sealed = _combine(shards, task, rows, owner=owner, now_ms=now_ms, beat=beat)
            if sealed is None:
                continue
        publication = Publication(
            task.plan, task.tables, task.export_id, task.attempt, task.footprint
        )
        try:
            return publish(sealed, publication, owner=owner, beat=beat)
        except RangesDamaged as error:
            _reopen(sealed, rows, error.numbers, owner=owner, tables=tables)
        except ShardDamaged:
            set_aside(sealed)


def _sound(
    shards: list[TakenShard], task: AssemblyTask, *, owner: str, beat: Callable[[], None]
) -> tuple[list[TakenShard], tuple[LedgerRow, ...]]:
    """The same shards with those of their ranges that are what was read from the source.

    The tiles of a single shard are left to be proven while it is hashed, which takes no time
    then; a merge must not take over what is damaged, so its shards are read before.

    Returns:
        The shards, largest first, and the ledger of a single one.
    """
    sound = []
    rows: tuple[LedgerRow, ...] = ()
    for shard in shards:
        try:
            rows = drop_damaged_ranges(
                shard.path,
                owner=owner,
                tables=task.tile_tables,
                beat=beat,
                read_tiles=len(shards) > 1,
            )
        except ShardDamaged:
            set_aside(shard.path)
            continue
        sound.append(replace(shard, ranges=frozenset(row.range_number for row in rows)))
    return sound, rows if len(shards) == 1 else ()


def _reopen(
    sealed: Path,
    rows: tuple[LedgerRow, ...],
    damaged: frozenset[int],
    *,
    owner: str,
    tables: TileTables,
) -> None:
    """Go back before the sealing; without the ledger, which another had sealed, to nothing."""
    if not rows:
        set_aside(sealed)
        return
    with suppress(ShardDamaged):  # it is set aside
        unseal(sealed, rows, damaged, owner=owner, tables=tables)


def _combine(
    shards: list[TakenShard],
    task: AssemblyTask,
    unproven: tuple[LedgerRow, ...],
    *,
    owner: str,
    now_ms: Callable[[], int],
    beat: Callable[[], None],
) -> Path | None:
    """Merge all shards into the largest and seal it; None: one was damaged and is set aside."""
    target, *others = (shard.path for shard in shards)
    at_work = target
    try:
        for source in others:
            at_work = source
            merge_shard(target, source, owner=owner, tables=task.tile_tables, beat=beat)
        at_work = target
        seal(
            target,
            task.tables,
            owner=owner,
            now_ms=now_ms,
            unproven=unproven,
        )
    except ShardDamaged:
        # A merge reads one file and writes another: the target may be the damaged one.
        set_aside(at_work if is_whole(target) else target)
        return None
    return target
