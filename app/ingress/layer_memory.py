"""What exports taught of layers: the sizes of their tiles, and how fast they go."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from app.domain.records import ExportProgress
from app.domain.rows import LayerRow

ASSUMED_TILES_PER_S: Final = 500.0
"""Where nothing has been measured yet: an assumption, and told as one (`Rate.basis`)."""
MIN_TIMED_TILES: Final = 1_000
"""A smaller export measures how long a start and an end take, not how fast tiles go."""
MAX_LAYERS: Final = 10_000

Basis = Literal["layer", "service", "assumed"]

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast an export will go.

    Attributes:
        tiles_per_s: Tiles per second.
        basis: What was measured: the last export of this layer, the last one of any layer, or
            nothing, so that it is assumed.
    """

    tiles_per_s: float
    basis: Basis


class LayerMemory:
    """Mean tile sizes by layer and zoom; rates by layer, of which the newest counts."""

    def __init__(self) -> None:
        """Know nothing."""
        self._sizes: dict[str, dict[int, int]] = {}
        self._rates: dict[str, tuple[int, float]] = {}
        self._any_rate: tuple[int, float] | None = None

    def learn(self, layer_id: str, row: LayerRow) -> None:
        """Take over what the registrar reckons with: an estimate must not tell other sizes."""
        _put(self._sizes, layer_id, {mean.zoom: mean.mean_bytes for mean in row.means})

    def forget(self, layer_id: str) -> None:
        """Drop the sizes of a layer whose row has gone; harmless for one that is not there."""
        self._sizes.pop(layer_id, None)

    def note(self, export: ExportProgress) -> None:
        """Learn from what is told of an export how fast such exports go."""
        rate = _rate(export)
        if rate > 0 and export.at_ms >= self._rates.get(export.layer_id, (0, 0.0))[0]:
            _put(self._rates, export.layer_id, (export.at_ms, rate))
            newest = (export.at_ms, rate)
            self._any_rate = max(self._any_rate or newest, newest)

    def mean_bytes(self, layer_id: str, zooms: Iterable[int], otherwise: int) -> dict[int, int]:
        """Mean size of a tile by zoom, bytes; `otherwise` for zooms that nothing is known of."""
        known = self._sizes.get(layer_id, {})
        return {zoom: known.get(zoom, otherwise) for zoom in zooms}

    def rate(self, layer_id: str) -> Rate:
        """How fast an export of a layer goes: as its last one, else as the last of any layer."""
        known = self._rates.get(layer_id)
        if known is not None:
            return Rate(known[1], "layer")
        if self._any_rate is not None:
            return Rate(self._any_rate[1], "service")
        return Rate(ASSUMED_TILES_PER_S, "assumed")


def _rate(export: ExportProgress) -> float:
    """Tiles per second: of the whole export once it is finished, else between its last beats."""
    if export.tiles_expected < MIN_TIMED_TILES:
        return 0.0
    if export.state == "Completed" and export.started_at_ms:
        took_ms = export.finished_at_ms - export.started_at_ms
        return 1000 * export.tiles_expected / took_ms if took_ms > 0 else 0.0
    return export.tiles_per_s if export.state == "In-Progress" else 0.0


def _put(known: dict[str, Value], layer_id: str, value: Value) -> None:
    if layer_id not in known and len(known) >= MAX_LAYERS:
        del known[next(iter(known))]
    known[layer_id] = value
