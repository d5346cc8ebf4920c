"""The settings that the simulated registrar decides by."""

from app.registrar.rules import RegistrarRules
from tests.simulation.asked import RANGE_BYTES
from tests.simulation.schedule import Schedule

GRACE_MS = 120_000
"""Longer than any process stands still, so that no writer comes after the second removal."""


def rules_of(schedule: Schedule) -> RegistrarRules:
    """The settings of a run."""
    return RegistrarRules(
        base_url="http://here",
        package_ms=schedule.package_ms,
        max_running=schedule.max_running,
        spare_running=schedule.seed % 2,
        range_bytes=RANGE_BYTES,
        range_tiles=50_000,
        grace_ms=GRACE_MS,
        package_max_ms=12 * schedule.package_ms,
        expiring_notice_ms=schedule.package_ms // 2,
        limits=schedule.limits,
    )
