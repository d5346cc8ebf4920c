"""Which exports wait, and which of them comes next."""

from app.domain.queue_order import QueueOrder
from app.domain.records import ExportProgress


class QueueView:
    """The waiting exports in the order in which the registrar starts them."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._order = QueueOrder()
        self._positions: dict[str, int] | None = None

    def put(self, export: ExportProgress) -> None:
        """Take over what is told of an export, waiting or not."""
        if export.started_at_ms:
            self._order.started(export.client, export.started_at_ms)
        if export.state != "Pending":
            self.drop(export.export_id)
            return
        self._order.put(
            export.export_id,
            export.client,
            priority=export.priority,
            queued_at_ms=export.queued_at_ms,
        )
        self._positions = None

    def drop(self, export_id: str) -> None:
        """Forget an export; harmless for one that does not wait."""
        if export_id in self._order:
            self._order.drop(export_id)
            self._positions = None

    def position(self, export_id: str | None) -> int | None:
        """How many exports start until this one does, itself too; None: it does not wait.

        A small export may start sooner: there are places that no other takes.
        """
        if self._positions is None:
            self._positions = {key: number for number, key in enumerate(self._order.in_order(), 1)}
        return self._positions.get(export_id or "")
