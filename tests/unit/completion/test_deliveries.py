"""Which webhooks are called, when again, and when no more; nothing said twice counts twice."""

from dataclasses import replace

import pytest

from app.completion.deliveries import GIVE_UP_MS, LONGEST_PATIENCE_MS, delivery_id, wait_ms
from app.completion.owner import Completion
from app.domain.inbox import InboxPosition
from app.domain.package_facts import PackageFacts, ZoomCounts
from app.domain.records import (
    DeliveryTried,
    RedeliveryAsked,
    RequestExpiring,
    RequestSettled,
    Tick,
)

NOW_MS = 1_700_000_000_000
EXPIRES_MS = NOW_MS + 30 * 24 * 3600 * 1000
A, B = "http://a/hook", "http://b/hook"

FACTS = PackageFacts(
    package_name="p.gpkg",
    metadata_name="p.json",
    file_bytes=9,
    sha256="0" * 64,
    finished_at_ms=NOW_MS,
    zooms=(ZoomCounts(0, 4, 4, 0, 0, 9),),
)

SETTLED = RequestSettled(
    request_id="r1",
    at_ms=NOW_MS,
    status="Completed",
    reason=None,
    layer_id="l",
    bbox_json=None,
    target_resolution_deg=None,
    callback_urls=(A, B),
    file_uri="http://here/p.gpkg",
    metadata_uri="http://here/p.json",
    expires_at_ms=EXPIRES_MS,
    finished_at_ms=NOW_MS,
    facts=FACTS,
)


class Partition:
    """A completion partition over a dictionary."""

    def __init__(self):
        self.rows = {}
        self.owner = Completion(lambda table, key: self.rows.get((table, key)), lambda: None)

    def handle(self, record):
        decision = self.owner.decide(record, InboxPosition(0, 0))
        for store in decision.stores:
            if store.row is None:
                self.rows.pop((store.table, store.key), None)
            else:
                self.rows[store.table, store.key] = store.row
            self.owner.apply(store)
        return decision.stores

    def tries(self, key, http_status, *, at_ms=NOW_MS, retry_at_ms=0):
        trial = self.delivery(key).trials + 1
        self.handle(DeliveryTried("r1", at_ms, key, trial, http_status, None, retry_at_ms))
        return self.delivery(key)

    def delivery(self, key):
        return self.rows["deliveries", key]

    def events(self):
        rows = [row for (table, _), row in self.rows.items() if table == "deliveries"]
        return sorted((row.event, row.url, row.expires_at_ms) for row in rows)


@pytest.fixture
def partition():
    made = Partition()
    made.handle(SETTLED)
    return made


def test_the_latest_twenty_calls_are_remembered_with_time_and_answer(partition):
    key = delivery_id("r1", A)
    for number in range(25):
        row = partition.tries(key, 500 + number, at_ms=NOW_MS + number)
    told = [(trial.at_ms - NOW_MS, trial.http_status) for trial in row.history]
    assert told == [(number, 500 + number) for number in range(5, 25)]
    assert row.trials == 25


def test_a_try_told_twice_is_remembered_once(partition):
    key = delivery_id("r1", A)
    record = DeliveryTried("r1", NOW_MS, key, 1, 0, "no answer within 10 s")
    partition.handle(record)
    assert partition.handle(record) == ()
    (trial,) = partition.delivery(key).history
    assert trial.error == "no answer within 10 s"


def test_a_result_is_delivered_as_what_it_is(partition):
    assert partition.events() == [("completed", A, 0), ("completed", B, 0)]
    failed = Partition()
    failed.handle(replace(SETTLED, status="Aborted", reason="cancelled", facts=None))
    assert failed.events() == [("failed", A, 0), ("failed", B, 0)]


def test_an_address_asked_for_before_the_result_gets_the_name_of_the_event_in_the_end():
    partition = Partition()
    partition.handle(RedeliveryAsked("r1", NOW_MS, "http://c/hook"))
    partition.handle(replace(SETTLED, status="Failed", reason="disk", facts=None))
    assert partition.tries(delivery_id("r1", "http://c/hook"), 200).event == "failed"


def test_who_asks_again_gets_one_call_more_under_the_same_id(partition):
    key = delivery_id("r1", A)
    partition.tries(key, 200)
    again = RedeliveryAsked("r1", NOW_MS + 5, A, again=True)
    partition.handle(again)
    row = partition.delivery(key)
    assert (row.state, row.next_at_ms, row.trials) == ("pending", NOW_MS + 5, 1)
    assert partition.tries(key, 204, at_ms=NOW_MS + 6).state == "delivered"
    assert partition.handle(again) == ()
    assert len(partition.delivery(key).history) == 2


def test_who_asks_without_again_calls_nobody_twice(partition):
    partition.tries(delivery_id("r1", A), 200)
    assert partition.handle(RedeliveryAsked("r1", NOW_MS + 5, A)) == ()


def test_who_asks_again_for_a_new_address_adds_it_and_a_replay_does_not_call_it_again(partition):
    asked = RedeliveryAsked("r1", NOW_MS + 5, "http://c/hook", again=True)
    partition.handle(asked)
    key = delivery_id("r1", "http://c/hook")
    assert partition.tries(key, 200, at_ms=NOW_MS + 6).state == "delivered"
    assert partition.handle(asked) == ()


def test_what_was_given_up_has_three_days_again_when_somebody_asks(partition):
    key = delivery_id("r1", A)
    late_ms = NOW_MS + GIVE_UP_MS
    assert partition.tries(key, 500, at_ms=late_ms).state == "given-up"
    partition.handle(RedeliveryAsked("r1", late_ms + 1, A, again=True))
    assert partition.tries(key, 500, at_ms=late_ms + 2).state == "pending"
    assert partition.tries(key, 500, at_ms=late_ms + 1 + GIVE_UP_MS).state == "given-up"


def test_the_last_try_is_made_when_the_three_days_end_and_none_after_it(partition):
    key, at_ms, tries = delivery_id("r1", A), NOW_MS, 0
    while (row := partition.tries(key, 503, at_ms=at_ms, retry_at_ms=at_ms + 1)).state == "pending":
        assert at_ms < row.next_at_ms <= NOW_MS + GIVE_UP_MS
        at_ms, tries = row.next_at_ms, tries + 1
    assert at_ms == NOW_MS + GIVE_UP_MS
    assert 72 < tries < 100
    assert (row.state, row.next_at_ms, row.http_status) == ("given-up", 0, 503)


def test_every_address_is_warned_of_an_expiry_once(partition):
    partition.tries(delivery_id("r1", A), 200)
    warning = RequestExpiring("r1", NOW_MS + 1, EXPIRES_MS)
    stores = partition.handle(warning)
    assert len(stores) == 2
    assert partition.events()[2:] == [("expiring", A, EXPIRES_MS), ("expiring", B, EXPIRES_MS)]
    for store in stores:
        partition.tries(store.key, 200)
    assert partition.handle(replace(warning, at_ms=NOW_MS + 99)) == ()


def test_an_expiry_that_was_moved_is_warned_of_again(partition):
    first = partition.handle(RequestExpiring("r1", NOW_MS + 1, EXPIRES_MS))
    second = partition.handle(RequestExpiring("r1", NOW_MS + 2, EXPIRES_MS + 1))
    ids = {store.key for store in (*first, *second)}
    assert len(ids) == 4
    assert not ids & {delivery_id("r1", A), delivery_id("r1", B)}


def test_who_wants_no_more_calls_is_not_warned(partition):
    partition.tries(delivery_id("r1", A), 410)
    partition.handle(RequestExpiring("r1", NOW_MS + 1, EXPIRES_MS))
    assert [event for event in partition.events() if event[0] == "expiring"] == [
        ("expiring", B, EXPIRES_MS)
    ]


def test_nobody_is_warned_of_a_result_that_is_forgotten():
    assert Partition().handle(RequestExpiring("r1", NOW_MS, EXPIRES_MS)) == ()


def test_warnings_are_forgotten_with_the_result(partition):
    partition.handle(RequestExpiring("r1", NOW_MS + 1, EXPIRES_MS))
    partition.handle(Tick(at_ms=partition.owner.due_at_ms()))
    assert partition.rows == {}
    assert partition.owner.pending == {}


def test_warnings_and_trials_survive_a_restart(partition):
    partition.tries(delivery_id("r1", A), 500)
    partition.handle(RequestExpiring("r1", NOW_MS + 1, EXPIRES_MS))
    restarted = Completion(lambda table, key: partition.rows.get((table, key)), lambda: None)
    for (table, key), row in partition.rows.items():
        restarted.load(table, key, row)
    later_ms = NOW_MS + 10_000
    calls, known = restarted.calls, partition.owner.calls
    assert sorted(calls.receivers(later_ms)) == ["a:80", "b:80"]
    for receiver in ("a:80", "b:80"):
        ids = list(calls.due(receiver, later_ms))
        assert ids == list(known.due(receiver, later_ms))
        assert len(ids) == 2
    assert len(restarted.pending) == 4


@pytest.mark.parametrize("http_status", [429, 503])
def test_a_receiver_that_asks_for_patience_gets_it_within_bounds(partition, http_status):
    key = delivery_id("r1", A)
    row = partition.tries(key, http_status, retry_at_ms=NOW_MS + 120_000)
    assert row.next_at_ms == NOW_MS + 120_000
    row = partition.tries(key, http_status, retry_at_ms=NOW_MS + 10 * GIVE_UP_MS)
    assert row.next_at_ms == NOW_MS + LONGEST_PATIENCE_MS
    row = partition.tries(key, http_status, retry_at_ms=NOW_MS + 1)
    assert row.next_at_ms == NOW_MS + wait_ms(key, 3)


def test_retry_after_of_another_answer_means_nothing(partition):
    key = delivery_id("r1", A)
    row = partition.tries(key, 500, retry_at_ms=NOW_MS + 120_000)
    assert row.next_at_ms == NOW_MS + wait_ms(key, 1)
