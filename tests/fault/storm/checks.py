"""What must be true after a storm; every breach is told with the ids that lead to it."""

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

import orjson

from app.domain.area import WORLD
from app.domain.records import ExportFinished, ExportProgress
from app.domain.requested_area import parse_bbox
from app.domain.result import result_body
from app.domain.tile_cover import TileCover
from app.domain.tile_range import TileRun
from tests.fault.storm.load import Asked, Wish
from tests.fault.storm.receiver import Receiver
from tests.fault.storm.witness import Witness

Tile = tuple[int, int, int]
FINAL_STATES: Final = ("Completed", "Failed")
PUBLISHED: Final = (".gpkg", ".json")


@dataclass(slots=True)
class Findings:
    """Breaches, each a sentence.

    Attributes:
        lost: Accepted requests without a result, and webhooks that were never called.
        doubled: Requests with two different results, webhooks with two different bodies.
        wrong: Failed exports, packages that differ from the source, numbers that do not agree.
        left: Files and processes that should be gone, exports that still run.
    """

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Every promise was kept."""
        return not (self.lost or self.doubled or self.wrong or self.left)


@dataclass(slots=True)
class SourceTiles:
    """The source folder in memory: the demo layer has 15 MB."""

    folder: Path
    tiles: dict[Tile, bytes] = field(default_factory=dict)

    def load(self) -> "SourceTiles":
        """Read all tiles."""
        for path in self.folder.glob("*/*/*.jpeg"):
            zoom, col, row = path.parts[-3], path.parts[-2], path.stem
            self.tiles[int(zoom), int(col), int(row)] = path.read_bytes()
        return self


def tiles_of_wish(wish: Wish) -> frozenset[Tile]:
    """The tiles that an undisturbed export of the demo layer holds.

    >>> sorted(tiles_of_wish(Wish((0.0, 0.0, 10.0, 10.0), max_zoom=1)))
    [(0, 1, 0), (1, 2, 0)]
    """
    area = parse_bbox(None if wish.bbox is None else list(wish.bbox)) or WORLD.as_area()
    cover = TileCover.of(area, wish.min_zoom, wish.max_zoom, max_tiles=100_000)
    return frozenset(_tiles(run for zoom, _ in cover.tiles_by_zoom for run in cover.runs(zoom)))


def _tiles(runs: Iterable[TileRun]) -> Iterable[Tile]:
    for run in runs:
        for col in range(run.min_col, run.max_col + 1):
            for row in range(run.min_row, run.max_row + 1):
                yield run.zoom, col, row


@dataclass
class Checks:
    """Compares what was asked with what came of it; blocks, so call it in a thread.

    Attributes:
        asked: Every request.
        witness: What stands in Kafka.
        receiver: The webhooks that were called.
        source: The layer's tiles.
        exports_dir: The service's folder of packages.
    """

    asked: list[Asked]
    witness: Witness
    receiver: Receiver
    source: SourceTiles
    exports_dir: Path
    findings: Findings = field(default_factory=Findings)
    packages: dict[str, str] = field(default_factory=dict)

    def run(self) -> Findings:
        """Check everything."""
        for asked in self.asked:
            if asked.fate == "accepted":
                self._check_answered(asked)
                self._check_hook(asked)
        for request_id, values in self.witness.values.items():
            if len(set(values)) > 1:
                self.findings.doubled.append(
                    f"request {request_id} has {len(set(values))} different results"
                )
            self._check_result(request_id)
        for progress in self.witness.exports.values():
            self._check_ended(progress)
        return self.findings

    def _check_answered(self, asked: Asked) -> None:
        if asked.request_id not in self.witness.values:
            self.findings.lost.append(
                f"request {asked.request_id} by {asked.by} for {asked.wish} has no result"
            )

    def _check_hook(self, asked: Asked) -> None:
        if asked.hook is None or asked.request_id not in self.witness.values:
            return
        bodies = set(self.receiver.bodies.get(asked.hook, ()))
        if not bodies:
            self.findings.lost.append(
                f"webhook {asked.hook} of request {asked.request_id} ({asked.by}) was not called"
            )
        elif len(bodies) > 1:
            self.findings.doubled.append(f"webhook {asked.hook} got {len(bodies)} bodies")
        for body in bodies:
            self._check_body(asked, orjson.loads(body))

    def _check_body(self, asked: Asked, body: Mapping[str, object]) -> None:
        result = self.witness.result(str(body["requestId"]))
        if result is None or orjson.loads(orjson.dumps(result_body(result))) != body:
            self.findings.wrong.append(f"webhook {asked.hook} told another result than Kafka")
        own = self.witness.result(str(asked.request_id))
        if own is not None and body["fileUri"] != own.file_uri:
            self.findings.wrong.append(f"webhook {asked.hook} named another package")

    def _check_result(self, request_id: str) -> None:
        result = self.witness.result(request_id)
        assert result is not None
        if not result.success:
            self.findings.wrong.append(f"request {request_id} failed: {result.error_reason}")
            return
        wish = self._wishes.get((result.bbox_json, result.target_resolution_deg))
        if wish is None:
            self.findings.wrong.append(f"request {request_id}: nobody asked {result.bbox_json}")
            return
        if result.file_uri not in self.packages:
            self.packages[result.file_uri] = self._problem_with(result, wish)
        if problem := self.packages[result.file_uri]:
            self.findings.wrong.append(f"request {request_id}, {result.file_uri}: {problem}")

    @cached_property
    def _wishes(self) -> dict[tuple[str | None, float | None], Wish]:
        """Wishes as results repeat them; also those whose answer, and so their id, was lost."""
        return {(asked.wish.bbox_json, asked.wish.target_deg): asked.wish for asked in self.asked}

    def _problem_with(self, result: ExportFinished, wish: Wish) -> str:
        """What is wrong with a package; empty: nothing."""
        path = self.exports_dir.joinpath(*result.file_uri.rsplit("/", 3)[1:])
        if not path.is_file() or not path.with_suffix(".json").is_file():
            return "the package or its metadata is not there"
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if (digest, path.stat().st_size) != (result.sha256, result.file_bytes):
            return f"sha256 {digest}, the result says {result.sha256}"
        expected = tiles_of_wish(wish)
        if result.tiles.written != len(expected) or result.tiles.missing:
            return f"{result.tiles} told, {len(expected)} planned"
        return self._compare(path, expected)

    def _compare(self, path: Path, expected: frozenset[Tile]) -> str:
        connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        try:
            ((table,),) = connection.execute("SELECT table_name FROM gpkg_contents").fetchall()
            rows = connection.execute(
                f'SELECT zoom_level, tile_column, tile_row, tile_data FROM "{table}"'
            )
            found = set()
            for zoom, col, row, data in rows:
                if (zoom, col, row) in found or self.source.tiles[zoom, col, row] != data:
                    return f"tile {zoom}/{col}/{row} stands twice or differs from the source"
                found.add((zoom, col, row))
        finally:
            connection.close()
        if found != expected:
            return f"{len(found - expected)} tiles too many, {len(expected - found)} too few"
        return ""

    def _check_ended(self, progress: ExportProgress) -> None:
        if progress.state not in FINAL_STATES:
            self.findings.left.append(
                f"export {progress.export_id} attempt {progress.attempt} is {progress.state}"
            )


def leftovers(exports_dir: Path) -> list[Path]:
    """Files that are no published package: shards, drafts, journals, facts."""
    return [
        path
        for path in exports_dir.rglob("*")
        if path.is_file() and not path.name.endswith(PUBLISHED)
    ]
