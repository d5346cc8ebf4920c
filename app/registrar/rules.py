"""What the registrar decides by, besides its rows: the settings, and the moment of the record."""

from dataclasses import dataclass

from app.domain.client_limits import ClientLimits
from app.domain.records import ProgressChange

CHANGES_KEPT = 20


@dataclass(frozen=True, slots=True)
class RegistrarRules:
    """The settings that the registrar decides by.

    Attributes:
        base_url: What download addresses start with, no slash at the end.
        package_ms: How long a finished package is offered, ms.
        max_running: Exports that run at once, count.
        spare_running: Places besides for exports that are done within a window, count.
        range_bytes: Size that a range should have, bytes.
        range_tiles: Most tiles of a range, count; tiny tiles cost time, too.
        grace_ms: How long files that may still be in somebody's hands stay, ms.
        package_max_ms: How far ahead a caller may move the end of that offer, ms.
        expiring_notice_ms: How long before the end of an offer its callers are warned, ms.
        limits: How much one client may ask for.
    """

    base_url: str
    package_ms: int
    max_running: int
    spare_running: int
    range_bytes: int
    range_tiles: int
    grace_ms: int
    package_max_ms: int
    expiring_notice_ms: int
    limits: ClientLimits

    @property
    def notice_ms(self) -> int:
        """When callers are warned before the end, ms; where offers are short, at half-time."""
        return min(self.expiring_notice_ms, self.package_ms // 2)


@dataclass(frozen=True, slots=True)
class Moment:
    """When and where a decision is made; both come from the record, never from a clock.

    Attributes:
        now_ms: The largest time seen so far, ms since 1970 UTC.
        offset: Offset of the record in the registrar's inbox.
    """

    now_ms: int
    offset: int

    @property
    def attempt(self) -> str:
        """Name of an attempt that starts now."""
        return f"{self.now_ms}-{self.offset}"


def changed(
    changes: tuple[ProgressChange, ...], told: str, moment: Moment
) -> tuple[ProgressChange, ...]:
    """Add a change to an export's history, which keeps the last 20."""
    return (*changes, ProgressChange(moment.now_ms, told))[-CHANGES_KEPT:]
