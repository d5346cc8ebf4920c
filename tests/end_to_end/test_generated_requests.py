"""Schemathesis on the whole running service: no 500, nothing undocumented, and nothing left behind.

Creates are real: the layer of the document's examples is there, with exports that take a moment or
have too many tiles, and webhooks go to a receiver of ours. Most requests about an export mean one
that is there. The service asks for tokens, and answers nothing without one.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.ingress.answers import LAYER_ID
from tests.end_to_end.conftest import Service
from tests.end_to_end.guarded import Caller, guarded_service, put_layer
from tests.end_to_end.test_straight_to_kafka import read_all
from tests.generated_requests import ENDLESS, check

LIMITS = {
    "EXPORT_MAX_TILES": "100",
    "EXPORT_MAX_VERTICES": "50",
    "EXPORT_MAX_BODY_BYTES": "20000",
    "EXPORT_MAX_LIVE_EXPORTS_PER_CLIENT": "3",
    "EXPORT_MAX_RUNNING_EXPORTS": "2",
    "EXPORT_VERDICT_WAIT_S": "0.05",  # so long waits each retry of what is not there
}
FINEST_ZOOM = 3
"""The whole layer has 170 tiles, which is too many, and half of it takes a moment."""
ALL_BUT_CREATE = "^/(?!create$)"
DEADLINE_S = 60


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Service]:
    with guarded_service(tmp_path_factory.mktemp("generated"), **LIMITS) as started:
        put_layer(started, "BLUE_MARBLE", FINEST_ZOOM, id=LAYER_ID)
        yield started


@pytest.fixture
async def anna(service, http, eventually) -> AsyncIterator[Caller]:
    """In whose name all is asked; nothing that she asks may leave a trace but exports."""
    children = {name: service.child(name).pid for name in ("ingress", "coordinator", "worker")}
    caller = Caller(service, http, "anna")
    yield caller

    async def have_ended() -> bool:
        page = (await caller("GET", "/exports?limit=200")).body
        assert page["next"] is None
        return {one["status"] for one in page["exports"]}.isdisjoint({"Pending", "In-Progress"})

    await eventually(have_ended, deadline_s=DEADLINE_S)
    assert list(filter(is_error, ingress_log(service))) == []
    assert await asyncio.to_thread(read_all, service.broker, "dead-letters") == []
    assert {name: service.child(name).pid for name in children} == children


def configuration(ids: list[str], delivery_id: str, uri: str, hook: str) -> str:
    """What Schemathesis shall know: things that are there, and where webhooks may go."""
    export_id, attempt, name = uri.split("/")[-3:]
    known = {"export_id": export_id, "attempt": attempt, "name": name}
    lines = ["[dictionaries]"]
    lines += [f"ids = {{ values = {json.dumps(ids)} }}"]
    lines += [f'deliveries = {{ values = ["{delivery_id}"] }}']
    lines += ["[parameters]"]
    lines += [f'"body.dbId" = "{LAYER_ID}"', f'"body.callbackURLs" = ["{hook}"]']
    lines += ['"path.id" = { dictionary = "ids", probability = 0.85 }']
    lines += ['"path.deliveryId" = { dictionary = "deliveries", probability = 0.8 }']
    lines += [f'"path.{name}" = "{value}"' for name, value in known.items()]
    lines += ["[[operations]]", 'include-path-regex = "^/layers/"']
    lines += [f'parameters = {{ "path.id" = "{LAYER_ID}" }}']
    return "\n".join(lines) + "\n"


def ingress_log(service: Service) -> list[dict]:
    log: Path = service.data_dir / "run" / "ingress.log"
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def is_error(line: dict) -> bool:
    """Whether the ingress met a bug; one header of Schemathesis's is no HTTP, and no bug."""
    of_server = line.get("logger") == "aiohttp.server" and line["level"] == "error"
    return line["event"] == "bug" or (of_server and "X-Schemathesis-Probe-Null" not in str(line))


async def test_no_generated_request_gets_a_500_or_an_undocumented_answer_from_the_whole_service(
    service, anna, hooks, eventually, tmp_path
):
    finished = await anna.create(LAYER_ID, [1, 1, 2, 2], callbackURLs=[hooks.url])
    result = await hooks.result(finished)
    cancelled = await anna.create(LAYER_ID, [-2, -2, -1, -1])
    await anna("DELETE", f"/exports/{cancelled}")

    async def deliveries() -> list[dict]:
        return (await anna("GET", f"/exports/{finished}/deliveries")).body["deliveries"]

    (delivery,) = await eventually(deliveries, deadline_s=DEADLINE_S)
    config = configuration([finished, cancelled], delivery["id"], result["fileUri"], hooks.url)
    (tmp_path / "schemathesis.toml").write_text(config)
    options = ["--phases", "examples,fuzzing", "--max-examples", "8"]
    options += ["--header", f"x-api-key: {anna.token}"]
    # Whoever asks for what is not there waits for two seconds: four wait side by side.
    more = {"more_checks": ("ignored_auth",), "workers": 4}
    await check(service.url, tmp_path, ENDLESS, *options, **more)


async def test_nor_does_a_create_with_any_field_missing_or_of_any_wrong_kind(
    service, anna, hooks, tmp_path
):
    config = f'[parameters]\n"body.dbId" = "{LAYER_ID}"\n"body.callbackURLs" = ["{hooks.url}"]\n'
    (tmp_path / "schemathesis.toml").write_text(config)
    options = ["--phases", "coverage", "--header", f"x-api-key: {anna.token}"]
    more = {"more_checks": ("ignored_auth",)}
    await check(service.url, tmp_path, ALL_BUT_CREATE, *options, **more)
    lines = (line for line in ingress_log(service) if line.get("path") == "/create")
    answers = Counter(line["status"] for line in lines)
    assert {400, 401, 405, 413} <= answers.keys(), answers
    assert answers[200] > 5, "some of what was generated must have been taken in"
