"""The 18 defects of the original exporter (contract.md), each shown absent on the real service.

The numbers are those of the contract's list. What takes a minute by its nature (retries of a
source, retries of a webhook, the time for which a package counts as just finished) is begun when
the service has started, so the tests that wait for it stand at the end.
"""

import json
import shutil
import signal
import sqlite3
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.domain.world_crs84_quad import resolution_deg, tile_bounds
from app.sources.synthetic import SyntheticTileSource
from tests.end_to_end.guarded import put_layer

DEADLINE_S = 300
DEAF_S = 60
"""How long a call of a webhook may take; a failed export has to be told before such calls end."""
GOLDEN = [34.811938017107494, 31.95475033759175, 34.82237261707599, 31.96426962177354]
SYNTHETIC = {"type": "synthetic"}
NOWHERE = {"type": "folder", "path": "nowhere", "rows": "xyz", "extension": "jpeg"}


@dataclass(frozen=True)
class Call:
    """One call of a webhook."""

    path: str
    delivery_id: str
    body: bytes


class Receiver(ThreadingHTTPServer):
    """Takes webhooks in threads; the first part of the path says how it answers."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: list[Call] = []
        self.changed = threading.Condition()
        self.closing = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"

    def to(self, path: str) -> list[Call]:
        return [call for call in self.calls if call.path == f"/{path}"]

    def wait(self, look: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
        with self.changed:
            found = self.changed.wait_for(look, deadline_s)
        assert found, f"no such call within {deadline_s} s; there were {Counter(self.paths())}"
        return found

    def paths(self) -> list[str]:
        return [call.path for call in self.calls]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        call = Call(self.path, self.headers["webhook-id"], body)
        with self.server.changed:
            self.server.calls.append(call)
            earlier = self.server.paths().count(self.path) - 1
            self.server.changed.notify_all()
        how = self.path.split("/")[1]
        if how == "silent" or (how == "silent-once" and not earlier):
            self.server.closing.wait(2 * DEAF_S)
            return
        self.send_response(500 if how == "refuse-six" and earlier < 6 else 204)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@dataclass
class Scene:
    """A running service, its layers, and a receiver of its webhooks."""

    service: Any
    receiver: Receiver
    folder: Path
    begun: dict[str, Any] = field(default_factory=dict)

    def post(self, **body: Any) -> tuple[int, dict[str, Any]]:
        data = json.dumps(body).encode()
        asked = urllib.request.Request(f"{self.service.url}/create", data, method="POST")
        return _answer(asked)

    def ask(self, layer: str, hook: str = "", **fields: Any) -> dict[str, Any]:
        urls = [self.receiver.url(hook)] if hook else [self.receiver.url("ok")]
        status, told = self.post(**{"dbId": layer, "callbackURLs": urls} | fields)
        assert status == 200, told
        return told

    def export(self, layer: str, **fields: Any) -> dict[str, Any]:
        return self.result(self.ask(layer, hook=f"ok/{uuid.uuid4()}", **fields)["requestId"])

    def result(self, request_id: str, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            told = (json.loads(call.body) for call in self.receiver.calls)
            return next((body for body in told if body["requestId"] == request_id), None)

        return self.receiver.wait(look, deadline_s)

    def get(self, url: str) -> tuple[int, Any]:
        return _answer(urllib.request.Request(url))

    def status(self, request_id: str) -> dict[str, Any]:
        return self.get(f"{self.service.url}/taskStatus/{request_id}")[1]

    def until_told(self, request_id: str, wanted: str) -> dict[str, Any]:
        """Wait for a status: the view of the ingress reads a moment behind the webhooks."""
        end = time.monotonic() + DEADLINE_S
        while (told := self.status(request_id))["status"] != wanted:
            assert time.monotonic() < end, f"{request_id} is still {told}, not {wanted}"
            time.sleep(0.02)
        return told

    def metadata(self, result: dict[str, Any]) -> dict[str, Any]:
        return self.get(result["metadataUri"])[1]

    def download(self, result: dict[str, Any]) -> Path:
        path = self.folder / result["packageName"]
        urllib.request.urlretrieve(result["fileUri"], path)
        assert sha256(path.read_bytes()).hexdigest() == result["sha256"]
        return path

    def rows(self, result: dict[str, Any], query: str) -> list[tuple[Any, ...]]:
        path = self.download(result)
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as package:
            return package.execute(query).fetchall()

    def tiles(self, result: dict[str, Any], product: str) -> dict[tuple[int, int, int], bytes]:
        query = f"SELECT zoom_level, tile_column, tile_row, tile_data FROM {product}"
        return {row[:3]: row[3] for row in self.rows(result, query)}

    def layer(self, name: str, source: Any = SYNTHETIC, zoom: int = 9, **changes: Any) -> str:
        """Put a layer's record into the catalogue, or change it."""
        return put_layer(self.service, name, zoom, source=source, **changes)

    def tile_folder(self, name: str, zooms: int = 3) -> tuple[Path, dict[str, Any]]:
        """The demo layer's first zooms in a folder of their own, and the source that names it."""
        layers = self.service.data_dir / "layers"
        for zoom in range(zooms + 1):
            demo = layers / "blue_marble/1.0" / str(zoom)
            shutil.copytree(demo, layers / name / str(zoom))
        return layers / name, NOWHERE | {"path": name}

    def until_shards_hold(self, layer_name: str, size: int) -> Path:
        """Wait until an export of a layer is under way; returns its shard."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            # Files and folders of other exports come and go while one looks.
            with suppress(FileNotFoundError, sqlite3.Error):
                for shard in (self.service.data_dir / "exports").rglob("*.part"):
                    if shard.stat().st_size > size and _has_table(shard, layer_name):
                        return shard
            time.sleep(0.01)
        pytest.fail(f"no shard of {layer_name} grew to {size} bytes")


def _has_table(shard: Path, name: str) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    with closing(sqlite3.connect(f"file:{shard}?mode=ro", uri=True)) as opened:
        return opened.execute(query, (name,)).fetchone() is not None


def _answer(asked: urllib.request.Request) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


SETTINGS = {"EXPORT_RANGE_BYTES": "100000", "EXPORT_WEBHOOK_TIMEOUT_S": f"{DEAF_S}"}


@pytest.fixture(scope="module")
def scene(start_service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    data_dir = tmp_path_factory.mktemp("defects")
    with start_service(data_dir, **SETTINGS) as service, Receiver() as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        made = Scene(service, receiver, tmp_path_factory.mktemp("packages"))
        _begin_what_takes_long(made)
        yield made
        receiver.closing.set()
        receiver.shutdown()


def _begin_what_takes_long(scene: Scene) -> None:
    folder, source = scene.tile_folder("torn")
    (folder / "3/7/3.jpeg").write_bytes(b"\xff\xd8\xff cut short")
    torn = scene.layer("torn", source, zoom=3, meanTileBytes=20_000)
    scene.begun["torn"] = scene.ask(torn, "ok/torn")["requestId"]

    lonely = scene.layer("lonely")
    scene.begun["lonely"] = scene.ask(lonely, "refuse-six/lonely", bbox=GOLDEN)["requestId"]

    scene.begun["gone"] = scene.export(lonely, bbox=[1, 1, 2, 2])
    scene.begun["gone at"] = time.monotonic()
    for path in (scene.service.data_dir / "exports").rglob(scene.begun["gone"]["packageName"]):
        path.unlink()


@pytest.mark.parametrize(
    ("copied", "zoom"),
    [(0.01098632813, 6), (2.14577e-05, 15), (2.14576721191406e-05, 15), (1.07288e-05, 16)],
)
def test_defect_01_a_resolution_copied_from_the_docs_is_the_zoom_it_stands_for(scene, copied, zoom):
    layer = scene.layer("copied", zoom=16)
    told = scene.ask(layer, f"ok/{zoom}/{copied}", bbox=GOLDEN, targetResolution=copied)
    assert told["zoom"] == zoom
    if told["status"] == "Completed":  # two ways to write one zoom are one export
        return
    finest = scene.rows(
        scene.result(told["requestId"]), "SELECT max(zoom_level) FROM gpkg_tile_matrix"
    )
    assert finest == [(zoom,)]


def test_defect_02_a_resolution_coarser_than_zoom_0_is_refused_and_no_500(scene):
    status, told = scene.post(dbId=scene.layer("coarse"), targetResolution=0.8)
    assert (status, told["message"][:28]) == (400, "targetResolution is 0.8; it ")


def test_defect_03_a_resolution_that_is_no_number_is_refused(scene):
    status, told = scene.post(dbId=scene.layer("nan"), targetResolution=float("nan"))
    assert status == 400
    assert "targetResolution" in told["message"]


def test_defect_04_a_multipolygon_is_exported(scene):
    rings = [[[10, 10], [12, 10], [11, 12], [10, 10]]], [[[50, 50], [52, 50], [51, 52], [50, 50]]]
    bbox = {"type": "MultiPolygon", "coordinates": [*rings]}
    result = scene.export(scene.layer("parts"), bbox=bbox, targetResolution=resolution_deg(5))
    assert (result["success"], result["bbox"]) == (True, bbox)
    columns = {col for zoom, col, _ in scene.tiles(result, "parts") if zoom == 5}
    assert columns == {(180 + 10) * 32 // 180, (180 + 12) * 32 // 180, (180 + 50) * 32 // 180} | {
        (180 + 51) * 32 // 180
    }


def test_defect_05_a_package_has_exactly_the_columns_of_its_area(scene):
    layer = scene.layer("exact", zoom=14)
    result = scene.export(layer, bbox=GOLDEN, targetResolution=0.0000429153442382812)
    assert result["tiles"] == {"expected": 18, "written": 18, "missing": 0}
    tiles = scene.tiles(result, "exact")
    finest = {(col, row) for zoom, col, row in tiles if zoom == 14}
    assert finest == {(col, row) for col in (19552, 19553) for row in (5282, 5283)}
    places = list(tiles)
    assert list(tiles.values()) == SyntheticTileSource().read_many(places)


def test_defect_06_extent_and_last_change_are_those_of_the_whole_package(scene):
    before = datetime.now(UTC)
    result = scene.export(scene.layer("extent"), bbox=[-100, -50, 100, 50])
    ((west, south, east, north, changed),) = scene.rows(
        result, "SELECT min_x, min_y, max_x, max_y, last_change FROM gpkg_contents"
    )
    finest = [tile_bounds(*place) for place in scene.tiles(result, "extent") if place[0] == 9]
    assert len(finest) > 10 * 1_000, "one range would not show the defect"
    assert west == min(tile.west for tile in finest)
    assert south == min(tile.south for tile in finest)
    assert east == max(tile.east for tile in finest)
    assert north == max(tile.north for tile in finest)
    slack = timedelta(seconds=1)
    assert before - slack <= datetime.fromisoformat(changed) <= datetime.now(UTC) + slack


def test_defect_08_a_failed_export_is_told_though_completed_ones_hold_their_receivers(scene):
    with Receiver() as deaf:
        threading.Thread(target=deaf.serve_forever, daemon=True).start()
        layer = scene.layer("many")
        for number in range(30):
            status, _ = scene.post(
                dbId=layer,
                bbox=[number, 0, number + 0.5, 0.5],
                callbackURLs=[deaf.url(f"silent/{number}")],
            )
            assert status == 200
        empty = scene.layer("empty", NOWHERE, zoom=2)
        (scene.service.data_dir / "layers/nowhere").mkdir()
        result = scene.result(scene.ask(empty, "ok/empty")["requestId"], deadline_s=DEAF_S - 10)
        deaf.closing.set()
        deaf.shutdown()
    assert deaf.calls
    assert (result["success"], result["status"]) == (False, "Failed")
    scene.until_told(result["requestId"], "Failed")


def test_defect_10_metadata_describe_the_version_of_the_tiles(scene):
    layer = scene.layer("moving", zoom=8, description="the first")
    request_id = scene.ask(layer, "ok/moving")["requestId"]
    scene.until_shards_hold("moving", 500_000)
    scene.layer("moving", NOWHERE, zoom=8, productVersion="2.0", description="the second")
    assert scene.status(request_id)["status"] in ("Pending", "In-Progress")
    result = scene.result(request_id)
    assert result["success"], result
    assert result["tiles"]["missing"] == 0
    told = scene.metadata(result)
    assert (told["productVersion"], told["description"]) == ("1.0", "the first")
    assert result["packageName"].startswith("moving_1.0_")


def test_defect_12_who_joins_at_any_moment_of_an_export_has_its_webhook_called(scene):
    layer = scene.layer("joined", zoom=7)
    paths, after = [], 0
    end = time.monotonic() + DEADLINE_S
    while after < 3 and time.monotonic() < end:
        paths.append(f"ok/joined/{len(paths)}")
        told = scene.ask(layer, paths[-1])
        after += told["status"] == "Completed"
    assert after == 3
    assert len(paths) > 10, "most must have joined while it ran"
    for path in paths:
        (call, *more) = scene.receiver.wait(lambda path=path: scene.receiver.to(path))
        assert not more
        assert json.loads(call.body)["success"]


def test_defect_14_identical_requests_at_the_same_moment_make_one_package(scene):
    layer = scene.layer("same")

    def ask(number: int) -> tuple[int, dict[str, Any]]:
        urls = [scene.receiver.url(f"ok/same/{number}")]
        return scene.post(dbId=layer, bbox=[20, 20, 25, 25], callbackURLs=urls)

    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(ask, range(30)))
    assert {status for status, _ in answers} == {200}
    called = [
        json.loads(scene.receiver.wait(lambda n=n: scene.receiver.to(f"ok/same/{n}"))[0].body)
        for n in range(30)
    ]
    assert len({body["fileUri"] for body in called}) == 1
    exports = scene.service.data_dir / "exports"
    assert len(list(exports.rglob("same_*.gpkg"))) == 1


def test_defect_15_two_requests_that_fit_alone_but_not_together_are_not_both_taken(scene):
    free = shutil.disk_usage(scene.service.data_dir).free
    boxes = [[0, 0, 11.25, 11.25], [45, 0, 56.25, 11.25]]
    tiles = 1_369  # of each; with the quarter that is put on top one takes 0.6 of what is free
    layer = scene.layer("giant", meanTileBytes=int(free * 0.6 / 1.25 / tiles))

    def ask(bbox: list[int]) -> tuple[int, dict[str, Any]]:
        return scene.post(dbId=layer, bbox=bbox, callbackURLs=[scene.receiver.url("ok/giant")])

    with ThreadPoolExecutor(2) as pool:
        answers = sorted(pool.map(ask, boxes), key=lambda answer: answer[0])
    assert [status for status, _ in answers] == [200, 507], answers
    assert "bytes" in answers[1][1]["message"]
    assert scene.result(answers[0][1]["requestId"])["tiles"]["expected"] == tiles


def test_defect_16_a_new_version_of_a_layer_is_a_package_of_its_own(scene):
    old_folder, old_source = scene.tile_folder("versions-1")
    new_folder, new_source = scene.tile_folder("versions-2")
    tile = new_folder / "3/5/3.jpeg"
    tile.write_bytes(tile.read_bytes() + b"new")
    layer = scene.layer("versions", old_source, zoom=3)
    box = [-60, 20, -50, 30]
    old = scene.export(layer, bbox=box)
    scene.layer("versions", new_source, zoom=3, productVersion="2.0")
    new = scene.export(layer, bbox=box)
    assert old["fileUri"] != new["fileUri"]
    assert old["packageName"] != new["packageName"]
    assert scene.tiles(new, "versions")[3, 5, 2] == (new_folder / "3/5/2.jpeg").read_bytes()
    assert scene.tiles(old, "versions")[3, 5, 2] == (old_folder / "3/5/2.jpeg").read_bytes()
    assert scene.metadata(old)["productVersion"] == "1.0"
    assert scene.metadata(new)["productVersion"] == "2.0"


def test_defect_17_a_crash_does_not_start_the_export_from_its_first_tile(scene):
    folder, source = scene.tile_folder("crashed", zooms=5)
    layer = scene.layer("crashed", source, zoom=5, meanTileBytes=8_000)
    first = {path.relative_to(folder): path.read_bytes() for path in folder.glob("[012]/*/*")}
    request_id = scene.ask(layer, "ok/crashed")["requestId"]
    scene.until_shards_hold("crashed", 1_000_000)
    scene.service.child("worker").send_signal(signal.SIGKILL)
    for path in first:
        (folder / path).write_bytes(b"")
    result = scene.result(request_id)
    assert result["success"], result
    assert result["tiles"] == {"expected": 2730, "written": 2730, "missing": 0}
    tiles = scene.tiles(result, "crashed")
    for path, image in first.items():
        zoom, col, row = path.parts
        assert tiles[int(zoom), int(col), int(row.removesuffix(".jpeg"))] == image


def test_defect_11_a_crash_after_a_webhook_was_called_does_not_make_it_another_one(scene):
    layer = scene.layer("doubled")
    scene.ask(layer, "silent-once/doubled", bbox=[3, 3, 4, 4])
    scene.receiver.wait(lambda: scene.receiver.to("silent-once/doubled"))
    scene.service.child("coordinator").send_signal(signal.SIGKILL)
    scene.receiver.wait(lambda: len(scene.receiver.to("silent-once/doubled")) > 1)
    calls = scene.receiver.to("silent-once/doubled")
    assert len({(call.delivery_id, call.body) for call in calls}) == 1


def test_defect_11_a_webhook_that_was_refused_six_times_is_called_a_seventh_time(scene):
    scene.receiver.wait(lambda: len(scene.receiver.to("refuse-six/lonely")) == 7)
    calls = scene.receiver.to("refuse-six/lonely")
    assert len({(call.delivery_id, call.body) for call in calls}) == 1
    assert json.loads(calls[-1].body)["requestId"] == scene.begun["lonely"]


def test_defect_13_a_package_that_was_deleted_is_made_again_and_not_offered(scene):
    gone = scene.begun["gone"]
    assert scene.get(gone["fileUri"])[0] == 410
    time.sleep(max(0, scene.begun["gone at"] + 61 - time.monotonic()))
    layer = scene.layer("lonely")
    told = scene.ask(layer, "ok/again", bbox=[1, 1, 2, 2])
    assert told["status"] != "Completed", told
    again = scene.result(told["requestId"])
    assert again["success"]
    assert again["packageName"] != gone["packageName"]
    assert scene.tiles(again, "lonely")


def test_defect_07_an_export_with_finished_and_failed_parts_ends(scene):
    result = scene.result(scene.begun["torn"])
    assert (result["success"], result["status"], result["fileUri"]) == (False, "Failed", "")
    told = scene.until_told(scene.begun["torn"], "Failed")
    assert 0 < told["percentage"] < 100, "some of it must have been finished"


def test_defect_18_missing_tiles_and_read_errors_do_not_look_the_same(scene):
    folder, source = scene.tile_folder("holes")
    (folder / "3/7/3.jpeg").unlink()
    result = scene.export(scene.layer("holes", source, zoom=3))
    assert result["success"]
    assert result["tiles"] == {"expected": 170, "written": 169, "missing": 1}
    run = {"column": 7, "minRow": 3, "maxRow": 3}
    metadata = scene.metadata(result)
    assert metadata["missingTiles"]["zooms"] == [{"zoom": 3, "runs": [run]}]
    assert metadata["skippedTiles"]["zooms"] == []

    failed = scene.result(scene.begun["torn"])
    assert "tile 3/7/3 cannot be read: it is cut short" in failed["errorReason"]

    skipped = scene.export(scene.layer("torn", NOWHERE | {"path": "torn"}, zoom=3), onError="skip")
    metadata = scene.metadata(skipped)
    assert metadata["skippedTiles"]["zooms"] == [{"zoom": 3, "runs": [run]}]
    assert metadata["missingTiles"]["zooms"] == []


def test_defect_09_no_webhook_told_success_of_what_failed(scene):
    told = {}
    for call in scene.receiver.calls:
        body = json.loads(call.body)
        assert told.setdefault(body["requestId"], body) == body, "one result a request"
        assert body["success"] == (body["status"] == "Completed")
    del told[scene.begun["gone"]["requestId"]]  # its package was deleted since
    for request_id, body in told.items():
        scene.until_told(request_id, body["status"])
    seen = Counter(body["status"] for body in told.values())
    assert seen["Completed"] > 10
    assert seen["Failed"] >= 2
