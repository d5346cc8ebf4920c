"""Times as callers read them: ISO 8601 in UTC with milliseconds (GeoPackage 1.3, section 1.1.3)."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso_time(at_ms: int) -> str:
    """Write a time, given in ms since 1970 UTC.

    >>> iso_time(1_700_000_000_123)
    '2023-11-14T22:13:20.123Z'
    """
    at = _EPOCH + timedelta(milliseconds=at_ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ms_of(iso: str) -> int:
    """Read a time, ms since 1970 UTC; exact, unlike a float of seconds.

    Raises:
        ValueError: It is none.

    >>> ms_of("2023-11-14T22:13:20.123Z")
    1700000000123
    """
    return (datetime.fromisoformat(iso) - _EPOCH) // timedelta(milliseconds=1)
