"""`up` as a person starts it, with every process real: export, verify, stop, start again."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.demo import DEMO_LAYER_ID
from app.supervisor.supervise import choose_port

EXPORT = (sys.executable, "-m", "app")


@dataclass
class Up:
    """A running `up`."""

    process: subprocess.Popen[str]
    said: list[str]

    @property
    def url(self) -> str:
        return next(line for line in self.said if line.startswith("Ready: ")).split()[1]

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(300)


def start(data_dir: Path, port: int) -> Up:
    process = subprocess.Popen(
        [*EXPORT, "up", "--port", str(port), "--data-dir", str(data_dir)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line.strip())
        if line.startswith("Stop with"):
            break
    assert any(line.startswith("Ready: ") for line in said), said
    return Up(process, said)


@pytest.fixture
def up(tmp_path):
    started: list[Up] = []
    # The same one at both starts: links that were given away name it.
    port = choose_port("127.0.0.1", 0)

    def begin() -> Up:
        started.append(start(tmp_path / "data", port))
        return started[-1]

    yield begin
    for each in started:
        each.stop()
        each.process.stdout.close()


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*EXPORT, *words], capture_output=True, text=True, check=False)


def test_a_second_start_goes_on_and_still_has_the_package_of_the_first(up, tmp_path):
    package = tmp_path / "italy.gpkg"
    area = ("--layer", DEMO_LAYER_ID, "--bbox", "6,36,19,47", "--output", str(package))

    first = up()
    assert "Topics: 16 created, 16 in all" in first.said
    exported = run("export", *area, "--url", first.url)
    assert exported.returncode == 0, exported.stdout + exported.stderr
    assert run("verify", str(package)).returncode == 0
    bytes_of_first = package.read_bytes()
    assert first.stop() == 0

    second = up()
    again = run("export", *area, "--url", second.url, "--force")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "has this package already" in again.stdout
    assert package.read_bytes() == bytes_of_first
    assert second.stop() == 0

    damaged = bytearray(bytes_of_first)
    damaged[-2000] ^= 255
    package.write_bytes(damaged)
    verified = run("verify", str(package))
    assert verified.returncode == 1
    assert "sha256" in verified.stdout
