"""The net of the storm catches fish: each breach of a promise is found."""

import hashlib
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from app.domain.records import ExportFinished, TilesTold
from app.domain.result import result_body
from app.kafka.codec import Codec
from app.kafka.topics import EXPORT_FINISHED
from tests.fault.storm import command
from tests.fault.storm.checks import Checks, Findings, SourceTiles, leftovers, tiles_of_wish
from tests.fault.storm.load import Asked, Wish
from tests.fault.storm.receiver import Receiver
from tests.fault.storm.witness import Witness

WISH = Wish((0.0, 0.0, 10.0, 10.0), max_zoom=2)
SOURCE = {tile: repr(tile).encode() for tile in tiles_of_wish(WISH)}
CODEC = Codec.from_folder()


class Storm:
    """One request that was answered as it should be, and ways to spoil it."""

    def __init__(self, folder: Path) -> None:
        self.witness, self.receiver, self.exports = Witness(), Receiver(), folder
        self.asked = Asked(WISH, "http", "h0", time.monotonic(), "r", "accepted")
        self.path = folder / "e" / "1-1" / "p.gpkg"
        self.path.parent.mkdir(parents=True)
        self.write_package(SOURCE)
        self.result = ExportFinished(
            request_id="r",
            layer_id="l",
            success=True,
            status="Completed",
            error_reason=None,
            bbox_json=WISH.bbox_json,
            target_resolution_deg=WISH.target_deg,
            package_name="p.gpkg",
            file_uri="http://x/downloads/e/1-1/p.gpkg",
            metadata_uri="http://x/downloads/e/1-1/p.json",
            file_bytes=self.path.stat().st_size,
            sha256=hashlib.sha256(self.path.read_bytes()).hexdigest(),
            tiles=TilesTold(len(SOURCE), len(SOURCE), 0),
            expiration_time="",
            finished_at="",
        )

    def write_package(self, tiles: dict[tuple[int, int, int], bytes]) -> None:
        self.path.unlink(missing_ok=True)
        connection = sqlite3.connect(self.path)
        connection.execute("CREATE TABLE gpkg_contents (table_name)")
        connection.execute("INSERT INTO gpkg_contents VALUES ('t')")
        connection.execute("CREATE TABLE t (zoom_level, tile_column, tile_row, tile_data)")
        connection.executemany(
            "INSERT INTO t VALUES (?, ?, ?, ?)", [(*tile, data) for tile, data in tiles.items()]
        )
        connection.commit()
        connection.close()
        self.path.with_suffix(".json").write_text("{}")

    def publish(self, result: ExportFinished) -> None:
        self.witness.take(EXPORT_FINISHED.name, b"r", CODEC.encode(result))

    def call(self, result: ExportFinished) -> None:
        self.receiver.bodies["h0"].append(orjson.dumps(result_body(result)))

    def repackaged(self, tiles: dict[tuple[int, int, int], bytes]) -> ExportFinished:
        self.write_package(tiles)
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return replace(self.result, sha256=digest, file_bytes=self.path.stat().st_size)

    def findings(self) -> Findings:
        source = SourceTiles(self.exports, SOURCE)
        checks = Checks([self.asked], self.witness, self.receiver, source, self.exports)
        return checks.run()


@pytest.fixture
def storm(tmp_path: Path) -> Storm:
    return Storm(tmp_path)


def test_what_is_as_it_should_be_is_no_breach(storm: Storm) -> None:
    for _ in range(2):  # the same record and the same call twice are allowed
        storm.publish(storm.result)
        storm.call(storm.result)
    assert storm.findings().is_sound


def test_a_request_without_a_result_is_lost(storm: Storm) -> None:
    assert "has no result" in storm.findings().lost[0]


def test_a_webhook_that_was_not_called_is_lost(storm: Storm) -> None:
    storm.publish(storm.result)
    assert "was not called" in storm.findings().lost[0]


def test_two_different_results_are_doubled(storm: Storm) -> None:
    storm.publish(storm.result)
    storm.publish(replace(storm.result, finished_at="later"))
    storm.call(storm.result)
    assert len(storm.findings().doubled) == 1


def test_two_different_webhook_bodies_are_doubled(storm: Storm) -> None:
    storm.publish(storm.result)
    storm.call(storm.result)
    storm.call(replace(storm.result, finished_at="later"))
    assert len(storm.findings().doubled) == 1


SPOILT: dict[str, tuple[Callable[[Storm], ExportFinished], str]] = {
    "a failed export": (
        lambda storm: replace(storm.result, success=False, error_reason="no reason"),
        "failed",
    ),
    "a wrong sha256": (lambda storm: replace(storm.result, sha256="0"), "sha256"),
    "a tile with other bytes": (
        lambda storm: storm.repackaged(dict.fromkeys(SOURCE, b"other")),
        "differs from the source",
    ),
    "a tile that is missing": (
        lambda storm: storm.repackaged(dict(list(SOURCE.items())[1:])),
        "1 too few",
    ),
    "an area that nobody asked for": (
        lambda storm: replace(storm.result, bbox_json="[1,2,3,4]"),
        "nobody asked",
    ),
    "other counts than planned": (
        lambda storm: replace(storm.result, tiles=TilesTold(9, 9, 0)),
        "planned",
    ),
    "a package that is not there": (
        lambda storm: replace(storm.result, file_uri="http://x/downloads/e/2-2/p.gpkg"),
        "not there",
    ),
}


@pytest.mark.parametrize("breach", SPOILT)
def test_a_result_that_is_not_true_is_wrong(storm: Storm, breach: str) -> None:
    spoil, told = SPOILT[breach]
    result = spoil(storm)
    storm.publish(result)
    storm.call(result)
    assert told in storm.findings().wrong[0]


def test_files_beside_the_packages_are_leftovers(storm: Storm) -> None:
    shard = storm.path.with_name("shard-worker-1-00.gpkg.part")
    shard.touch()
    assert leftovers(storm.exports) == [shard]


def test_a_storm_does_not_begin_in_a_folder_that_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()

    with pytest.raises(SystemExit):
        command.main(["--dir", str(tmp_path)])

    assert f"--dir is {tmp_path}; it must be empty" in capsys.readouterr().err
