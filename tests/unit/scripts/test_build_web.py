"""The page is built once for each state of its sources."""

import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def build_web():
    spec = spec_from_file_location("build_web", ROOT / "scripts" / "build_web.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def web(build_web, tmp_path):
    """A copy of the page's sources."""
    shutil.copytree(
        build_web.WEB, tmp_path / "web", ignore=shutil.ignore_patterns("node_modules", "dist", ".*")
    )
    return tmp_path / "web"


def test_what_the_scripts_have_built_is_up_to_date(build_web):
    assert build_web.build() is False


def test_every_change_of_a_source_asks_for_a_new_build(build_web, web):
    before = build_web.sources_hash(web)
    assert before == build_web.sources_hash(build_web.WEB)
    (web / "src" / "grid.ts").rename(web / "src" / "grids.ts")
    renamed = build_web.sources_hash(web)
    with (web / "package-lock.json").open("a") as lock:
        lock.write("\n")
    assert len({before, renamed, build_web.sources_hash(web)}) == 3


def test_without_node_it_says_what_is_missing(build_web, web, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(build_web.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(build_web.NoNode, match=r"node 20 or newer.*requirements-node\.lock"):
        build_web.build(web, web / "dist")
    assert not (web / "dist").exists()
