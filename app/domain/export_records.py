"""What registrar and planner tell one another of an export."""

from dataclasses import dataclass
from typing import Annotated

from app.domain.avro_doc import Doc
from app.domain.package_facts import PackageFacts, PackagePlan
from app.domain.record_fields import AtMs, Attempt, ExportId, Priority


@dataclass(frozen=True, slots=True)
class ExportStarted:
    """The registrar tells the planner to run an export."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    priority: Priority
    package: Annotated[PackagePlan, Doc("What will be made.")]
    source_json: Annotated[str, Doc("Where the tiles are: the layer record's source, JSON.")]
    tile_count: Annotated[int, Doc("Tiles of the export over all zooms, count.")]
    mean_tile_bytes: Annotated[int, Doc("Mean tile size expected, bytes.")]
    continues: Annotated[str | None, Doc("The failed attempt whose shards may be adopted.")] = None


@dataclass(frozen=True, slots=True)
class ExportStopped:
    """The registrar tells the planner that an attempt is over: forget it."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs


@dataclass(frozen=True, slots=True)
class ExportBeat:
    """A running export says how far it is, every 5 s."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    phase: Annotated[str, Doc("writing or assembling.")]
    tiles_done: Annotated[int, Doc("Tiles of the ranges that are done, missing ones too, count.")]
    tiles_missing: Annotated[int, Doc("Missing tiles among them, count.")]
    bytes_written: Annotated[int, Doc("Bytes of the tiles written, bytes.")]


@dataclass(frozen=True, slots=True)
class ExportAssembled:
    """The planner tells the registrar that the package is published."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    facts: Annotated[PackageFacts, Doc("The finished package.")]
    late: Annotated[bool, Doc("The attempt is not planned any more: the file may be gone.")] = False


@dataclass(frozen=True, slots=True)
class ExportFailed:
    """The planner tells the registrar that the export cannot be done."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs
    reason: Annotated[str, Doc("What happened, for people.")]
    may_continue: Annotated[
        bool, Doc("A later attempt may go on with the ranges that are written; else they go.")
    ] = False


@dataclass(frozen=True, slots=True)
class RemoveAttempt:
    """The registrar orders the files of an attempt that is over to be removed."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs


@dataclass(frozen=True, slots=True)
class FilesRemoved:
    """The files of an attempt are gone."""

    export_id: ExportId
    attempt: Attempt
    at_ms: AtMs


@dataclass(frozen=True, slots=True)
class Tick:
    """The owner of a table partition tells itself that a row is due."""

    at_ms: AtMs
