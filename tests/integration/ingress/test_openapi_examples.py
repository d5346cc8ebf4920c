"""The document as it is served: valid OpenAPI 3.1, and every example in it can be sent."""

import json
from dataclasses import replace
from hashlib import sha256

import orjson
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from app.ingress.answers import DOWNLOAD_EXAMPLE, REQUEST_ID
from app.ingress.openapi import ENDPOINTS, documented_statuses, openapi_document

EVENTS = "text/event-stream"
"""An answer that has no end."""


def must_succeed(method: str, path: str) -> bool:
    """Whether the state that the tests make is the one that the examples are about."""
    return path == "/create" or (method == "get" and "/tiles/" not in path)


def values(described) -> list:
    """The examples of a parameter."""
    return [example["value"] for example in described["examples"].values()]


def bodies_of(operation, schemas) -> list:
    """The examples of a JSON body; None when there is none."""
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" not in content:
        return [None]
    schema = content["application/json"]["schema"]
    return schemas[schema["$ref"].rsplit("/", 1)[1]]["examples"]


def requests_of(document, path, method) -> list:
    """Path, query and body of a request for each example, those of parameters in turn."""
    operation = document["paths"][path][method]
    given = {one["name"]: (one["in"], values(one)) for one in operation.get("parameters", [])}
    count = max((len(examples) for _, examples in given.values()), default=1)
    found = []
    for turn in range(count):
        query, where = {}, path
        for name, (place, examples) in given.items():
            value = examples[turn % len(examples)]
            if place == "path":
                where = where.replace(f"{{{name}}}", str(value))
            elif place == "query":
                query[name] = str(value)
        found += [
            (where, query, body) for body in bodies_of(operation, document["components"]["schemas"])
        ]
    return found


@pytest.fixture
async def world_of_examples(client, peer, say, settings, golden, eventually):
    """What the examples name: the layer is there; the request is finished and has its package."""
    (record,) = settings.catalogue_dir.iterdir()
    layer = orjson.loads(record.read_bytes())
    record.write_bytes(orjson.dumps(layer | {"source": {"type": "synthetic"}}))
    folder = settings.exports_dir / DOWNLOAD_EXAMPLE["export_id"] / DOWNLOAD_EXAMPLE["attempt"]
    folder.mkdir(parents=True)
    package = folder / DOWNLOAD_EXAMPLE["name"]
    package.write_bytes(b"a package")
    digest = sha256(package.read_bytes()).hexdigest()
    package.with_suffix(".json").write_bytes(orjson.dumps({"sha256": digest}))
    async with client.post("/create", data=orjson.dumps(golden)) as answer:
        assert answer.status == 200
    (asked,) = peer.asked
    example = replace(asked, request_id=REQUEST_ID)
    await peer.send(say.progress(example), say.export(18, "Completed"), say.finished(REQUEST_ID))

    async def is_known() -> bool:
        async with client.get(f"/taskStatus/{REQUEST_ID}") as answer:
            return answer.status == 200 and (await answer.json())["status"] == "Completed"

    await eventually(is_known)


async def test_the_document_is_valid_openapi_3_1(client):
    async with client.get("/openapi.json") as answer:
        document = await answer.json()
    assert document["openapi"].startswith("3.1.")
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


@pytest.mark.parametrize(
    ("method", "path"), [(endpoint.method, endpoint.path) for endpoint in ENDPOINTS]
)
async def test_each_example_of_a_request_is_answered_as_documented(
    client, world_of_examples, method, path
):
    document = openapi_document("http://127.0.0.1:8080")
    statuses = documented_statuses()[method.upper(), path]
    asked = requests_of(document, path, method)
    assert asked
    for where, query, body in asked:
        data = None if body is None else json.dumps(body)
        async with client.request(method, where, params=query, data=data) as answer:
            told = b"" if answer.content_type == EVENTS else await answer.read()
            assert answer.status in statuses, told
            # What changes something is answered by the state it finds; the rest must succeed.
            assert answer.status < (400 if must_succeed(method, path) else 500), told
