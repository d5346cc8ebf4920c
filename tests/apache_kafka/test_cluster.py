"""scripts/kafka, as a person calls it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def kafka(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "scripts" / "kafka"), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_a_node_starts_shows_itself_and_stops(kafka_clusters, tmp_path):
    here = ("--dir", str(tmp_path / "kafka"))
    started = kafka("start", "--port", "0", *here)
    try:
        assert started.returncode == 0, started.stderr
        shown = kafka("status", *here)
        assert shown.returncode == 0
        assert shown.stdout.startswith(started.stdout)
        assert "node 1 answers" in shown.stdout
        again = kafka("start", "--port", "0", *here)
        assert (again.returncode, again.stdout) == (0, started.stdout)
    finally:
        assert kafka("stop", *here).returncode == 0
    stopped = kafka("status", *here)
    assert stopped.returncode == 3
    assert "node 1 is down" in stopped.stdout


def test_a_folder_with_another_cluster_is_refused(tmp_path, kafka_clusters):
    (tmp_path / "plan.json").write_text('["id", [1, 2, 3], [4, 5, 6]]')
    refused = kafka("start", "--dir", str(tmp_path))
    assert refused.returncode == 1
    assert "a cluster of 3 nodes at port 1" in refused.stderr


@pytest.mark.parametrize("missing", ["java", "mvn"])
def test_what_is_missing_is_named_with_a_status_of_its_own(tmp_path, missing):
    tools = tmp_path / "tools"
    tools.mkdir()
    if missing == "mvn":
        java = tools / "java"
        java.write_text("#!/bin/sh\necho 'openjdk version \"21.0.1\"' >&2\n")
        java.chmod(0o755)
    code = (
        "import runpy, pathlib, sys; "
        f"made = runpy.run_path({str(ROOT / 'tests/apache_kafka/cluster.py')!r}); "
        "main = made['main']; main.__globals__['CACHE'] = pathlib.Path(sys.argv[1]); "
        "sys.exit(main(['start', '--dir', sys.argv[1] + '/cluster']))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": str(tools)},
    )
    assert ran.returncode == 69, ran.stderr
    assert f"no `{missing}` was found" in ran.stderr
