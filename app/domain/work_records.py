"""What the planner orders from the workers, and what they report."""

from dataclasses import dataclass
from typing import Annotated

from app.domain.avro_doc import Doc
from app.domain.package_facts import PackageFacts, PackagePlan, ZoomCounts
from app.domain.record_fields import AtMs, Attempt, ExportId, LeaseUntil
from app.domain.tile_tables import TileTable


@dataclass(frozen=True, slots=True)
class TileRunOrdered:
    """Neighbouring columns with the same run of rows, part of a WriteRange."""

    zoom: Annotated[int, Doc("Tile matrix identifier of WorldCRS84Quad, 0 to 22.")]
    min_col: Annotated[int, Doc("First column.")]
    max_col: Annotated[int, Doc("Last column, inclusive.")]
    min_row: Annotated[int, Doc("First row, counted down from the north.")]
    max_row: Annotated[int, Doc("Last row, inclusive.")]


@dataclass(frozen=True, slots=True)
class AssemblePackage:
    """The planner orders the shards of an attempt to become one package."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    package: Annotated[PackagePlan, Doc("What to make.")]
    range_count: Annotated[int, Doc("Ranges that the ledgers must hold, count.")]
    lease_until_ms: LeaseUntil
    trial: Annotated[int, Doc("How often assembly has been ordered before, count.")] = 0


@dataclass(frozen=True, slots=True)
class WriteRange:
    """The planner orders one range of tiles to be written."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    lane: Annotated[int, Doc("Ranges of one lane are written by one worker in order.")]
    range_number: Annotated[int, Doc("Position among the export's ranges, from 0.")]
    runs: Annotated[tuple[TileRunOrdered, ...], Doc("The tiles of the range, in export order.")]
    table: Annotated[str, Doc("Tile pyramid user data table.")]
    source_json: Annotated[str, Doc("Where the tiles are, JSON.")]
    on_error: Annotated[str, Doc("fail or skip.")]
    lease_until_ms: LeaseUntil
    trial: Annotated[int, Doc("How often this range has been unreadable before, count.")]
    then_assemble: Annotated[
        AssemblePackage | None, Doc("For an export of one range: assemble it right away.")
    ] = None
    tables: Annotated[
        tuple[TileTable, ...], Doc("All tile tables; empty: the one named above.")
    ] = ()


@dataclass(frozen=True, slots=True)
class RangeWritten:
    """A range is in a shard, committed."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    range_number: Annotated[int, Doc("Position among the export's ranges, from 0.")]
    zooms: Annotated[tuple[ZoomCounts, ...], Doc("What became of its tiles, by zoom.")]


@dataclass(frozen=True, slots=True)
class RangeUnreadable:
    """A range could not be read or written."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    range_number: Annotated[int, Doc("Position among the export's ranges, from 0.")]
    trial: Annotated[int, Doc("The try that failed, from 0.")]
    fatal: Annotated[bool, Doc("No further try can help (disk full): the export fails at once.")]
    reason: Annotated[str, Doc("Tile and cause, for people.")]


@dataclass(frozen=True, slots=True)
class RangeSpan:
    """Neighbouring range numbers; limits are inclusive."""

    first: Annotated[int, Doc("First range number.")]
    last: Annotated[int, Doc("Last range number.")]


@dataclass(frozen=True, slots=True)
class RangesMissing:
    """The ledgers lack ranges that were reported as written."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    spans: Annotated[tuple[RangeSpan, ...], Doc("The missing ranges.")]


@dataclass(frozen=True, slots=True)
class AdoptShards:
    """The planner orders the shards of a failed attempt to be taken into a new one."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    continues: Annotated[str, Doc("The failed attempt.")]
    table: Annotated[str, Doc("Tile pyramid user data table.")]
    lease_until_ms: LeaseUntil
    tables: Annotated[
        tuple[TileTable, ...], Doc("All tile tables; empty: the one named above.")
    ] = ()


@dataclass(frozen=True, slots=True)
class ShardsAdopted:
    """The shards of a failed attempt that could be had are in the folder of the new one."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    spans: Annotated[tuple[RangeSpan, ...], Doc("Ranges that the ledgers there hold.")]


@dataclass(frozen=True, slots=True)
class AssemblyBeat:
    """An assembly is alive."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs


@dataclass(frozen=True, slots=True)
class PackageAssembled:
    """The package of an attempt is published; the assembler tells the planner."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    facts: Annotated[PackageFacts, Doc("The finished package.")]


@dataclass(frozen=True, slots=True)
class AssemblyFailed:
    """A package cannot be made from the shards, and no further try would help."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    reason: Annotated[str, Doc("What happened, for people.")]
