"""The list of exports: filters, pages, and how quick it stays."""

import time
from itertools import islice

import pytest

from app.domain.errors import InvalidRequest
from app.ingress import export_list
from app.ingress.export_list import list_exports, parse_list_query
from app.ingress.identity import Identity
from app.ingress.view import IngressView

ANYBODY = Identity("anonymous", is_administrator=False)
ADMINISTRATOR = Identity("root", is_administrator=True)


@pytest.fixture
def view() -> IngressView:
    return IngressView()


def page(view, identity=ANYBODY, **query):
    names = {name.rstrip("_"): str(value) for name, value in query.items()}
    return list_exports(view, parse_list_query(names, identity), now_ms=10_000)


def ids(page) -> list[str]:
    return [export["requestId"] for export in page["exports"]]


def test_the_newest_comes_first(view, say, told):
    told(view, say.request("a", 2_000), say.request("b", 3_000), say.request("c", 1_000))
    assert page(view)["next"] is None
    assert ids(page(view)) == ["b", "a", "c"]


def test_a_caller_sees_only_its_own_exports_and_an_administrator_all(view, say, told):
    told(view, say.request("a", client="ann"), say.request("b", 2_000, client="bob"))
    assert ids(page(view, Identity("ann", is_administrator=False))) == ["a"]
    assert ids(page(view)) == []
    assert ids(page(view, ADMINISTRATOR)) == ["b", "a"]
    assert ids(page(view, ADMINISTRATOR, client="bob")) == ["b"]
    with pytest.raises(InvalidRequest, match="only an administrator"):
        page(view, Identity("ann", is_administrator=False), client="bob")


def test_a_repeat_is_not_listed_beside_its_first(view, say, told):
    told(view, say.request("first"), say.request("again", verdict="Repeated", repeats="first"))
    assert ids(page(view)) == ["first"]


def test_filters_choose_by_status_layer_and_time(view, say, told):
    told(
        view,
        say.request("failed", 1_000, export_id="1" * 64),
        say.result("failed", "Failed"),
        say.request("other layer", 2_000, layer_id="m", export_id="2" * 64),
        say.request("waits", 3_000, export_id="3" * 64),
    )
    assert ids(page(view, status="Failed")) == ["failed"]
    assert ids(page(view, status="Pending")) == ["waits", "other layer"]
    assert ids(page(view, layer="M")) == ["other layer"]
    assert ids(page(view, from_="1970-01-01T00:00:02Z")) == ["waits", "other layer"]
    assert ids(page(view, to="1970-01-01T00:00:02Z")) == ["failed"]
    assert ids(page(view, to="1970-01-01T00:00:02", from_="1970-01-01")) == ["failed"]


def test_pages_hold_each_export_once_though_new_ones_come_between(view, say, told):
    told(view, *(say.request(f"r{number}", 1_000 + number // 3) for number in range(10)))
    seen, cursor, pages = [], {}, 0
    while True:
        one = page(view, limit=3, **cursor)
        seen += ids(one)
        pages += 1
        told(view, say.request(f"new{pages}", 9_000 + pages))
        if one["next"] is None:
            break
        cursor = {"cursor": one["next"]}
    assert sorted(seen) == sorted(f"r{number}" for number in range(10))
    assert pages == 4


def test_pages_go_on_after_any_id(view, say, told):
    strange = ["", "a b", "Küste\n7", "z" * 1_000]
    told(view, *(say.request(name) for name in strange))
    cursor, seen = {}, []
    for _ in strange:
        one = page(view, limit=1, **cursor)
        seen += ids(one)
        cursor = {"cursor": one["next"]}
    assert sorted(seen) == sorted(strange)


def test_a_token_in_the_address_is_no_filter(view, say, told):
    told(view, say.request("a"))
    assert ids(page(view, token="secret")) == ["a"]


def test_a_request_that_was_forgotten_is_listed_no_more(view, say, told):
    told(view, say.request("r"))
    view.forget_progress("r")
    assert ids(page(view, ADMINISTRATOR)) == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"limit": "0"}, "from 1 to 200"),
        ({"limit": "201"}, "from 1 to 200"),
        ({"limit": "-1"}, "from 1 to 200"),
        ({"limit": "1" * 5_000}, "from 1 to 200"),
        ({"limit": "²"}, "from 1 to 200"),
        ({"cursor": ""}, "cursor is ''"),
        ({"cursor": "%%%"}, "cursor"),
        ({"cursor": "YWJj"}, "cursor"),
        ({"cursor": "é"}, "cursor"),
        ({"status": "completed"}, "Completed or"),
        ({"from": "yesterday"}, "from is 'yesterday'"),
        ({"page": "2"}, "page is unknown"),
    ],
)
def test_a_bad_filter_is_told_with_its_value_and_limit(query, message):
    with pytest.raises(InvalidRequest, match=message):
        parse_list_query(query, ANYBODY)


def test_a_page_looks_at_a_bounded_number_and_the_next_goes_on(view, say, told, monkeypatch):
    monkeypatch.setattr(export_list, "MAX_LOOKED_AT", 4)
    told(view, *(say.request(f"r{number}", number + 1, export_id=None) for number in range(10)))
    told(view, say.result("r1", "Failed"))
    found, cursor, pages = [], {}, 0
    while cursor is not None:
        one = page(view, status="Failed", **cursor)
        found += ids(one)
        pages += 1
        cursor = {"cursor": one["next"]} if one["next"] else None
    assert (found, pages) == (["r1"], 3)


def test_a_page_of_100_000_requests_is_cut_without_going_through_them(view, say, told):
    for number in range(100_000):
        view.index.put(f"r{number}", f"c{number % 7}", number)
    told(view, *(say.request(f"x{number}", 200_000 + number) for number in range(60)))
    began = time.process_time()
    older = view.index.newest_first(None, before=(150_000, ""), from_ms=0, to_ms=1 << 62)
    assert list(islice(older, 50))[-1] == (99_950, "r99950")
    assert len(ids(page(view))) == 50
    # A sort of all of them alone takes longer. What other processes take meanwhile does not count.
    assert time.process_time() - began < 0.1
