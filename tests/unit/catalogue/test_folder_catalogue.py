"""The folder catalogue on a real folder."""

import asyncio
import errno
import os
from pathlib import Path

import orjson
import pytest
from structlog.testing import capture_logs

from app.catalogue.folder import FolderCatalogue
from app.catalogue.port import LayerFields, SharedLookups
from app.domain.errors import CatalogueUnavailable

FOOTPRINT = {
    "type": "Polygon",
    "coordinates": [[[34, 31], [36, 31], [36, 33], [34, 33], [34, 31]]],
}
ONE = "11111111-aaaa-4258-982d-f7773469a92d"
TWO = "22222222-bbbb-4258-982d-f7773469a92d"


def put(folder: Path, name: str, layer_id: str, **changes: object) -> Path:
    record = {
        "id": layer_id,
        "productId": "P",
        "productVersion": "1",
        "maxResolutionDeg": 0.1,
        "footprint": FOOTPRINT,
        "source": {"type": "folder", "path": "/tiles"},
    }
    path = folder / name
    path.write_bytes(orjson.dumps(record | changes))
    return path


async def test_a_layer_is_found_by_its_id_in_any_case(tmp_path):
    put(tmp_path, "one.json", ONE.upper())
    catalogue = FolderCatalogue(tmp_path)
    found = await catalogue.find(ONE)
    assert found is not None
    assert found["id"] == ONE
    assert await catalogue.find(ONE.upper()) == found
    assert found["source"]["path"] == "/tiles"


async def test_an_unknown_layer_is_none(tmp_path):
    assert await FolderCatalogue(tmp_path).find(ONE) is None


async def test_a_file_that_comes_changes_or_goes_counts_at_once(tmp_path):
    catalogue = FolderCatalogue(tmp_path)
    assert await catalogue.all() == []
    path = put(tmp_path, "one.json", ONE)
    assert [layer["id"] for layer in await catalogue.all()] == [ONE]
    put(tmp_path, "one.json", ONE, productVersion="2.0")
    found = await catalogue.find(ONE)
    assert found is not None
    assert found["productVersion"] == "2.0"
    path.unlink()
    assert await catalogue.find(ONE) is None


async def test_a_broken_file_is_named_once_and_does_not_break_the_others(tmp_path):
    put(tmp_path, "b.json", TWO)
    (tmp_path / "a.json").write_text('{"id": "')
    put(tmp_path, "c.json", ONE, maxResolutionDeg=7)
    catalogue = FolderCatalogue(tmp_path)
    with capture_logs() as lines:
        assert [layer["id"] for layer in await catalogue.all()] == [TWO]
        assert [layer["id"] for layer in await catalogue.all()] == [TWO]
    files = sorted(Path(line["file"]).name for line in lines)
    assert files == ["a.json", "c.json"]
    assert any("maxResolutionDeg" in line["reason"] for line in lines)


async def test_a_file_that_may_not_be_read_does_not_break_the_others(tmp_path):
    put(tmp_path, "b.json", TWO)
    (tmp_path / "a.json").symlink_to(tmp_path / "nowhere.json")
    (tmp_path / "d.json").mkdir()
    os.mkfifo(tmp_path / "e.json")
    with capture_logs() as lines:
        assert [layer["id"] for layer in await FolderCatalogue(tmp_path).all()] == [TWO]
    assert len(lines) == 3


@pytest.fixture
def failing_disk():
    """Make every look at a file fail, until it is undone."""
    with pytest.MonkeyPatch.context() as patched:

        def fail(number: int, where: str = "_stamp_of") -> pytest.MonkeyPatch:
            def refuse(*_: object) -> None:
                raise OSError(number, os.strerror(number))

            patched.setattr(f"app.catalogue.folder.{where}", refuse)
            return patched

        yield fail


@pytest.mark.parametrize("where", ["_stamp_of", "_read_file"])
async def test_a_file_that_cannot_be_read_for_a_moment_counts_as_it_was_read_last(
    tmp_path, failing_disk, where
):
    path = put(tmp_path, "one.json", ONE)
    catalogue = FolderCatalogue(tmp_path)
    before = await catalogue.find(ONE)
    put(tmp_path, "one.json", ONE, productVersion="2.0")
    patched = failing_disk(errno.EIO, where)
    assert await catalogue.find(ONE) == before
    assert await catalogue.all() == [before]
    patched.undo()
    found = await catalogue.find(ONE)
    assert found is not None
    assert found["productVersion"] == "2.0"
    path.unlink()
    assert await catalogue.find(ONE) is None


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES])
async def test_a_layer_whose_file_was_never_read_is_out_of_reach_and_not_unknown(
    tmp_path, failing_disk, number
):
    put(tmp_path, "one.json", ONE)
    catalogue = FolderCatalogue(tmp_path)
    patched = failing_disk(number)
    for layer_id in (ONE, TWO):
        with pytest.raises(CatalogueUnavailable, match=r"one\.json cannot be read"):
            await catalogue.find(layer_id)
    assert await catalogue.all() == []
    patched.undo()
    assert await catalogue.find(ONE) is not None
    assert await catalogue.find(TWO) is None


async def test_of_two_files_with_one_id_the_first_by_name_counts(tmp_path):
    put(tmp_path, "b.json", ONE, productVersion="late")
    put(tmp_path, "a.json", ONE, productVersion="early")
    with capture_logs() as lines:
        found = await FolderCatalogue(tmp_path).find(ONE)
    assert found is not None
    assert found["productVersion"] == "early"
    assert [line["event"] for line in lines] == ["layer_record_twice"]


async def test_hidden_and_other_files_are_no_layers(tmp_path):
    put(tmp_path, ".one.json", ONE)
    put(tmp_path, "two.json.tmp", TWO)
    assert await FolderCatalogue(tmp_path).all() == []


async def test_without_its_folder_the_catalogue_is_out_of_reach(tmp_path):
    with pytest.raises(CatalogueUnavailable, match="nowhere"):
        await FolderCatalogue(tmp_path / "nowhere").find(ONE)


class SilentCatalogue:
    """Never answers; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked_count = 0

    async def find(self, _layer_id: str) -> LayerFields | None:
        self.asked_count += 1
        await asyncio.Event().wait()
        return None

    async def all(self) -> list[LayerFields]:
        return [await self.find("all") or {}]


async def test_a_catalogue_that_hangs_is_told_in_time_and_asked_once_a_layer():
    silent = SilentCatalogue()
    catalogue = SharedLookups(silent, timeout_s=0.05)
    for layer_id in (ONE, ONE.upper(), TWO, ONE):
        with pytest.raises(CatalogueUnavailable, match=r"0\.05 s"):
            await catalogue.find(layer_id)
    for _ in range(2):
        with pytest.raises(CatalogueUnavailable):
            await catalogue.all()
    assert silent.asked_count == 3


async def test_who_asks_for_one_layer_at_once_shares_a_look_up(tmp_path):
    put(tmp_path, "one.json", ONE)
    catalogue = SharedLookups(FolderCatalogue(tmp_path), timeout_s=5)
    found = await asyncio.gather(*(catalogue.find(ONE) for _ in range(100)))
    assert all(record is found[0] for record in found)


async def test_an_error_of_the_catalogue_reaches_everybody_who_asked(tmp_path):
    catalogue = SharedLookups(FolderCatalogue(tmp_path / "nowhere"), timeout_s=5)
    answers = await asyncio.gather(*(catalogue.find(ONE) for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [CatalogueUnavailable] * 3
