"""Why an attempt whose ranges are all done still gives no package.

ExportServiceError
└── PackageFailed       the export fails with this reason; trying again cannot help
    ├── EmptyPackage    the source has none of the tiles
    └── LedgerMismatch  the ledgers count other tiles than the plan: a bug, told with both counts

ShardLost
├── NotOwner            somebody else works on the shard now
├── ShardBusy           its lock could not be had in time
└── ShardDamaged        the file is no whole database
    └── RangesDamaged   it is, but some of its ranges are not what was read
"""

from app.domain.errors import ExportServiceError, ShardLost


class PackageFailed(ExportServiceError):
    """No package can be made of these shards; the message is for the caller to read."""


class EmptyPackage(PackageFailed):
    """All tiles are missing or skipped: a failure, not an empty success."""


class LedgerMismatch(PackageFailed):
    """The ledgers and the plan disagree about how many tiles there are."""


class NotOwner(ShardLost):
    """Another owner, or none, stands in the shard: stop working on it."""


class ShardBusy(ShardLost):
    """Another process held the shard's lock for too long."""


class ShardDamaged(ShardLost):
    """The file is no database, or not a whole one; what it held is written again."""


class RangesDamaged(ShardDamaged):
    """Tiles of some ranges are not what was read from the source.

    Attributes:
        numbers: Of the ranges.
    """

    def __init__(self, numbers: frozenset[int]) -> None:
        """Say which."""
        super().__init__(f"tiles of {len(numbers)} ranges are not what was read")
        self.numbers = numbers
