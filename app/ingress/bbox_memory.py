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
        West, south, east, north in degrees. Over the antimeridian west > east, as in RFC 7946,
        section 5.2: in a box that was written so, and where parts touch it from both sides.
        None: the footprint, or nothing that we understand.

    >>> bounds_of('{"type":"Polygon","coordinates":[[[1,2],[3,2],[3,4],[1,2]]]}')
    (1.0, 2.0, 3.0, 4.0)
    >>> bounds_of("[170,-10,-170,10]")
    (170.0, -10.0, -170.0, 10.0)
    >>> parts = "[[[170,0],[180,0],[180,9],[170,0]]],[[[-180,0],[-175,0],[-180,9],[-180,0]]]"
    >>> bounds_of('{"type":"MultiPolygon","coordinates":[%s]}' % parts)
    (170.0, 0.0, -175.0, 9.0)
    """
    if bbox_json is None:
        return None
    try:
        value = orjson.loads(bbox_json)
    except orjson.JSONDecodeError:
        return None
    if isinstance(value, list):
        return _box(value)
    rings = list(_rings(value))
    if not rings:
        return None
    lats = [lat for ring in rings for _, lat in ring]
    west, east = _span([(min(ring)[0], max(ring)[0]) for ring in rings])
    return west, min(lats), east, max(lats)


def _span(spans: list[tuple[float, float]]) -> tuple[float, float]:
    """West and east of several spans; where they touch the antimeridian from both sides, over it.

    Their widest gap is left out then; the whole globe has none.

    >>> _span([(-180.0, -175.0), (20.0, 30.0), (170.0, 180.0)])
    (20.0, -175.0)
    >>> _span([(-180.0, 10.0), (10.0, 180.0)])
    (-180.0, 180.0)
    >>> _span([(-180.0, 20.0), (10.0, 180.0), (-50.0, -40.0)])
    (-180.0, 180.0)
    """
    spans = sorted(spans)
    west, east = spans[0][0], max(east for _, east in spans)
    if (west, east) != (-180, 180):
        return west, east
    widest_gap, reached = 0.0, west
    for start, end in spans:
        if start - reached > widest_gap:
            widest_gap, west, east = start - reached, start, reached
        reached = max(reached, end)
    return west, east


def _box(value: list[Any]) -> Bounds | None:
    if len(value) != 4 or not all(isinstance(number, int | float) for number in value):
        return None
    west, south, east, north = map(float, value)
    return west, south, east, north


def _rings(value: object) -> Iterator[list[tuple[float, float]]]:
    """All rings of a GeoJSON object, whatever its kind, without recursion into depths."""
    left: list[Any] = [value]
    while left:
        one = left.pop()
        if isinstance(one, Mapping):
            left += [one.get(name) for name in ("coordinates", "geometry", "features")]
        elif isinstance(one, list):
            ring = [(float(p[0]), float(p[1])) for p in one if _is_position(p)]
            if ring:
                yield ring
            else:
                left += one


def _is_position(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= 2
        and all(isinstance(number, int | float) for number in value[:2])
    )
