"""Sources that hang are left alone, and their threads are counted."""

import threading

import pytest

from app.domain.errors import SourceUnavailable
from app.writing.hanging_sources import MAX_LEFT_THREADS, HangingSources, TooManyHangingReads
from app.writing.reading_thread import SourceHangs


@pytest.fixture
def answer():
    made = threading.Event()
    yield made
    made.set()


@pytest.fixture
def left_behind(answer):
    """Make threads that hang until the answer comes."""

    def make():
        thread = threading.Thread(target=answer.wait, args=(20,), daemon=True)
        thread.start()
        return SourceHangs(thread)

    return make


def test_a_source_that_hangs_is_refused_until_its_threads_have_ended(left_behind, answer):
    hanging = HangingSources()
    errors = [left_behind(), left_behind()]
    for error in errors:
        hanging.add("dead", error)
    with pytest.raises(SourceUnavailable, match="hangs"):
        hanging.check("dead")
    hanging.check("alive")
    answer.set()
    for error in errors:
        error.thread.join(10)
    hanging.check("dead")


def test_a_process_in_which_too_many_reads_hang_is_to_start_anew(left_behind):
    hanging = HangingSources()
    for number in range(MAX_LEFT_THREADS):
        hanging.check("alive")
        hanging.add(f"layer {number}", left_behind())
    with pytest.raises(TooManyHangingReads, match=str(MAX_LEFT_THREADS)):
        hanging.check("alive")
