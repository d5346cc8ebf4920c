"""docker-compose.yml is checked without Docker: against the format's schema, and for our rules."""

import importlib.util
import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[3]
COMPOSE_FILE = ROOT / "docker-compose.yml"


@pytest.fixture(scope="module")
def services() -> dict:
    return YAML(typ="safe").load(COMPOSE_FILE)["services"]


def test_the_compose_file_is_valid():
    # The schema that check-jsonschema ships, without its command line: version 0.38 of it does
    # not start with the click that is locked.
    package = importlib.util.find_spec("check_jsonschema")
    assert package is not None
    assert package.origin is not None
    schemas = Path(package.origin).parent / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text())
    jsonschema.validate(YAML(typ="safe").load(COMPOSE_FILE), schema)


def test_images_are_pinned_to_a_version(services):
    assert services["kafka"]["image"] == "apache/kafka:4.1.0"


def test_every_port_is_published_on_loopback_only(services):
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_processes_start_after_the_topics_and_share_one_volume(services):
    for name in ("ingress", "coordinator", "worker"):
        needs = services[name]["depends_on"]["topics"]["condition"]
        assert needs == "service_completed_successfully"
        assert services[name]["volumes"] == ["export-data:/data"]
        assert services[name]["command"] == [name]


def test_the_image_gets_every_file_that_it_is_built_from():
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    copied = {
        word
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert copied == allowed


def test_without_keys_the_ingress_is_told_to_be_open_to_its_network(services):
    told = services["ingress"]["environment"]
    assert told["EXPORT_HOST"] == "0.0.0.0"
    assert told["EXPORT_OPEN_TO_ALL"] == "true"
