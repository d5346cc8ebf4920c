import pytest

from app.domain.errors import StorageUnavailable
from app.store.artifact_store import ArtifactStore

NAME = "BlueMarble_1.0_z4_0123456789ab_1700000000000-7"


@pytest.fixture
def store(tmp_path) -> ArtifactStore:
    folder = tmp_path / "exports" / "0123abcd" / "1700000000000-7"
    folder.mkdir(parents=True)
    for suffix in ("gpkg", "json"):
        (folder / f"{NAME}.{suffix}").write_bytes(b"x" * 10)
    (folder / "shard-w1-1.gpkg.part").write_bytes(b"x")
    (tmp_path / "secret.json").write_text("secret")
    (tmp_path / "secret.gpkg").write_text("secret")
    return ArtifactStore(tmp_path / "exports")


def test_a_published_package_and_its_metadata_are_found(store):
    for suffix in ("gpkg", "json"):
        path = store.package_path("0123abcd", "1700000000000-7", f"{NAME}.{suffix}")
        assert path is not None
        assert path.read_bytes() == b"x" * 10


@pytest.mark.parametrize(
    ("export_id", "attempt", "name"),
    [
        ("0123abcd", "1700000000000-7", "shard-w1-1.gpkg.part"),
        ("0123abcd", "1700000000000-7", "../../../secret.json"),
        ("0123abcd", "1700000000000-7", "..%2Fsecret.json"),
        ("0123abcd", "1700000000000-7", f"{NAME}.gpkg\0"),
        ("0123abcd", "1700000000000-7", f"{NAME}.gpkg\n"),
        ("0123abcd", "1700000000000-7", ""),
        ("0123abcd", "..", f"{NAME}.gpkg"),
        ("0123abcd", "1", f"{NAME}.gpkg"),
        ("..", "..", "secret.json"),
        (".", "1700000000000-7", f"{NAME}.gpkg"),
        ("0123abcd/..", "1", "x.gpkg"),
        ("", "", "secret.gpkg"),
        ("/etc", "1", "x.json"),
    ],
)
def test_no_other_name_leads_to_a_file(store, export_id, attempt, name):
    assert store.package_path(export_id, attempt, name) is None


def test_a_package_without_its_metadata_is_not_offered_yet(store):
    folder = store.attempt_folder("0123abcd", "1700000000000-7")
    (folder / f"{NAME}.json").unlink()
    assert store.package_path("0123abcd", "1700000000000-7", f"{NAME}.gpkg") is None
    assert store.finished_attempts("0123abcd") == []


def test_a_link_in_the_place_of_a_package_is_not_followed(store, tmp_path):
    folder = store.attempt_folder("0123abcd", "1700000000000-7")
    (folder / f"{NAME}.gpkg").unlink()
    (folder / f"{NAME}.gpkg").symlink_to(tmp_path / "secret.gpkg")
    assert store.package_path("0123abcd", "1700000000000-7", f"{NAME}.gpkg") is None


def test_finished_attempts_come_oldest_first_by_number_not_by_text(store):
    for attempt in ("900-1", "1700000000000-12"):
        folder = store.attempt_folder("0123abcd", attempt)
        folder.mkdir()
        (folder / "a.gpkg").touch()
        (folder / "a.json").touch()
    store.attempt_folder("0123abcd", "1800000000000-1").mkdir()
    assert store.finished_attempts("0123abcd") == ["900-1", "1700000000000-7", "1700000000000-12"]


def test_an_export_without_a_folder_has_no_attempts(store):
    assert store.finished_attempts("ffff") == []


def test_free_space_is_told_before_the_folder_exists(store, tmp_path):
    free = ArtifactStore(tmp_path / "not" / "yet").free_bytes()
    assert free > 0


@pytest.mark.parametrize(("export_id", "attempt"), [("..", "1"), ("ab", "../1"), ("ab", "x")])
def test_a_path_is_made_of_checked_names_only(store, export_id, attempt):
    with pytest.raises(ValueError, match="is no"):
        store.attempt_folder(export_id, attempt)


def test_removing_an_attempt_tells_what_it_freed_and_may_be_repeated(store):
    assert store.remove_attempt("0123abcd", "1700000000000-7") == 21
    assert store.remove_attempt("0123abcd", "1700000000000-7") == 0
    assert not (store.root / "0123abcd").exists()


def test_a_store_that_is_a_file_is_out_of_reach(tmp_path):
    (tmp_path / "exports").write_text("not a folder")
    with pytest.raises(StorageUnavailable):
        ArtifactStore(tmp_path / "exports").finished_attempts("abcd")
