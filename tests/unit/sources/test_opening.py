import re

import pytest

from app.domain.errors import InvalidRequest
from app.sources.folder import FolderTileSource
from app.sources.opening import open_source
from app.sources.synthetic import SyntheticTileSource


def test_a_relative_path_starts_at_the_first_allowed_root(tmp_path):
    source = open_source(
        {"type": "folder", "path": "blue", "rows": "tms", "extension": "png"},
        [tmp_path / "layers", tmp_path / "more"],
    )
    assert isinstance(source, FolderTileSource)
    assert source.root == (tmp_path / "layers" / "blue").resolve()
    assert (source.rows, source.extension) == ("tms", "png")


def test_an_absolute_path_may_lie_in_any_allowed_root(tmp_path):
    source = open_source(
        {"type": "folder", "path": str(tmp_path / "more" / "x")},
        [tmp_path / "layers", tmp_path / "more"],
    )
    assert (source.rows, source.extension) == ("xyz", "jpeg")


def test_a_synthetic_source_needs_no_folder():
    assert isinstance(open_source({"type": "synthetic"}, []), SyntheticTileSource)


@pytest.mark.parametrize("path", ["../secret", "/etc", "a/../../secret", "..", "link"])
def test_a_path_outside_the_allowed_roots_is_refused(tmp_path, path):
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "link").symlink_to(tmp_path)
    with pytest.raises(InvalidRequest, match="outside the allowed folders"):
        open_source({"type": "folder", "path": path}, [tmp_path / "layers"])


def test_a_sibling_whose_name_begins_alike_is_outside(tmp_path):
    with pytest.raises(InvalidRequest, match="outside"):
        open_source({"type": "folder", "path": f"{tmp_path}/layers2"}, [tmp_path / "layers"])


def test_an_allowed_root_may_itself_be_a_link(tmp_path):
    (tmp_path / "disk" / "blue").mkdir(parents=True)
    (tmp_path / "layers").symlink_to(tmp_path / "disk")
    source = open_source({"type": "folder", "path": "blue"}, [tmp_path / "layers"])
    assert source.root == (tmp_path / "disk" / "blue").resolve()


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ({}, "type"),
        ({"type": "ftp", "path": "a"}, "ftp"),
        ({"type": "folder"}, "path"),
        ({"type": "folder", "path": ""}, "path"),
        ({"type": "folder", "path": "a\0b"}, "path"),
        ({"type": "folder", "path": 5}, "path"),
        ({"type": "folder", "path": "a", "rows": "zxy"}, "zxy"),
        ({"type": "folder", "path": "a", "extension": "../x"}, "extension"),
        ({"type": "folder", "path": "a", "extension": None}, "extension"),
    ],
)
def test_a_wrong_member_is_named(tmp_path, source, named):
    with pytest.raises(InvalidRequest, match=re.escape(named)):
        open_source(source, [tmp_path])


def test_without_allowed_roots_nothing_can_be_read():
    with pytest.raises(InvalidRequest, match="no folder is allowed"):
        open_source({"type": "folder", "path": "/"}, [])


def test_a_ring_of_links_is_refused(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(InvalidRequest):
        open_source({"type": "folder", "path": "a"}, [tmp_path])
