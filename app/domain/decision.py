"""What a handler decides: rows to store and records to send, as values the agent carries out."""

from dataclasses import dataclass
from typing import Any

# A record or a row is any dataclass that has a schema; Python has no bound for that.
Record = Any


@dataclass(frozen=True, slots=True)
class Store:
    """One row to write into a table of the stage.

    Attributes:
        table: Name of the table, e.g. `requests`.
        key: Key of the row.
        row: The row, a dataclass with a schema; None deletes it.
    """

    table: str
    key: str
    row: Record | None


@dataclass(frozen=True, slots=True)
class Send:
    """One record to send once every row is stored.

    Attributes:
        topic: Name in the topic catalogue, e.g. `export-plans`, without any prefix.
        key: Key of the record; it chooses the partition.
        record: The record, a dataclass with a schema; None is a tombstone: the key is forgotten.
    """

    topic: str
    key: str
    record: Record | None


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything one handler decided about one record.

    The agent stores the rows in their order, waits until the broker has confirmed them all,
    sends the records, and waits for those. The row that marks a replay comes last.

    Attributes:
        stores: Rows, in the order in which they are written.
        sends: Records, sent together.
        dead_letter: Why the record itself goes to the dead letters; None: it does not.
    """

    stores: tuple[Store, ...] = ()
    sends: tuple[Send, ...] = ()
    dead_letter: str | None = None


NOTHING = Decision()
