"""What finished and running exports taught of layers: sizes of tiles, and how fast they go."""

from collections.abc import Iterable
from typing import Final, TypeVar

from app.domain.records import ExportProgress

DEFAULT_TILES_PER_S: Final = 500.0
"""Where nothing has run yet. A source on a disk of its own is faster, one on the web slower."""
MAX_LAYERS: Final = 10_000

Value = TypeVar("Value")


class LayerMemory:
    """Mean tile sizes by layer and zoom, and rates by layer; the newest export counts."""

    def __init__(self) -> None:
        """Know nothing."""
        self._means: dict[str, tuple[int, dict[int, int]]] = {}
        self._rates: dict[str, tuple[int, float]] = {}
        self._any_rate = (0, DEFAULT_TILES_PER_S)

    def note(self, export: ExportProgress) -> None:
        """Learn from what is told of an export."""
        means = {
            counts.zoom: max(1, counts.tile_bytes // counts.written)
            for counts in export.learned
            if counts.written
        }
        known_at_ms = self._means.get(export.layer_id, (0, {}))[0]
        ended_at_ms = export.finished_at_ms or export.at_ms
        if means and ended_at_ms >= known_at_ms:
            _put(self._means, export.layer_id, (ended_at_ms, means))
        rate = _rate(export)
        if rate > 0 and export.at_ms >= self._rates.get(export.layer_id, (0, 0.0))[0]:
            _put(self._rates, export.layer_id, (export.at_ms, rate))
            self._any_rate = max(self._any_rate, (export.at_ms, rate))

    def mean_bytes(self, layer_id: str, zooms: Iterable[int], otherwise: int) -> dict[int, int]:
        """Mean size of a tile by zoom, bytes; `otherwise` for zooms that nothing is known of."""
        known = self._means.get(layer_id, (0, {}))[1]
        return {zoom: known.get(zoom, otherwise) for zoom in zooms}

    def tiles_per_s(self, layer_id: str) -> float:
        """How fast an export of a layer goes: as its last one, else as the last of any layer."""
        return self._rates.get(layer_id, self._any_rate)[1]


def _rate(export: ExportProgress) -> float:
    """Tiles per second: of the whole export once it is finished, else between its last beats."""
    if export.state == "Completed" and export.started_at_ms:
        took_ms = export.finished_at_ms - export.started_at_ms
        return 1000 * export.tiles_expected / took_ms if took_ms > 0 else 0.0
    return export.tiles_per_s if export.state == "In-Progress" else 0.0


def _put(known: dict[str, Value], layer_id: str, value: Value) -> None:
    if layer_id not in known and len(known) >= MAX_LAYERS:
        del known[next(iter(known))]
    known[layer_id] = value
