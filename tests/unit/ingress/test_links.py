"""Presigned links: what they are good for, and for how long."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr
from yarl import URL

from app.ingress.auth.link_secret import SecretUnusable, load_link_secret
from app.ingress.auth.links import check_link, download_path, presigned, sign_path
from app.ingress.auth.refusals import LinkExpired, NotAllowed

SECRET = b"0123456789abcdef"
PATH = "/downloads/e/1-2/Müll 1.gpkg"


def query_of(link: str) -> dict[str, str]:
    return dict(URL(link).query)


def test_a_link_is_good_for_its_path_until_its_second():
    link = presigned(SECRET, PATH, 100)
    assert URL(link).path == PATH
    check_link(SECRET, PATH, query_of(link), now_s=99.9)
    with pytest.raises(LinkExpired, match="100"):
        check_link(SECRET, PATH, query_of(link), now_s=100)


@pytest.mark.parametrize(
    "change",
    [
        {"expires": "101"},
        {"expires": "1e9"},
        {"expires": "-1"},
        {"expires": "\uff11\uff10\uff10"},
        {"expires": ""},
        {"expires": "9" * 5000},
        {"signature": ""},
        {"signature": "0" * 64},
        {"signature": "é" * 64},
        {"signature": sign_path(b"another secret!!", PATH, 100)},
        {"signature": sign_path(SECRET, PATH + "x", 100)},
        {"signature": sign_path(SECRET, PATH, 100).upper()},
    ],
)
def test_a_link_that_was_changed_is_not_allowed(change):
    query = {"expires": "100", "signature": sign_path(SECRET, PATH, 100)}
    with pytest.raises(NotAllowed):
        check_link(SECRET, PATH, query | change, now_s=1)


def test_a_link_is_good_for_no_other_path():
    with pytest.raises(NotAllowed):
        check_link(SECRET, "/downloads/e/1-2/b.gpkg", query_of(presigned(SECRET, PATH, 9)), now_s=1)


def test_half_a_link_is_none():
    for query in ({}, {"expires": "100"}, {"signature": sign_path(SECRET, PATH, 100)}):
        with pytest.raises(NotAllowed):
            check_link(SECRET, PATH, query, now_s=1)


def test_an_expired_link_with_a_wrong_signature_tells_nothing_of_its_time():
    with pytest.raises(NotAllowed):
        check_link(SECRET, PATH, {"expires": "1", "signature": "0" * 64}, now_s=2)


def test_the_path_of_a_download_is_found_behind_any_address():
    assert download_path("http://h:1/downloads/a/b/c.gpkg") == "/downloads/a/b/c.gpkg"
    assert download_path("https://h/x/y/downloads/a/b/c.json?q") == "/downloads/a/b/c.json"


def test_the_secret_is_made_once_for_all_and_kept_from_others(tmp_path):
    with ThreadPoolExecutor(16) as threads:
        made = set(threads.map(lambda _: load_link_secret(tmp_path, None), range(64)))
    assert len(made) == 1
    assert len(made.pop()) == 64
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_secret_of_the_settings_wins_and_makes_no_file(tmp_path):
    assert load_link_secret(tmp_path, SecretStr("s" * 16)) == b"s" * 16
    assert list(tmp_path.iterdir()) == []


def test_a_secret_that_is_too_short_is_refused(tmp_path):
    with pytest.raises(SecretUnusable, match="5 bytes"):
        load_link_secret(tmp_path, SecretStr("short"))
    (tmp_path / "link_secret").write_bytes(b"")
    with pytest.raises(SecretUnusable, match="0 bytes"):
        load_link_secret(tmp_path, None)
