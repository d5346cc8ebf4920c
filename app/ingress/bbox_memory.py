"""The areas that callers asked for, as they wrote them, within a bound of memory."""

import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

SMALL_CHARS: Final = 1_000
"""A box or a simple polygon; kept as it is, since compressing it gains little."""
BUDGET_BYTES: Final = 64_000_000
"""What large areas may take together, compressed; the oldest go first."""

Bounds = tuple[float, float, float, float]


class BboxMemory:
    """Areas by request: small ones always, large ones compressed as long as there is room."""

    def __init__(self, budget_bytes: int = BUDGET_BYTES) -> None:
        """Keep nothing yet.

        Args:
            budget_bytes: What large areas may take together, compressed.
        """
        self._budget_bytes = budget_bytes
        self._small: dict[str, str] = {}
        self._large: OrderedDict[str, bytes] = OrderedDict()
        self.large_bytes = 0

    def put(self, request_id: str, bbox_json: str | None) -> None:
        """Keep the area of a request; None: it asked for the footprint."""
        if bbox_json is None:
            self.drop(request_id)
            return
        if len(bbox_json) <= SMALL_CHARS:
            self.drop(request_id)
            self._small[request_id] = bbox_json
            return
        packed = zlib.compress(bbox_json.encode(), 1)
        if self._large.get(request_id) == packed:  # told again: it keeps its age
            return
        self.drop(request_id)
        self._large[request_id] = packed
        self.large_bytes += len(packed)
        while self.large_bytes > self._budget_bytes:
            _, oldest = self._large.popitem(last=False)
            self.large_bytes -= len(oldest)

    def get(self, request_id: str) -> str | None:
        """The area as JSON text; None: the footprint was asked for, or it had to be dropped."""
        packed = self._large.get(request_id)
        if packed is not None:
            return zlib.decompress(packed).decode()
        return self._small.get(request_id)

    def drop(self, request_id: str) -> None:
        """Forget an area; harmless for one that is not there."""
        self._small.pop(request_id, None)
        self.large_bytes -= len(self._large.pop(request_id, b""))


def bounds_of(bbox_json: str | None) -> Bounds | None:
    """Find the box around an area.

    Args:
        bbox_json: As the caller wrote it, JSON text; None: the footprint.

    Returns:
        West, south, east, north in degrees; a box that crosses the antimeridian keeps
        west > east. None: the footprint, or nothing that we understand.

    >>> bounds_of('{"type":"Polygon","coordinates":[[[1,2],[3,2],[3,4],[1,2]]]}')
    (1.0, 2.0, 3.0, 4.0)
    >>> bounds_of("[170,-10,-170,10]")
    (170.0, -10.0, -170.0, 10.0)
    """
    if bbox_json is None:
        return None
    try:
        value = orjson.loads(bbox_json)
    except orjson.JSONDecodeError:
        return None
    if isinstance(value, list):
        return _box(value)
    positions = list(_positions(value))
    if not positions:
        return None
    lons, lats = zip(*positions, strict=True)
    return min(lons), min(lats), max(lons), max(lats)


def _box(value: list[Any]) -> Bounds | None:
    if len(value) != 4 or not all(isinstance(number, int | float) for number in value):
        return None
    west, south, east, north = map(float, value)
    return west, south, east, north


def _positions(value: object) -> Iterator[tuple[float, float]]:
    """All positions of a GeoJSON object, whatever its kind, without recursion into depths."""
    left: list[Any] = [value]
    while left:
        one = left.pop()
        if isinstance(one, Mapping):
            left += [one.get(name) for name in ("coordinates", "geometry", "features")]
        elif isinstance(one, list):
            if len(one) >= 2 and all(isinstance(number, int | float) for number in one[:2]):
                yield float(one[0]), float(one[1])
            else:
                left += one
