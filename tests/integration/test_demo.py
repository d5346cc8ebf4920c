"""The demo layer, made from the real picture."""

import json
import multiprocessing
import subprocess
import sys

import psutil
import pytest
from PIL import Image

from app.demo import DEMO_LAYER_ID, demo_record, find_picture, make_demo_layer


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    told = []
    layer = make_demo_layer(
        folder / "layers",
        folder / "catalogue",
        lambda done, total: told.append((done, total)),
        max_zoom=2,
        processes=2,
    )
    return layer, told


def test_every_tile_of_the_world_is_made_and_progress_is_told(made):
    layer, told = made
    tiles = {str(path.relative_to(layer.tiles_dir)) for path in layer.tiles_dir.glob("*/*/*")}
    assert tiles == {
        f"{zoom}/{column}/{row}.jpeg"
        for zoom in range(3)
        for column in range(2 << zoom)
        for row in range(1 << zoom)
    }
    assert layer.tile_count == 42
    assert told[0] == (0, 42)
    assert told[-1] == (42, 42)


def test_tiles_are_256_pixel_jpegs_with_the_north_in_row_0(made):
    layer, _ = made
    tiles = layer.tiles_dir
    with Image.open(tiles / "1" / "0" / "0.jpeg") as north:
        assert (north.format, north.size) == ("JPEG", (256, 256))
    # The Antarctic ice is bright, the Arctic sea (without ice in this picture) is not.
    antarctic = mean_brightness(tiles / "2" / "4" / "3.jpeg")
    arctic = mean_brightness(tiles / "2" / "4" / "0.jpeg")
    assert antarctic > arctic


def mean_brightness(path) -> float:
    with Image.open(path) as tile:
        return tile.convert("L").resize((1, 1)).getpixel((0, 0))


def test_the_record_says_what_was_measured_and_where_the_tiles_lie(made):
    layer, _ = made
    record = json.loads(layer.record_path.read_text())
    assert record["id"] == DEMO_LAYER_ID
    assert record["meanTileBytes"] == round(layer.tile_bytes / layer.tile_count)
    assert record["maxResolutionDeg"] == 0.703125 / 4
    assert layer.tiles_dir == layer.record_path.parents[1] / "layers" / record["source"]["path"]


def test_the_record_of_the_full_pyramid_has_the_resolution_of_zoom_5():
    record = demo_record(5, mean_tile_bytes=5544)
    assert record["maxResolutionDeg"] == 0.02197265625
    assert "between zoom 3 and zoom 4" in record["description"]


def test_what_is_there_is_kept(made):
    layer, _ = made
    layer.record_path.write_text(json.dumps({"id": DEMO_LAYER_ID, "mine": True}))
    again = make_demo_layer(
        layer.tiles_dir.parents[1], layer.record_path.parent, lambda *_: pytest.fail("made again")
    )
    assert again == layer
    assert "mine" in layer.record_path.read_text()
    assert {path.name for path in layer.tiles_dir.parent.iterdir()} == {layer.tiles_dir.name}


class Stopped(Exception):
    pass


def test_a_stop_in_the_middle_leaves_no_tiles_and_the_next_start_makes_them(tmp_path):
    def stop_soon(done: int, total: int) -> None:
        if done:
            raise Stopped

    folders = (tmp_path / "layers", tmp_path / "catalogue")
    with pytest.raises(Stopped):
        make_demo_layer(*folders, stop_soon, max_zoom=2, processes=1)
    assert not (tmp_path / "layers" / "blue_marble" / "1.0").exists()
    assert not multiprocessing.active_children()
    assert make_demo_layer(*folders, max_zoom=1, processes=1).tile_count == 10


MAKE = """
import sys
from pathlib import Path
from app.demo import make_demo_layer
if __name__ == "__main__":
    make_demo_layer(Path(sys.argv[1]) / "l", Path(sys.argv[1]) / "c",
        lambda done, total: print("tiles", flush=True) if done else None, processes=2)
"""


@pytest.fixture
def making(tmp_path):
    script = tmp_path / "make.py"
    script.write_text(MAKE)
    command = [sys.executable, str(script), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


async def test_killed_in_the_middle_it_leaves_no_process_behind(tmp_path, making, eventually):
    assert making.stdout.readline() == "tiles\n"
    pool = psutil.Process(making.pid).children(recursive=True)
    assert len(pool) >= 2
    making.kill()
    await eventually(lambda: psutil.wait_procs(pool, timeout=0)[1] == [])
    assert not (tmp_path / "l" / "blue_marble" / "1.0").exists()


def test_the_picture_is_found_without_matplotlib():
    assert find_picture().name == "bmng.jpg"
    assert "matplotlib" not in sys.modules
