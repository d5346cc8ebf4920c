"""What one client may ask for is never exceeded, and nobody is refused without a limit."""

from typing import TYPE_CHECKING

from app.registrar.state import RegistrarState
from tests.simulation.schedule import NO_LIMITS
from tests.simulation.violation import Violation

if TYPE_CHECKING:
    from tests.simulation.witness import Witness

SHORT_MINUTE_MS = 55_000
"""Requests that were sent within so long are judged within a minute."""


def watch(witness: "Witness", state: RegistrarState) -> None:
    """What runs for one client stays within its limit."""
    most = witness.world.schedule.limits.max_live_exports
    if most is not None and any(count > most for count in state.live_by_client.values()):
        raise Violation(f"{state.live_by_client} exports at a time, more than {most}")


def judge_end(witness: "Witness") -> None:
    """Limits were kept, as far as a run without faults tells."""
    schedule = witness.world.schedule
    for request_id, result in witness.results.items():
        if "max_" in (result.error_reason or "") and schedule.limits == NO_LIMITS:
            raise Violation(f"{request_id} is refused, and there is no limit")
    most = schedule.limits.max_requests_per_minute
    if most is None or schedule.faults:
        return
    for record in witness.accepted.values():
        before = [
            other
            for other in witness.accepted.values()
            if other.client == record.client
            and record.at_ms - SHORT_MINUTE_MS < other.at_ms < record.at_ms - 1_000
            and not _was_too_many(witness, other.request_id)
        ]
        is_one_more = len(before) >= most and not record.via_http
        if is_one_more and witness.results[record.request_id].success:
            raise Violation(f"{record.request_id} is one of more than {most} within a minute")


def _was_too_many(witness: "Witness", request_id: str) -> bool:
    reason = witness.results[request_id].error_reason or ""
    return "max_requests" in reason or "max_live" in reason
