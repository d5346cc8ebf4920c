"""Kills at random moments, on each broker and membership: nothing is lost, doubled or wrong.

They run only when this file is named, or with EXPORT_STORM=1: each takes a minute or two. Where
Java or Maven is missing, those on Apache Kafka are skipped; EXPORT_KAFKA_REQUIRED=1 makes that an
error.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.apache_kafka.cluster import EXIT_UNAVAILABLE

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 1500


@pytest.fixture(autouse=True)
def asked_for(request: pytest.FixtureRequest) -> None:
    named = any(Path(__file__).name in argument for argument in request.config.args)
    if not named and not os.environ.get("EXPORT_STORM"):
        pytest.skip("a storm takes minutes: name this file, or set EXPORT_STORM=1")


def storm(folder: Path, *words: str) -> str:
    """Run a storm to its end; returns its report."""
    report = folder / "storm.md"
    command = [sys.executable, "-m", "tests.fault.storm.command", "--report", str(report), *words]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        told, _ = process.communicate(timeout=DEADLINE_S)
    finally:
        if process.poll() is None:
            # It ends its processes in order; Apache Kafka's would outlive a kill.
            process.send_signal(signal.SIGINT)
            process.communicate()
    if process.returncode == EXIT_UNAVAILABLE:
        (pytest.fail if os.environ.get("EXPORT_KAFKA_REQUIRED") else pytest.skip)(told)
    assert process.returncode == 0, f"{told}\n{report.read_text() if report.exists() else ''}"
    sys.stdout.write(report.read_text())
    return report.read_text()


@pytest.mark.timeout(DEADLINE_S + 240)
@pytest.mark.parametrize(
    "words",
    [
        pytest.param("--minutes 1.2 --kills 6 --seed 1", id="embedded"),
        pytest.param("--minutes 1.2 --kills 6 --seed 2 --broker kafka", id="kafka, static"),
        # Kills of a coordinator, of the ingress and in an assembly, and a frozen worker.
        pytest.param(
            "--minutes 1.5 --kills 2 --seed 6 --broker kafka --membership dynamic",
            id="kafka, dynamic",
        ),
    ],
)
def test_a_storm_of_kills_loses_nothing_doubles_nothing_and_leaves_nothing(
    tmp_path: Path, words: str
) -> None:
    assert "every promise was kept" in storm(tmp_path, *words.split())
