"""Ids of events: offsets of partitions, and what they say has been told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidRequest
from app.ingress.event_id import EventId
from app.ingress.view import Place

P, F = "export-progress", "export-finished"
OFFSETS = st.dictionaries(st.tuples(st.sampled_from([P, F]), st.integers(0, 5)), st.integers(1, 9))


@given(OFFSETS, st.booleans())
def test_an_id_that_is_read_again_says_the_same(offsets, is_partial):
    told = EventId(offsets, is_partial)
    read = EventId.parse(str(told))
    assert (str(read), read.is_partial) == (str(told), is_partial)
    for topic in (P, F):
        for partition in range(6):
            place = Place(topic, partition, 3)
            assert read.is_before(place) == told.is_before(place)


def test_a_record_is_news_unless_it_stands_before_the_offset():
    told = EventId.parse("0.5-2")
    assert not told.is_before(Place(P, 1, 4))
    assert told.is_before(Place(P, 1, 5))
    assert told.is_before(Place(F, 0, 2))
    assert told.is_before(Place(F, 3, 0))


def test_offsets_beyond_the_end_of_a_topic_say_nothing():
    told = EventId.parse("7.5-2").within({(P, 0): 7, (P, 1): 4, (F, 0): 9})
    assert told.offsets == {(P, 0): 7, (P, 1): 0, (F, 0): 2}


@pytest.mark.parametrize(
    "text", ["x", "1", "1.2", "1..2-3", "-1-", "1-2-3", "1-2~~", "9" * 19 + "-", "1.-", "٣-"]
)
def test_what_is_no_id_of_ours_is_refused(text):
    with pytest.raises(InvalidRequest, match="Last-Event-ID is"):
        EventId.parse(text)
