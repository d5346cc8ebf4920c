"""What every tile source must keep to, asked of each adapter and of the fake in memory."""

import io
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from app.domain.errors import SourceUnavailable
from app.domain.tile_image import flaw_of
from app.sources.folder import FolderTileSource
from app.sources.synthetic import MEAN_TILE_BYTES, SyntheticTileSource
from app.sources.tile_source import Tile, TileSource


class MemoryTileSource:
    """Tiles in a mapping, for tests; anything but a whole image is unreadable."""

    def __init__(self, images: Mapping[Tile, bytes]) -> None:
        self.images = images

    def read_many(self, tiles: Sequence[Tile]) -> list[bytes | None]:
        found = [self.images.get(tile) for tile in tiles]
        for (zoom, col, row), image in zip(tiles, found, strict=True):
            if image is not None and (flaw := flaw_of(image)) is not None:
                raise SourceUnavailable(f"tile {zoom}/{col}/{row} cannot be read: {flaw}")
        return found


def encoded(image_format: str, shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (256, 256), (shade, 90, 30)).save(buffer, image_format)
    return buffer.getvalue()


JPEG, PNG, WEBP = (encoded(name, 7) for name in ("JPEG", "PNG", "WEBP"))


GIVEN = ["memory", "folder xyz", "folder tms"]
"""Sources that can be given images."""


@pytest.fixture
def make_source(tmp_path: Path) -> Callable[[str, Mapping[Tile, bytes]], TileSource]:
    def build(name: str, images: Mapping[Tile, bytes]) -> TileSource:
        if name == "memory":
            return MemoryTileSource(images)
        rows = name.removeprefix("folder ")
        for (zoom, col, row), image in images.items():
            stored = row if rows == "xyz" else 2**zoom - 1 - row
            path = tmp_path / "layer" / str(zoom) / str(col) / f"{stored}.jpeg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image)
        (tmp_path / "layer").mkdir(exist_ok=True)
        return FolderTileSource(tmp_path / "layer", rows=rows, extension="jpeg")

    return build


@pytest.fixture(params=GIVEN)
def source_of(request, make_source) -> Callable[[Mapping[Tile, bytes]], TileSource]:
    return partial(make_source, request.param)


@pytest.fixture(params=[*GIVEN, "synthetic"])
def stocked(request, make_source) -> tuple[TileSource, Mapping[Tile, bytes]]:
    """A source, and 64 tiles of zoom 6 that it has."""
    tiles = [(6, col, row) for col in range(8) for row in range(8)]
    if request.param == "synthetic":
        source = SyntheticTileSource()
        return source, {tile: source.read_many([tile])[0] for tile in tiles}
    images = {tile: encoded("PNG", 8 * tile[1] + tile[2]) for tile in tiles}
    return make_source(request.param, images), images


def test_tiles_come_in_the_order_asked_for_with_their_own_bytes(stocked):
    source, images = stocked
    asked = [(6, 5, 6), (6, 2, 0), (6, 5, 0), (6, 2, 6)]
    assert source.read_many(asked) == [images[tile] for tile in asked]
    assert len(set(images.values())) == len(images)


def test_the_same_tile_has_the_same_bytes_every_time_and_is_a_whole_image(stocked):
    source, images = stocked
    for tile, image in images.items():
        assert source.read_many([tile]) == [image]
        with Image.open(io.BytesIO(image)) as opened:
            opened.load()
            assert opened.size == (256, 256)


def test_a_tile_that_is_not_there_is_none_and_no_error(stocked):
    source, images = stocked
    beyond = (9, 1024, 1)
    assert source.read_many([beyond, (6, 1, 1), (9, 0, 512)]) == [None, images[(6, 1, 1)], None]


def test_jpeg_png_and_webp_are_all_accepted_under_one_extension(source_of):
    source = source_of({(2, 0, 0): JPEG, (2, 0, 1): PNG, (2, 0, 2): WEBP})
    assert source.read_many([(2, 0, 0), (2, 0, 1), (2, 0, 2)]) == [JPEG, PNG, WEBP]


def test_bytes_behind_the_end_of_an_image_are_kept(source_of):
    source = source_of({(1, 0, 0): JPEG + b"padding"})
    assert source.read_many([(1, 0, 0)]) == [JPEG + b"padding"]


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        (b"", "empty"),
        (b"\xff\xd8\xff", "cut short"),
        (JPEG[:-40], "cut short"),
        (PNG[:-20], "cut short"),
        (WEBP[:-20], "cut short"),
        (b"GIF89a", "6 bytes"),
        (b"<html><body>Service Unavailable</body></html>", "no JPEG"),
    ],
)
def test_a_bad_image_is_an_error_that_names_tile_and_cause(source_of, bad, cause):
    source = source_of({(4, 9, 3): bad, (4, 9, 4): JPEG})
    with pytest.raises(SourceUnavailable, match=rf"4/9/3.*{cause}"):
        source.read_many([(4, 9, 4), (4, 9, 3)])


def test_nothing_asked_for_is_nothing_read(stocked):
    assert stocked[0].read_many([]) == []


def test_many_threads_may_read_at_once(stocked):
    source, images = stocked
    start = threading.Barrier(4)

    def read(_: int) -> list[bytes | None]:
        start.wait(timeout=60)
        return source.read_many(list(images))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(4))) == [list(images.values())] * 4


def open_file_count() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class TestFolder:
    def test_a_root_that_vanished_is_an_error_not_a_layer_without_tiles(self, tmp_path):
        source = FolderTileSource(tmp_path / "unmounted")
        with pytest.raises(SourceUnavailable, match=r"0/1/0.*unmounted is not there"):
            source.read_many([(0, 1, 0)])

    def test_a_folder_in_the_place_of_a_tile_is_an_error(self, tmp_path):
        (tmp_path / "0" / "1" / "0.jpeg").mkdir(parents=True)
        with pytest.raises(SourceUnavailable, match="0/1/0"):
            FolderTileSource(tmp_path).read_many([(0, 1, 0)])

    def test_a_pipe_in_the_place_of_a_tile_does_not_hang_the_reader(self, tmp_path):
        (tmp_path / "0" / "1").mkdir(parents=True)
        os.mkfifo(tmp_path / "0" / "1" / "0.jpeg")
        with pytest.raises(SourceUnavailable, match=r"0/1/0.*empty"):
            FolderTileSource(tmp_path).read_many([(0, 1, 0)])

    def test_a_file_far_too_large_for_a_tile_is_an_error_and_is_not_read(self, tmp_path):
        path = tmp_path / "0" / "1" / "0.jpeg"
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            file.truncate(1 << 40)
        with pytest.raises(SourceUnavailable, match=r"0/1/0.*limit"):
            FolderTileSource(tmp_path).read_many([(0, 1, 0)])

    def test_open_files_are_closed_again(self, tmp_path):
        path = tmp_path / "0" / "1" / "0.jpeg"
        path.parent.mkdir(parents=True)
        path.write_bytes(JPEG)
        before = open_file_count()
        source = FolderTileSource(tmp_path)
        for _ in range(50):
            source.read_many([(0, 1, 0), (0, 0, 0)])
        assert open_file_count() == before


class TestSynthetic:
    def test_its_tiles_have_the_size_that_its_layers_should_tell(self):
        corners = [(11, col, row) for col in (0, 4095) for row in (0, 2047)]
        for image in SyntheticTileSource().read_many(corners):
            assert abs(len(image) - MEAN_TILE_BYTES) <= 8
