"""The facts and orders that travel between the stages: one dataclass, one schema in schemas/.

Facts are in the past tense, orders in the imperative. `at_ms` is the sender's time. The
README's topic table says which topic carries which record.
"""

from app.domain.export_records import (
    ExportAssembled,
    ExportBeat,
    ExportFailed,
    ExportStarted,
    ExportStopped,
    FilesRemoved,
    RemoveAttempt,
    Tick,
)
from app.domain.request_records import (
    ExportCommanded,
    ExportRequested,
    RequestAdmitted,
    RequestRefused,
)
from app.domain.result_records import (
    DeliveryTried,
    ExportFinished,
    ExportProgress,
    ProgressChange,
    RedeliveryAsked,
    RequestConfirmed,
    RequestExpiring,
    RequestForgotten,
    RequestProgress,
    RequestSettled,
    TilesTold,
)
from app.domain.work_records import (
    AdoptShards,
    AssemblePackage,
    AssemblyBeat,
    AssemblyFailed,
    PackageAssembled,
    RangesMissing,
    RangeSpan,
    RangeUnreadable,
    RangeWritten,
    ShardsAdopted,
    TileRunOrdered,
    WriteRange,
)

__all__ = [
    "AdoptShards",
    "AssemblePackage",
    "AssemblyBeat",
    "AssemblyFailed",
    "DeliveryTried",
    "ExportAssembled",
    "ExportBeat",
    "ExportCommanded",
    "ExportFailed",
    "ExportFinished",
    "ExportProgress",
    "ExportRequested",
    "ExportStarted",
    "ExportStopped",
    "FilesRemoved",
    "PackageAssembled",
    "ProgressChange",
    "RangeSpan",
    "RangeUnreadable",
    "RangeWritten",
    "RangesMissing",
    "RedeliveryAsked",
    "RemoveAttempt",
    "RequestAdmitted",
    "RequestConfirmed",
    "RequestExpiring",
    "RequestForgotten",
    "RequestProgress",
    "RequestRefused",
    "RequestSettled",
    "ShardsAdopted",
    "Tick",
    "TileRunOrdered",
    "TilesTold",
    "WriteRange",
]
