"""schemas/ says exactly what the dataclasses say, and every older version stays readable."""

import io
import json

import fastavro
import pytest
from fastavro.schema import parse_schema
from fastavro.utils import generate_many

from app.kafka.avro_schema import NAMESPACE, avro_schema, nested_records, snake_case
from app.kafka.codec import Codec, read_schema_ids, schemas_folder
from app.kafka.schema_files import out_of_step, schema_fingerprint
from app.kafka.topics import carried_records

FOLDER = schemas_folder()
IDS = read_schema_ids(FOLDER)


def load(file):
    return json.loads((FOLDER / file).read_text(encoding="utf-8"))


def records_within(schema):
    """Go through a schema's records, nested ones too."""
    if isinstance(schema, list):
        for branch in schema:
            yield from records_within(branch)
    elif isinstance(schema, dict):
        if schema["type"] == "record":
            yield schema
            for field in schema["fields"]:
                yield from records_within(field["type"])
        elif schema["type"] == "array":
            yield from records_within(schema["items"])


def test_the_files_equal_the_dataclasses():
    assert out_of_step(FOLDER) == []


def test_every_file_belongs_to_an_id_and_every_id_to_a_file():
    files = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.avsc")}
    assert files == {entry.file for entry in IDS}


@pytest.mark.parametrize("entry", IDS, ids=lambda entry: f"{entry.id}-{entry.record}")
def test_every_id_resolves_to_the_schema_it_was_given_for(entry):
    schema = load(entry.file)
    assert schema["name"] == entry.record
    assert schema["namespace"] == NAMESPACE
    assert schema_fingerprint(schema) == entry.fingerprint
    parse_schema(schema)


@pytest.mark.parametrize("record_class", carried_records(), ids=lambda cls: cls.__name__)
def test_every_record_and_field_says_what_it_means(record_class):
    schema = load(f"{snake_case(record_class.__name__)}.avsc")
    for record in records_within(schema):
        assert record["doc"].strip(), record["name"]
        for field in record["fields"]:
            assert field["doc"].strip(), f"{record['name']}.{field['name']}"


@pytest.mark.parametrize("record_class", carried_records(), ids=lambda cls: cls.__name__)
def test_a_time_or_size_names_its_unit(record_class):
    for record in records_within(avro_schema(record_class)):
        for field in record["fields"]:
            if field["name"].endswith("_ms") or field["name"] in ("atMs", "firstTriedAtMs"):
                assert "ms since 1970 UTC" in field["doc"], f"{record['name']}.{field['name']}"
            if field["name"].endswith("_bytes"):
                assert "bytes" in field["doc"], f"{record['name']}.{field['name']}"


def written(schema, value):
    body = io.BytesIO()
    fastavro.schemaless_writer(body, parse_schema(schema), value)
    return body.getvalue()


def test_the_newest_schema_reads_what_its_predecessors_wrote():
    codec = Codec.from_folder(FOLDER)
    for older in IDS:
        schema = load(older.file)
        for value in generate_many(parse_schema(schema), 20):
            raw = b"\x00" + older.id.to_bytes(4, "big") + written(schema, value)
            assert type(codec.decode(raw)).__name__ == older.record


def test_the_newest_version_is_the_one_outside_history():
    newest = {entry.record: entry.file for entry in IDS}
    assert newest == {record: f"{snake_case(record)}.avsc" for record in newest}


def test_some_version_of_every_record_is_written():
    assert {entry.record for entry in IDS if entry.written} == {entry.record for entry in IDS}


def test_nested_records_are_spelled_out_once():
    for record_class in carried_records():
        names = [record["name"] for record in records_within(avro_schema(record_class))]
        nested = {inner.__name__ for inner in nested_records(record_class)}
        assert sorted(names) == sorted({record_class.__name__, *nested})
