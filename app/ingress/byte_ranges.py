"""The Range header of a request, read against the size of a file."""

import re
from dataclasses import dataclass
from typing import Final

MAX_RANGES: Final = 100
"""More in one request count as none, as a server may treat egregious ones."""

_UNIT: Final = re.compile(r"bytes=(.*)", re.ASCII | re.IGNORECASE | re.DOTALL)
_SPEC: Final = re.compile(r"(\d{0,20})-(\d{0,20})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Neighbouring bytes of a file.

    Attributes:
        first: Offset of the first byte.
        last: Offset of the last byte, inclusive.
    """

    first: int
    last: int

    @property
    def size_bytes(self) -> int:
        """How many there are."""
        return self.last - self.first + 1

    def told(self, size_bytes: int) -> str:
        """The range as Content-Range has it, for a file of a size."""
        return f"bytes {self.first}-{self.last}/{size_bytes}"


def asked_ranges(header: str, size_bytes: int) -> tuple[ByteRange, ...] | None:
    """Find the ranges that a request asks for, in its order.

    Ranges beyond the end are left out. A header that cannot be read counts as none, and so do
    more than 100 ranges, and several that together are larger than the file: then whoever asks
    is better off with all of it.

    Args:
        header: The value of Range; empty: there is none.
        size_bytes: Size of the file.

    Returns:
        None: send the whole file. Empty: nothing of what is asked for is there.

    Source:
        RFC 9110, section 14.

    >>> asked_ranges("bytes=0-1, -2, 7-", 8)
    (ByteRange(first=0, last=1), ByteRange(first=6, last=7), ByteRange(first=7, last=7))
    >>> asked_ranges("bytes=8-", 8)
    ()
    >>> asked_ranges("bytes=5-2", 8)
    """
    unit = _UNIT.fullmatch(header)
    # An empty element of a list counts as none (RFC 9110, section 5.6.1).
    specs = [spec.strip(" \t") for spec in unit[1].split(",")] if unit else []
    matches = [_SPEC.fullmatch(spec) for spec in specs if spec]
    if not 0 < len(matches) <= MAX_RANGES:
        return None
    found = []
    for match in matches:
        if match is None or match.group() == "-":
            return None
        first, last = match.groups()
        if first and last and int(last) < int(first):
            return None
        found.append(_within(first, last, size_bytes))
    ranges = tuple(one for one in found if one is not None)
    if len(ranges) > 1 and sum(one.size_bytes for one in ranges) > size_bytes:
        return None
    return ranges


def _within(first: str, last: str, size_bytes: int) -> ByteRange | None:
    """What a range has of the file; None: nothing."""
    end = size_bytes - 1
    if not first:
        return ByteRange(max(0, size_bytes - int(last)), end) if int(last) and end >= 0 else None
    if int(first) > end:
        return None
    return ByteRange(int(first), min(int(last), end) if last else end)
