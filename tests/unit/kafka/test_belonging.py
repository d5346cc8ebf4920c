"""What belongs in an inbox: its own records, and none that is too old."""

import pytest

from app.domain.errors import InvalidRecord
from app.domain.records import (
    ExportRequested,
    RequestConfirmed,
    RequestSettled,
    Tick,
)
from app.kafka.belonging import RecordTooOld, check_age, check_type
from app.kafka.topics import CATALOGUE, DAY_MS

NOW_MS = 1_800_000_000_000
MONTH_OLD_MS = NOW_MS - 30 * DAY_MS


def test_a_record_of_another_topic_is_refused_by_name():
    with pytest.raises(InvalidRecord, match="Tick is no record of export-requests"):
        check_type(Tick(at_ms=1), "export-requests")


def test_every_record_belongs_where_the_catalogue_carries_it():
    for spec in CATALOGUE:
        for record_class in spec.carries:
            check_type(object.__new__(record_class), spec.name)


def test_a_record_of_a_month_ago_is_too_old_and_says_how_old():
    with pytest.raises(RecordTooOld, match=r"30\.0 days old; .* within 3\.5 days"):
        check_age(Tick(at_ms=NOW_MS), MONTH_OLD_MS, NOW_MS)


def test_an_old_record_put_back_is_known_by_what_it_says_itself():
    with pytest.raises(RecordTooOld, match="at_ms"):
        check_age(Tick(at_ms=MONTH_OLD_MS), NOW_MS, NOW_MS)


def test_what_a_client_wrote_as_its_time_does_not_count():
    check_age(ExportRequested("r", "l", at_ms=1), NOW_MS, NOW_MS)


@pytest.mark.parametrize("record_class", [RequestSettled, RequestConfirmed])
def test_a_result_is_told_until_it_is_confirmed_however_old(record_class):
    record = object.__new__(record_class)
    object.__setattr__(record, "at_ms", MONTH_OLD_MS)
    check_age(record, NOW_MS, NOW_MS)


@pytest.mark.parametrize("timestamp_ms", [0, -1])
def test_no_timestamp_is_no_age(timestamp_ms):
    check_age(Tick(at_ms=0), timestamp_ms, NOW_MS)
