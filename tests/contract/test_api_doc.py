"""docs/api.md says what the service does: its routes, its statuses, its examples."""

import json
import re
from pathlib import Path

import pytest

from app.domain.judgement import RequestLimits, check_plain_fields
from app.domain.records import ExportFinished, TilesTold
from app.domain.result import result_body
from app.ingress.answers import Result, Waiting
from app.ingress.openapi import ENDPOINTS
from app.ingress.request_body import CreateRequest, known_fields, parse_create_request

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "api.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text under a heading, up to the next one."""
    return TEXT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_every_route_is_told():
    told = set(re.findall(r"`(GET|HEAD|POST|PATCH|DELETE) (/[^`?]*)[^`]*`", TEXT.split("\n## ")[0]))
    assert {(one.method.upper(), one.path) for one in ENDPOINTS} <= told


def test_every_status_is_told():
    told = {int(number) for number in re.findall(r"\b([45]\d\d)\b", section("Errors"))}
    assert {status for one in ENDPOINTS for status in one.errors} <= told


def test_every_field_of_a_request_is_told_and_no_other():
    table = re.findall(r"^\| (`.*?) \|", section("Asking for an export"), re.MULTILINE)
    told = [name for cell in table for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(told) == sorted(known_fields(CreateRequest))


def test_the_example_of_a_request_is_taken():
    (body,) = re.findall(r"-d '(\{.*?\n\})'", TEXT, re.DOTALL)
    asked = parse_create_request(body.encode(), request_id="r", at_ms=0)
    check_plain_fields(asked, RequestLimits())


def test_the_examples_of_answers_are_whole():
    waiting, result = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    Waiting.model_validate_json(waiting)
    Result.model_validate_json(result)
    finished = ExportFinished(
        *("r", "l", True, "Completed", None, "[1,2,3,4]", 0.1, "p", "f", "m", 1, "s"),
        *(TilesTold(1, 1, 0), "e", "f"),
    )
    assert set(json.loads(result)) == {*result_body(finished), "id", "zoom"}


def test_whoever_migrates_is_told_of_every_field():
    text = (DOCS / "migrating.md").read_text(encoding="utf-8")
    answers = (Waiting, Result)
    fields = {field.alias or name for one in answers for name, field in one.model_fields.items()}
    told = set(re.findall(r"`(\w+)`", text))
    assert {*fields, *known_fields(CreateRequest), "errorReason"} - told == set()


@pytest.mark.parametrize("name", re.findall(r"\]\((\w+\.md)\)", TEXT))
def test_every_link_leads_to_a_file(name):
    assert (DOCS / name).is_file()
