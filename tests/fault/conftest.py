"""Faults: each test names one, and the promise it must keep."""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.small_disk import Disk, mounted

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def load(path: Path, name: str) -> ModuleType:
    """Import a file of the tests, which are no packages."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


service_fixtures = load(HERE.parent / "end_to_end" / "conftest.py", "end_to_end_fixtures")
package_fixtures = load(HERE.parent / "integration" / "package" / "conftest.py", "package_fixtures")

http, hooks = service_fixtures.http, service_fixtures.hooks
read_package, read_results = service_fixtures.read_package, service_fixtures.read_results
fetch_package, start_service = service_fixtures.fetch_package, service_fixtures.start_service
export = package_fixtures.export


# Python imports a `sitecustomize` on PYTHONPATH at its start, in every process of the service.
WOUNDS = """
import os
import signal
from pathlib import Path

from app.admission.admit import Admission
from app.domain.errors import InvalidRecord
from app.kafka.codec import Codec
from app.kafka.edge import Handling
from app.sources.folder import FolderTileSource

UPDATED = Path(__file__).with_name("updated")
admit, decode, read_many = Admission.admit, Handling._decode, FolderTileSource.read_many


async def admit_or_die(self, record):
    if record.client == "kills admission":
        os.kill(os.getpid(), signal.SIGKILL)
    return await admit(self, record)


def decode_as_an_older_release(self, message):
    if b"newer release" in (message.value or b"") and not UPDATED.exists():
        raise InvalidRecord("schema id 4242 is unknown here: a newer release may have written it")
    return decode(self, message)


def read_or_die(self, tiles):
    if any(zoom == 5 and row == 31 and col == 16 for zoom, col, row in tiles):
        os.kill(os.getpid(), signal.SIGKILL)
    return read_many(self, tiles)


Admission.admit, Handling._decode = admit_or_die, decode_as_an_older_release
FolderTileSource.read_many = read_or_die
"""


@pytest.fixture(scope="session")
def wounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a sitecustomize that makes some requests deadly."""
    folder = tmp_path_factory.mktemp("wounds")
    (folder / "sitecustomize.py").write_text(WOUNDS)
    return folder


@pytest.fixture(scope="session")
def service(wounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The whole service, in which some requests are deadly; the tests of bad records share it."""
    with service_fixtures.running_service(
        tmp_path_factory.mktemp("service"),
        EXPORT_RANGE_BYTES="200000",
        PYTHONPATH=os.pathsep.join([str(wounds), str(ROOT)]),
    ) as started:
        yield started


@pytest.fixture
def bench(service: Any) -> Any:
    """A stranger with a Kafka client at the running service's broker."""
    return load(HERE / "record_bench.py", "record_bench").RecordBench(service.broker)


@pytest.fixture
def update(wounds: Path) -> Path:
    """The file whose presence makes the service one of the newer release."""
    return wounds / "updated"


@pytest.fixture
def load_beside() -> Any:
    """Load a module of this folder by its name."""
    return lambda name: load(HERE / f"{name}.py", f"fault_{name}")


@pytest.fixture(scope="session")
def loaded_service() -> ModuleType:
    """The client and the watch that scripts/bench/load.py uses."""
    return load(ROOT / "scripts" / "bench" / "loaded_service.py", "loaded_service")


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, str], Disk]]:
    """Mount real small disks: `small_disk(path, "4m")`."""
    with ExitStack() as disks:
        yield lambda path, size: disks.enter_context(mounted(path, size))
