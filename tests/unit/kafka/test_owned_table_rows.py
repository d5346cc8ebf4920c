"""Which of two rows of one key is the newer."""

from app.kafka.owned_table import TOMBSTONE_MEMORY_MS, PartitionRows, RowVersion


def test_a_version_survives_its_header() -> None:
    version = RowVersion(1_700_000_000_000, 42)
    assert RowVersion.from_headers(version.headers()) == version


def test_a_record_without_a_readable_version_is_the_oldest() -> None:
    assert RowVersion.from_headers(None) == RowVersion(-1, -1)
    assert RowVersion.from_headers([("row-version", b"soon")]) == RowVersion(-1, -1)
    assert RowVersion.from_headers([("other", b"1-1")]) == RowVersion(-1, -1)


def test_time_counts_before_the_offset_because_offsets_come_again() -> None:
    rows = PartitionRows()
    assert rows.put(b"k", b"before the broker lost its end", RowVersion(1000, 900))
    assert rows.put(b"k", b"after it", RowVersion(2000, 5))
    assert rows.rows == {b"k": b"after it"}


def test_of_two_rows_of_one_version_the_later_wins() -> None:
    rows = PartitionRows()
    rows.put(b"k", b"first", RowVersion(1, 1))
    rows.put(b"k", b"second", RowVersion(1, 1))
    assert rows.rows == {b"k": b"second"}


def test_an_older_row_does_not_raise_the_dead() -> None:
    rows = PartitionRows()
    rows.put(b"k", b"x", RowVersion(1, 1))
    rows.put(b"k", None, RowVersion(3, 1))
    assert not rows.put(b"k", b"zombie", RowVersion(2, 9))
    assert rows.rows == {}


def test_tombstones_are_forgotten_in_time_and_rows_never() -> None:
    rows = PartitionRows()
    rows.put(b"dead", None, RowVersion(10, 1))
    rows.put(b"old", b"x", RowVersion(10, 2))
    rows.put(b"new", b"x", RowVersion(10 + TOMBSTONE_MEMORY_MS + 1, 3))
    rows.forget_tombstones()
    assert not rows.put(b"old", b"zombie", RowVersion(5, 1))
    assert rows.put(b"dead", b"y", RowVersion(5, 1))


def test_an_owner_that_keeps_its_partition_forgets_tombstones_too() -> None:
    rows = PartitionRows()
    for second in range(20_000):
        key = str(second).encode()
        rows.put(key, b"x", RowVersion(1000 * second, 2 * second))
        rows.put(key, None, RowVersion(1000 * second, 2 * second + 1))
    assert len(rows._versions) <= 2 * (TOMBSTONE_MEMORY_MS // 1000 + 1)


def test_an_earlier_owner_loses_although_its_clock_is_ahead() -> None:
    rows = PartitionRows()
    rows.put(b"k", b"successor", RowVersion(1000, 7, term=2))
    assert not rows.put(b"k", b"zombie", RowVersion(1300, 6, term=1))
    assert rows.newest_term == 2


def test_versions_of_the_release_before_have_no_term() -> None:
    assert RowVersion.from_headers([("row-version", b"5-6")]) == RowVersion(5, 6, 0)
