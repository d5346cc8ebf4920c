"""Which exports wait, and which of them comes next."""

from app.domain.records import ExportProgress


class QueueView:
    """The waiting exports in the order in which the registrar starts them."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._waiting: dict[str, float] = {}
        self._positions: dict[str, int] | None = None

    def put(self, export: ExportProgress) -> None:
        """Take over what is told of an export, waiting or not."""
        if export.state != "Pending":
            self.drop(export.export_id)
            return
        rank = _rank(export)
        if self._waiting.get(export.export_id) != rank:
            self._waiting[export.export_id] = rank
            self._positions = None

    def drop(self, export_id: str) -> None:
        """Forget an export; harmless for one that does not wait."""
        if self._waiting.pop(export_id, None) is not None:
            self._positions = None

    def position(self, export_id: str | None) -> int | None:
        """How many exports start until this one does, itself too; None: it does not wait."""
        if self._positions is None:
            ordered = sorted(self._waiting, key=lambda key: (self._waiting[key], key))
            self._positions = {key: number for number, key in enumerate(ordered, 1)}
        return self._positions.get(export_id or "")


def _rank(export: ExportProgress) -> float:
    """As the registrar: larger priorities first, and 100 s of waiting are worth 1,000."""
    return export.queued_at_ms / 100 - export.priority
