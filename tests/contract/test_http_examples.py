"""The OpenAPI document: its examples pass the models that validate, and its parts hang together."""

import json
import re

import orjson
import pytest

from app.domain.judgement import RequestLimits, check_plain_fields, judge
from app.domain.records import ExportFinished, TilesTold
from app.domain.result import result_body
from app.ingress import (
    answers,
    auth_endpoints,
    delivery_answers,
    export_answers,
    export_endpoints,
    space_endpoints,
)
from app.ingress.commands import ExportPatch
from app.ingress.event_id import EventId
from app.ingress.openapi import ENDPOINTS, openapi_document
from app.ingress.request_body import EXAMPLE, CreateRequest, known_fields, parse_create_request

DOCUMENT = openapi_document("http://127.0.0.1:8080")
SCHEMAS = DOCUMENT["components"]["schemas"]
MODELS = {
    "ByteCounts": export_answers.ByteCounts,
    "Change": export_answers.Change,
    "CreateRequest": CreateRequest,
    "Export": export_answers.Export,
    "ExportListed": export_answers.ExportListed,
    "ExportPage": export_answers.ExportPage,
    "ExportPatch": ExportPatch,
    "Health": answers.Health,
    "Layer": answers.Layer,
    "Message": answers.Message,
    "Result": answers.Result,
    "TaskStatusAnswer": answers.TaskStatusAnswer,
    "TileCounts": export_answers.TileCounts,
    "Tiles": answers.Tiles,
    "Call": delivery_answers.Call,
    "Delivery": delivery_answers.Delivery,
    "DeliveryList": delivery_answers.DeliveryList,
    "Estimate": space_endpoints.Estimate,
    "Links": auth_endpoints.Links,
    "Session": auth_endpoints.Session,
    "SessionOpened": auth_endpoints.SessionOpened,
    "SizeLimit": space_endpoints.SizeLimit,
    "Storage": space_endpoints.Storage,
    "ZoomSize": space_endpoints.ZoomSize,
    "TokenToKeep": auth_endpoints.TokenToKeep,
    "Waiting": answers.Waiting,
}
WORLD = {
    "type": "Polygon",
    "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]],
}


def test_every_schema_comes_from_a_model():
    assert set(SCHEMAS) == set(MODELS)


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"Tiles"}))
def test_every_model_has_an_example_that_validates(name):
    examples = SCHEMAS[name]["examples"]
    assert examples
    for example in examples:
        MODELS[name].model_validate_json(orjson.dumps(example), strict=True)


def test_the_example_of_a_request_is_one_that_can_be_done():
    asked = parse_create_request(orjson.dumps(EXAMPLE), request_id="r", at_ms=0)
    check_plain_fields(asked, RequestLimits())
    layer = {"id": asked.layer_id, "maxResolutionDeg": 0.00001, "footprint": WORLD}
    assert judge(asked, layer).tile_count == 18


def test_every_field_of_the_request_is_described():
    properties = SCHEMAS["CreateRequest"]["properties"]
    assert list(properties) == known_fields(CreateRequest)
    assert all(field.get("description") for field in properties.values())
    assert SCHEMAS["CreateRequest"]["required"] == ["dbId"]
    assert SCHEMAS["CreateRequest"]["additionalProperties"] is False


def test_every_field_of_every_answer_is_in_the_example():
    for name in set(MODELS) - {"CreateRequest", "Layer", "Tiles"}:
        assert set(SCHEMAS[name]["examples"][0]) == set(SCHEMAS[name]["properties"])


def test_a_result_as_webhooks_get_it_fits_the_documented_one():
    finished = ExportFinished(
        *("r", "l", True, "Completed", None, "[1,2,3,4]", 0.1, "p", "f", "m", 1, "s"),
        *(TilesTold(1, 1, 0), "e", "f"),
    )
    body = result_body(finished) | {"id": "r", "zoom": 3}
    answers.Result.model_validate(body)


def test_a_failed_result_says_why_and_a_good_one_does_not():
    fields = ("l", False, "Failed", "disk full", None, None, "", "", "", 0, "")
    body = result_body(ExportFinished("r", *fields, TilesTold(0, 0, 0), "", "now"))
    assert (body["success"], body["errorReason"], body["bbox"]) == (False, "disk full", None)


def test_the_example_of_an_event_tells_an_export_and_its_id_can_be_resumed_from():
    fields = dict(line.split(": ", 1) for line in export_endpoints.EVENT_EXAMPLE.splitlines()[:3])
    assert fields["event"] == "export"
    export_answers.ExportListed.model_validate_json(fields["data"])
    assert str(EventId.parse(fields["id"])) == fields["id"]
    for path in ("/exports/events", "/exports/{id}/events"):
        content = DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]
        (example,) = content["text/event-stream"]["examples"].values()
        assert example["value"] == export_endpoints.EVENT_EXAMPLE


def test_every_reference_leads_somewhere():
    names = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT))
    assert names
    assert set(names) <= set(SCHEMAS)


def test_every_path_parameter_is_described_with_an_example():
    for path, item in DOCUMENT["paths"].items():
        for operation in item.values():
            described = {
                one["name"]: one for one in operation.get("parameters", []) if one["in"] == "path"
            }
            assert set(described) == set(re.findall(r"{(\w+)}", path))
            assert all(one["required"] and one["examples"] for one in described.values())


def test_the_document_names_each_operation_once():
    names = [endpoint.name for endpoint in ENDPOINTS]
    assert len(set(names)) == len(names)
    assert DOCUMENT["openapi"].startswith("3.1")


def test_what_needs_a_token_says_so_and_what_its_absence_is_answered_with():
    schemes = set(DOCUMENT["components"]["securitySchemes"])
    for endpoint in ENDPOINTS:
        operation = DOCUMENT["paths"][endpoint.path][endpoint.method]
        assert bool(operation["security"]) != endpoint.is_open
        if not endpoint.is_open:
            assert {name for one in operation["security"] for name in one} == schemes
            assert {"401", "403", "503"} <= set(operation["responses"])
