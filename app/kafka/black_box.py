"""Which records were in hand when the process died, and how often: three deaths make poison.

A record that kills its process (memory, a crash in C code, a bug) is read again by the next one.
The positions in hand stand in a mapped file, which outlives the process without a system call
per record; the next process counts those it finds there. Each of them may be the culprit: such
records are handled one at a time from then on, so that the innocent are soon forgiven.

A disk that is full or read-only must neither keep a process from starting nor lose a record: what
cannot be written is not counted.
"""

import json
import mmap
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from app.domain.inbox import InboxPosition

log = structlog.get_logger(__name__)

DEATHS_THAT_MAKE_POISON = 3

# Used, partition, offset.
_SLOT = struct.Struct(">BIQ")
_SLOTS = 64


@dataclass(slots=True)
class BlackBox:
    """Positions in hand and deaths by position, of one inbox in one process.

    Attributes:
        limit: Deaths at which a record is given up.
        path: The mapped file; the counts lie beside it with the suffix `.json`.
        in_hand: The mapped file's content.
        deaths: Deaths by position.
        free: Numbers of free slots.
    """

    limit: int
    path: Path
    in_hand: mmap.mmap
    deaths: Counter[InboxPosition]
    free: list[int]

    @classmethod
    def open(cls, path: Path, limit: int = DEATHS_THAT_MAKE_POISON) -> Self:
        """Count what the last process had in hand, and start empty.

        Args:
            path: Path without suffix, of one process at a time; its folder is made.
            limit: Deaths at which a record is given up.

        Raises:
            OSError: The mapped file cannot be made.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        deaths = _read_deaths(path.with_suffix(".json"))
        size = _SLOT.size * _SLOTS
        if not path.exists() or path.stat().st_size != size:
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            in_hand = mmap.mmap(file.fileno(), size)
        for used, partition, offset in _SLOT.iter_unpack(in_hand[:]):
            if used:
                deaths[InboxPosition(partition, offset)] += 1
        in_hand[:] = bytes(size)
        box = cls(limit, path, in_hand, deaths, list(range(_SLOTS)))
        box._write_deaths()
        return box

    def take_up(self, position: InboxPosition) -> int | None:
        """Note a record as in hand.

        Returns:
            Its slot; None when more records are in hand than there are slots.
        """
        if not self.free:
            return None
        slot = self.free.pop()
        _SLOT.pack_into(self.in_hand, slot * _SLOT.size, 1, position.partition, position.offset)
        return slot

    def put_down(self, slot: int, position: InboxPosition) -> None:
        """Note a record as done, and forgive it."""
        _SLOT.pack_into(self.in_hand, slot * _SLOT.size, 0, 0, 0)
        self.free.append(slot)
        self.forget(position)

    def is_suspect(self, position: InboxPosition) -> bool:
        """Whether the process has died while it had this record in hand, perhaps among others."""
        return self.deaths[position] > 0 if self.deaths else False

    def is_poison(self, position: InboxPosition) -> bool:
        """Whether the process has died at this record too often."""
        return self.deaths[position] >= self.limit if self.deaths else False

    def forget(self, position: InboxPosition) -> None:
        """Forget the deaths of a record."""
        if self.deaths and position in self.deaths:
            del self.deaths[position]
            self._write_deaths()

    def close_on_exit(self, culprit: InboxPosition | None) -> None:
        """Before an exit of our own: only the record at fault is counted, not its neighbours."""
        self.in_hand[:] = bytes(len(self.in_hand))
        if culprit is not None:
            self.deaths[culprit] += 1
            self._write_deaths()

    def _write_deaths(self) -> None:
        rows = [[at.partition, at.offset, count] for at, count in self.deaths.items()]
        target = self.path.with_suffix(".json")
        draft = self.path.with_suffix(".tmp")
        try:
            draft.write_text(json.dumps(rows))
            draft.replace(target)
        except OSError as error:
            log.warning("deaths_not_counted", path=str(target), reason=str(error))


def _read_deaths(path: Path) -> Counter[InboxPosition]:
    try:
        rows = json.loads(path.read_text())
        return Counter(
            {InboxPosition(partition, offset): count for partition, offset, count in rows}
        )
    except (OSError, ValueError, TypeError):
        return Counter()  # no count is better than no start
