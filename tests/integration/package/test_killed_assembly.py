"""Fault: kill -9 at any step of an assembly. Promise 3: a file under its final name is whole."""

import hashlib
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.domain.errors import ShardLost
from app.domain.package_facts import PackageFacts
from app.package.assemble import assemble
from app.package.verify import verify_package

DRIVER = Path(__file__).with_name("killed_assembly.py")


@pytest.mark.parametrize("shards", [[(0, 1, 2, 3, 4)], [(0, 4), (1, 2), (2, 3)]])
def test_an_assembly_killed_at_any_step_is_finished_by_the_next(export, tmp_path, shards):
    for numbers in shards:
        export.write(*numbers)
    facts = killed_at_each_step(export, tmp_path)
    assert {(told.written, told.expected) for told in facts} == {(18, 18)}


def test_an_assembly_of_several_tables_one_of_them_empty_may_be_killed_too(several, tmp_path):
    """The empty table is dropped in the transaction that drops the ledger."""
    empty = several.task.tables[1]
    for tile_range in several.ranges[empty.first_range :]:
        for tile in tile_range.tiles():
            several.source_path(tile).unlink(missing_ok=True)
    several.write_all()
    facts = killed_at_each_step(several, tmp_path)
    assert {told.expected for told in facts} == {len(several.tiles)}
    assert len({told.written for told in facts}) == 1


def killed_at_each_step(export, tmp_path):
    """Kill an assembly at each step and finish it; the facts of all that were finished."""
    (tmp_path / "task").write_bytes(pickle.dumps(export.task))
    copies = tmp_path / "copies"
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(export.folder), str(tmp_path / "task"), str(copies)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    killed = int(done.stdout)
    assert killed > 40
    told = []
    for step in range(1, killed + 2):
        folder = copies / str(step)
        package = folder / export.task.plan.package_name
        whole = package.exists()
        before = package.read_bytes() if whole else b""
        facts = assemble(folder, export.task, owner="next", now_ms=lambda: 7, beat=lambda: None)
        assert isinstance(facts, PackageFacts), step
        content = package.read_bytes()
        assert not whole or content == before, f"a published package changed after step {step}"
        assert facts.sha256 == hashlib.sha256(content).hexdigest()
        told.append(facts)
        assert verify_package(package).problems == (), step
        assert {path.name for path in folder.iterdir()} == {facts.package_name, facts.metadata_name}
    return told


def test_two_assemblers_at_the_same_moment_publish_one_package(export):
    for numbers in ((0, 1), (2,), (3, 4)):
        export.write(*numbers)
    start = threading.Barrier(2)

    def attempt(owner: str) -> PackageFacts:
        start.wait(timeout=60)
        while True:
            try:
                facts = assemble(
                    export.folder, export.task, owner=owner, now_ms=lambda: 7, beat=lambda: None
                )
            except ShardLost:
                continue
            assert isinstance(facts, PackageFacts)
            return facts

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(attempt, ["left", "right"])
    assert first == second
    assert verify_package(export.package).problems == ()
    assert len(list(export.folder.iterdir())) == 2
