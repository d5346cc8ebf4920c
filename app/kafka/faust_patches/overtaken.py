"""Patch g: a recovery that the next rebalance has overtaken opens nothing."""

from typing import Any

from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer

from app.kafka.faust_patches.pinned import original

_on_rebalance = original("faust.tables.recovery:Recovery.on_rebalance")
_resume_flow = original("faust.transport.consumer:Consumer.resume_flow")
original("faust.app.base:App.on_rebalance_start")


async def on_rebalance(
    self: Any, assigned: Any, revoked: Any, newly_assigned: Any, generation_id: int = 0
) -> None:
    """Note which rebalance the coming recovery belongs to.

    Upstream: none yet.
    """
    if generation_id == self.app.consumer_generation_id:
        self._answers_rebalance = self.app.rebalancing_count
    await _on_rebalance(self, assigned, revoked, newly_assigned, generation_id)


def is_overtaken(recovery: Any) -> bool:
    """Whether partitions are being revoked since this recovery was asked for.

    The generation tells it too late: that changes with the next assignment. Between the two,
    members wait for one another in JoinGroup, up to the session of one that died. The broker
    answers one request of a connection after the other, so a recovery that asks for committed
    offsets meanwhile goes on when the join ends, in the middle of the next rebalance.
    """
    return bool(getattr(recovery, "_answers_rebalance", 0) != recovery.app.rebalancing_count)


def resume_flow(self: Any) -> None:
    """Patch g: records flow only when no further rebalance has begun.

    Faust's recovery goes on while the next rebalance revokes: it opens the flow that the
    revocation has just closed, and declares that rebalance ended. Handlers then begin records of
    partitions that are going to others, or of new ones before their rows are recovered.

    Upstream: none yet.
    """
    if self.app.client_only or not is_overtaken(self.app.tables.recovery):
        _resume_flow(self)


def apply() -> None:
    """Put both in place."""
    Recovery.on_rebalance = on_rebalance
    Consumer.resume_flow = resume_flow
