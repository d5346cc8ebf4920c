"""How much one client may ask for."""

from app.domain.client_limits import (
    ClientLimits,
    RecentRequests,
    too_large,
    too_many_exports,
    too_many_requests,
)

LIMITS = ClientLimits(max_requests_per_minute=3, max_live_exports=2, max_export_bytes=1_000)
NOW_MS = 1_700_000_000_000


def test_each_refusal_tells_limit_and_actual():
    assert too_many_requests(LIMITS, "ann", 3) == (
        "client 'ann' has sent 3 requests within a minute; max_requests_per_minute is 3"
    )
    assert too_many_exports(LIMITS, "ann", 5) == (
        "client 'ann' has 5 exports that wait or run; max_live_exports_per_client is 2"
    )
    assert too_large(LIMITS, 1_001) == (
        "this export needs about 1001 bytes; max_export_bytes is 1000"
    )


def test_what_is_within_the_limits_is_not_refused():
    assert too_many_requests(LIMITS, "ann", 2) is None
    assert too_many_exports(LIMITS, "ann", 1) is None
    assert too_large(LIMITS, 1_000) is None


def test_without_limits_nothing_is_refused():
    none = ClientLimits()
    assert too_many_requests(none, "ann", 10**9) is None
    assert too_many_exports(none, "ann", 10**9) is None
    assert too_large(none, 10**18) is None


def test_a_request_counts_once_however_often_it_is_noted():
    recent = RecentRequests()
    for at_ms in (NOW_MS, NOW_MS + 3_000, NOW_MS - 3_000):
        recent.note("r1", "ann", at_ms)
    assert recent.count("ann", NOW_MS) == 1
    assert recent.count("ann", NOW_MS, besides="r1") == 0
    assert recent.count("bob", NOW_MS, besides="r1") == 0


def test_a_request_counts_for_a_minute():
    recent = RecentRequests()
    recent.note("r1", "ann", NOW_MS)
    recent.note("r2", "ann", NOW_MS + 30_000)
    assert recent.count("ann", NOW_MS + 59_000) == 2
    assert recent.wait_s("ann", NOW_MS + 45_000) == 15
    assert recent.count("ann", NOW_MS + 60_000) == 1
    assert recent.count("ann", NOW_MS + 90_000) == 0
    assert recent.wait_s("ann", NOW_MS + 90_000) == 1


def test_rows_may_come_in_any_order_and_only_the_last_minute_is_kept():
    recent = RecentRequests()
    for age_s in [*range(0, 100_000, 20), *range(100_000, 0, -20)]:
        recent.note(f"r{age_s}", "ann", NOW_MS - 1_000 * age_s)
    assert recent.count("ann", NOW_MS) == 3
    assert len(recent._known) == 3
