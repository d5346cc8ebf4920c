"""The tests of the Kafka layer and of the whole service, on a real Apache Kafka.

They run only when this folder is named (`scripts/test tests/apache_kafka`): they need Java and
Maven, and minutes.
EXPORT_KAFKA_REQUIRED=1 turns the skip for a missing Java or Maven into an error.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent


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


cluster = load(HERE / "cluster.py", "apache_kafka_cluster")
kafka_fixtures = load(HERE.parent / "integration" / "kafka" / "conftest.py", "kafka_fixtures")
service_fixtures = load(HERE.parent / "end_to_end" / "conftest.py", "end_to_end_fixtures")

stage, workers, bench = kafka_fixtures.stage, kafka_fixtures.workers, kafka_fixtures.bench
http, hooks = service_fixtures.http, service_fixtures.hooks
read_package, read_results = service_fixtures.read_package, service_fixtures.read_results
fetch_package = service_fixtures.fetch_package
start_service = service_fixtures.start_service


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave these tests out where nobody has asked for them."""
    if any(HERE.name in argument for argument in config.args):
        return
    ours = [item for item in items if HERE in item.path.parents]
    config.hook.pytest_deselected(items=ours)
    items[:] = [item for item in items if item not in set(ours)]


@pytest.fixture(scope="session")
def kafka_clusters(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make clusters: `kafka_clusters(3)` is one of three nodes, planned and not started."""
    try:
        cluster.java_command()
        cluster.fetch_jars()
    except cluster.KafkaUnavailable as error:
        if os.environ.get("EXPORT_KAFKA_REQUIRED"):
            pytest.fail(str(error))
        pytest.skip(str(error))

    def plan(node_count: int) -> Any:
        folder = tmp_path_factory.mktemp(f"kafka-{node_count}")
        return cluster.Cluster.planned(folder, node_count=node_count)

    return plan


@pytest.fixture(scope="session")
def apache_kafka(kafka_clusters: Any) -> Iterator[Any]:
    """A Cluster of one node that all tests share."""
    with kafka_clusters(1) as running:
        yield running


@pytest.fixture(scope="session")
def broker(apache_kafka: Any) -> str:
    """Bootstrap address of Apache Kafka, in place of the embedded broker's."""
    return str(apache_kafka.address)


@pytest.fixture(params=["static", "dynamic"])
def membership(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the apps of the test belong to their group; see notebook_stage.py."""
    monkeypatch.setenv("EXPORT_TEST_MEMBERSHIP", request.param)
    return str(request.param)


@pytest.fixture
def static_membership(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `membership`, static alone."""
    monkeypatch.setenv("EXPORT_TEST_MEMBERSHIP", "static")


@pytest.fixture(scope="session")
def service(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The whole service by `export-service up --broker`, which the tests of the session share.

    Ranges are small, so that an export has many, and slow, so that one can be met on its way.
    """
    folder = tmp_path_factory.mktemp("service")
    with service_fixtures.running_service(
        folder / "data", **service_fixtures.slowed(folder), EXPORT_BROKER=broker
    ) as started:
        yield started
