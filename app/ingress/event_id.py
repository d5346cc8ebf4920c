"""Ids of server-sent events: how far the topics had been told when an event was sent."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from app.domain.errors import InvalidRequest
from app.domain.topic_names import EXPORT_FINISHED, EXPORT_PROGRESS
from app.ingress.view import Place

Offsets = Mapping[tuple[str, int], int]
"""The offset to come, by topic and partition; 0 where nothing is named."""

TOPICS: Final = (EXPORT_PROGRESS, EXPORT_FINISHED)
_NUMBERS: Final = r"(\d{1,18}(?:\.\d{1,18}){0,127})?"
_FORM: Final = re.compile(rf"{_NUMBERS}-{_NUMBERS}(~?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class EventId:
    """All that stands before these offsets has been told.

    Attributes:
        offsets: How far the topics had been told.
        is_partial: The stream was still telling how things were when it began: exports that
            have not changed since may not have been told.
    """

    offsets: Offsets = field(default_factory=dict)
    is_partial: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the header `Last-Event-ID`.

        Raises:
            InvalidRequest: It is none of our ids.

        >>> str(EventId.parse("4.0.7-2~"))
        '4.0.7-2~'
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise InvalidRequest(
                f"Last-Event-ID is {text!r:.80}; it must be the id of an earlier event"
            )
        offsets = {
            (topic, partition): int(number)
            for topic, numbers in zip(TOPICS, found.groups(), strict=False)
            for partition, number in enumerate(numbers.split(".") if numbers else ())
        }
        return cls(offsets, is_partial=bool(found[3]))

    def __str__(self) -> str:
        """Write the id as events carry it."""
        return "-".join(self._numbers(topic) for topic in TOPICS) + "~" * self.is_partial

    def is_before(self, place: Place) -> bool:
        """Whether a record at some place has not been told."""
        return place.offset >= self.offsets.get((place.topic, place.partition), 0)

    def within(self, known: Offsets) -> Self:
        """Take offsets beyond what the topics hold for 0: a broker has lost its tail there."""
        offsets = {
            key: offset if offset <= known.get(key, 0) else 0
            for key, offset in self.offsets.items()
        }
        return type(self)(offsets, self.is_partial)

    def _numbers(self, topic: str) -> str:
        last = max((partition for name, partition in self.offsets if name == topic), default=-1)
        return ".".join(str(self.offsets.get((topic, number), 0)) for number in range(last + 1))
