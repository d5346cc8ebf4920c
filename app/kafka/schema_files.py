"""Writes schemas/: one .avsc for each record that a topic carries, and ids.json.

An id names one way to write a record and is never given twice. When the written form of a
record changes, its old schema moves to schemas/history/ and keeps its id for readers; the new
one gets the next free id. A change of words or defaults alone keeps the id.

    scripts/schemas                 bring the files in step with the dataclasses
    scripts/schemas --check         change nothing; fail when they are not in step
    scripts/schemas --read-first    a changed schema is only read for now, and written from the
                                    release after this one (then run --write-all)
    scripts/schemas --write-all     from now on write the newest schema of every record
    scripts/schemas --start-over    forget history and ids; only before the first release
"""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from fastavro.schema import fingerprint, to_parsing_canonical_form

from app.kafka.avro_schema import Schema, avro_schema, snake_case
from app.kafka.codec import SchemaId, read_schema_ids
from app.kafka.topics import carried_records

CHECKOUT_FOLDER = Path(__file__).resolve().parents[2] / "schemas"


def schema_fingerprint(schema: Schema) -> str:
    """Digest what decides about bytes: names, types and order, but no words and defaults.

    Source:
        Avro 1.12, "Parsing Canonical Form for Schemas".
    """
    return str(fingerprint(to_parsing_canonical_form(schema), "sha256"))


def schema_text(schema: Schema) -> str:
    """Lay a schema out as it stands in its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write_schemas(folder: Path, *, read_first: bool = False, write_all: bool = False) -> list[str]:
    """Bring a schema folder in step with the records of the topic catalogue.

    Args:
        folder: Holds ids.json, *.avsc and history/; may be empty at first.
        read_first: Mark a new version of a known record as not written yet.
        write_all: Mark every version as written.

    Returns:
        What changed, one sentence each; empty when all was in step.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = list(read_schema_ids(folder)) if (folder / "ids.json").is_file() else []
    changes: list[str] = []
    for record_class in carried_records():
        _write_schema(folder, avro_schema(record_class), ids, changes, read_first=read_first)
    if write_all:
        ids = [replace(entry, written=True) for entry in ids]
    text = _ids_text(ids)
    ids_file = folder / "ids.json"
    if not ids_file.is_file() or ids_file.read_text(encoding="utf-8") != text:
        ids_file.write_text(text, encoding="utf-8")
        changes.append("ids.json is new")
    return changes


def _write_schema(
    folder: Path, schema: Schema, ids: list[SchemaId], changes: list[str], *, read_first: bool
) -> None:
    record = schema["name"]
    file = f"{snake_case(record)}.avsc"
    digest = schema_fingerprint(schema)
    versions = [index for index, entry in enumerate(ids) if entry.record == record]
    newest = ids[versions[-1]] if versions else None
    if newest is None or newest.fingerprint != digest:
        number = max((entry.id for entry in ids), default=0) + 1
        if newest is not None:
            old_file = f"history/{snake_case(record)}.{newest.id}.avsc"
            (folder / "history").mkdir(exist_ok=True)
            (folder / newest.file).rename(folder / old_file)
            ids[versions[-1]] = replace(newest, file=old_file)
        written = newest is None or not read_first
        ids.append(SchemaId(number, record, file, digest, written))
        changes.append(f"{record} has got id {number}")
    target = folder / file
    text = schema_text(schema)
    if not target.is_file() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")
        changes.append(f"{file} is new")


def _ids_text(ids: list[SchemaId]) -> str:
    entries = {
        str(entry.id): {
            "record": entry.record,
            "file": entry.file,
            "fingerprint": entry.fingerprint,
            "written": entry.written,
        }
        for entry in ids
    }
    return json.dumps(entries, indent=2) + "\n"


def out_of_step(folder: Path) -> list[str]:
    """Say which files do not match the dataclasses; changes nothing.

    Returns:
        One sentence for each difference.
    """
    if not (folder / "ids.json").is_file():
        return ["there is no ids.json"]
    newest = {entry.record: entry for entry in read_schema_ids(folder)}
    problems = []
    for record_class in carried_records():
        schema = avro_schema(record_class)
        entry = newest.get(record_class.__name__)
        if entry is None:
            problems.append(f"{record_class.__name__} has no id")
        elif (folder / entry.file).read_text(encoding="utf-8") != schema_text(schema):
            problems.append(f"{entry.file} differs from {record_class.__name__}")
    return problems


def main(arguments: list[str]) -> int:
    """Run `scripts/schemas`; see the module's docstring."""
    known = {"--check", "--read-first", "--write-all", "--start-over"}
    if not set(arguments) <= known:
        sys.stdout.write(__doc__ or "")
        return 2
    if "--check" in arguments:
        problems = out_of_step(CHECKOUT_FOLDER)
        sys.stdout.writelines(f"{problem}\n" for problem in problems)
        return 1 if problems else 0
    if "--start-over" in arguments:
        shutil.rmtree(CHECKOUT_FOLDER, ignore_errors=True)
    changes = write_schemas(
        CHECKOUT_FOLDER,
        read_first="--read-first" in arguments,
        write_all="--write-all" in arguments,
    )
    sys.stdout.writelines(f"{change}\n" for change in changes)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
