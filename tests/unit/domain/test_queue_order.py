"""Which waiting export starts next."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from app.domain.queue_order import QueueOrder, head_start_ms

HOUR_MS = 3_600_000


def queue_of(*exports):
    """Exports as (id, client, priority, queued_at_ms)."""
    queue = QueueOrder()
    for export_id, client, priority, queued_at_ms in exports:
        queue.put(export_id, client, priority=priority, queued_at_ms=queued_at_ms)
    return queue


def run(queue, starts, *, every_ms=1_000, from_ms=0):
    """Start one export at a time; returns the ids in their order."""
    clients = {export_id: queue._waiting[export_id][0] for export_id in queue}
    started = []
    for number in range(starts):
        export_id = next(queue.in_order(), None)
        if export_id is None:
            break
        queue.drop(export_id)
        queue.started(clients[export_id], from_ms + number * every_ms)
        started.append(export_id)
    return started


def test_the_larger_priority_goes_first_and_the_older_one_of_equals():
    queue = queue_of(
        ("b", "x", 5, 1), ("a", "x", 5, 2), ("high", "x", 6_000, 3), ("low", "y", 1, 0)
    )
    assert list(queue.in_order()) == ["high", "b", "a", "low"]


def test_a_priority_is_a_head_start_and_the_largest_one_is_28_hours():
    assert head_start_ms(1_000) == 100_000
    assert 27 < head_start_ms(999_999_999) / HOUR_MS < 28


def test_nothing_starves_behind_a_stream_of_more_urgent_requests_of_its_own_client():
    old = ("old", "x", 0, 0)
    assert list(queue_of(old, ("new", "x", 1_000, 99_000)).in_order()) == ["new", "old"]
    assert list(queue_of(old, ("new", "x", 1_000, 101_000)).in_order()) == ["old", "new"]


def test_nothing_starves_behind_streams_of_more_urgent_requests_of_many_clients():
    """Each second another client comes with the default priority, and one export starts."""
    queue = queue_of(("old", "x", 0, 0))
    for second in range(1, 200):
        queue.put(f"n{second}", f"c{second}", priority=1_000, queued_at_ms=1_000 * second)
        export_id = next(queue.in_order())
        if export_id == "old":
            break
        queue.drop(export_id)
        queue.started(f"c{second}", 1_000 * second)
    assert 95 < second < 105


def test_clients_take_turns_within_a_priority():
    many = [(f"a{number:03}", "ann", 1_000, 0) for number in range(100)]
    few = [(f"b{number}", "bob", 1_000, 10_000) for number in range(5)]
    queue = queue_of(*many)
    assert all(export_id[0] == "a" for export_id in run(queue, 15))
    for export_id, client, priority, queued_at_ms in few:
        queue.put(export_id, client, priority=priority, queued_at_ms=queued_at_ms)
    started = run(queue, 12, from_ms=15_000)
    assert "".join(export_id[0] for export_id in started) == "bababababaaa"


def test_turns_do_not_outweigh_a_larger_priority():
    queue = queue_of(*((f"a{n}", "ann", 50_000, 0) for n in range(5)), ("b", "bob", 1_000, 0))
    assert run(queue, 6) == ["a0", "a1", "a2", "a3", "a4", "b"]


def test_the_urgent_export_of_a_client_does_not_wait_behind_its_own_old_one():
    """The old one has its turn by its age, and the urgent one the next, before all others."""
    queue = queue_of(
        ("old", "ann", 0, 0), ("b", "bob", 1_000, 300_000), ("c", "cy", 1_000, 300_000)
    )
    queue.started("ann", 299_000)
    queue.put("urgent", "ann", priority=9_000, queued_at_ms=310_000)
    assert run(queue, 2, from_ms=310_000) == ["old", "urgent"]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 10**9), st.integers(0, 10**6)), max_size=30
    )
)
def test_every_waiting_export_has_one_place_in_the_order(exports):
    queue = queue_of(*((f"e{n}", *export) for n, export in enumerate(exports)))
    order = list(queue.in_order())
    assert sorted(order) == sorted(queue)
    assert list(islice(queue.in_order(), 3)) == order[:3]
    assert len(queue) == len(exports)
    assert run(queue, 100) and not queue if exports else not order


def test_an_export_that_waits_no_more_is_forgotten_and_its_client_with_it():
    queue = queue_of(("a", "ann", 1, 1))
    queue.drop("a")
    queue.drop("a")
    assert (list(queue.in_order()), queue._queues) == ([], {})


def test_another_priority_moves_an_export():
    queue = queue_of(("a", "x", 1, 0), ("b", "x", 2_000, 0))
    queue.put("a", "x", priority=9_000, queued_at_ms=0)
    assert list(queue.in_order()) == ["a", "b"]
