"""Where a record stands in the inbox of its stage."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InboxPosition:
    """One record's place in the inbox.

    A broker that loses its tail gives offsets again, so an offset alone names a record only
    together with a time.

    Attributes:
        partition: Partition of the inbox topic, from 0.
        offset: Offset of the record in that partition.
    """

    partition: int
    offset: int
