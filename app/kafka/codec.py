"""Records to bytes and back: Avro in the Confluent wire format.

One zero byte, the schema's id as four bytes (big-endian), then the Avro body. The ids stand in
`schemas/ids.json`; a schema that changed has got a new id, and its predecessors stay readable.
"""

import io
import json
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, is_dataclass
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

import fastavro
from fastavro.schema import parse_schema

from app.domain.decision import Record
from app.domain.errors import InvalidRecord
from app.kafka.avro_schema import element_of, optional_of, record_fields
from app.kafka.topics import carried_records

MAGIC = 0
HEADER = struct.Struct(">BI")

_Converter = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Writer:
    header: bytes
    schema: Any
    to_avro: _Converter


@dataclass(frozen=True, slots=True)
class _Reader:
    """How to read one schema id; `reader_schema` is None where writer and reader are the same."""

    record_name: str
    writer_schema: Any
    reader_schema: Any | None
    from_avro: _Converter


@dataclass(frozen=True, slots=True)
class SchemaId:
    """One entry of `schemas/ids.json`.

    Attributes:
        id: Number in the wire format, never given twice.
        record: Name of the record class.
        file: Path of the schema within the folder, e.g. `tick.avsc`.
        fingerprint: SHA-256 of the schema's parsing canonical form, hexadecimal.
        written: Whether this release writes it. A new version of a schema is only read at
            first, so that processes of the release before never meet an id they do not know.
    """

    id: int
    record: str
    file: str
    fingerprint: str
    written: bool


def schemas_folder() -> Path:
    """Find the schemas: beside the package in a checkout, inside it in an installed wheel.

    Raises:
        FileNotFoundError: Neither place has `ids.json`.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "schemas", package.parent / "schemas"):
        if (folder / "ids.json").is_file():
            return folder
    raise FileNotFoundError(f"no schemas/ids.json in or beside {package}: run scripts/schemas")


def read_schema_ids(folder: Path) -> tuple[SchemaId, ...]:
    """Read `ids.json`, sorted by id."""
    entries = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
    return tuple(
        SchemaId(
            id=int(number),
            record=entry["record"],
            file=entry["file"],
            fingerprint=entry["fingerprint"],
            written=entry.get("written", True),
        )
        for number, entry in sorted(entries.items(), key=lambda item: int(item[0]))
    )


class Codec:
    """Encodes and decodes every record that a topic carries.

    Safe to share between tasks and threads: nothing changes after it is built.
    """

    def __init__(self, folder: Path, record_classes: Iterable[type]) -> None:
        """Parse the schemas and prepare a converter for every class.

        Raises:
            LookupError: A class has no schema, or an old one: run scripts/schemas.
        """
        self._writers: dict[type, _Writer] = {}
        self._readers: dict[int, _Reader] = {}
        ids = read_schema_ids(folder)
        for record_class in record_classes:
            self._prepare(
                record_class,
                folder,
                [entry for entry in ids if entry.record == record_class.__name__],
            )

    @classmethod
    def from_folder(cls, folder: Path | None = None) -> "Codec":
        """Build the codec of all records in the topic catalogue.

        Args:
            folder: Folder with `ids.json`; None finds the one that came with this code.
        """
        return cls(folder or schemas_folder(), carried_records())

    def _prepare(self, record_class: type, folder: Path, entries: list[SchemaId]) -> None:
        name = record_class.__name__
        written = [entry for entry in entries if entry.written]
        if not written:
            raise LookupError(f"{name} has no schema in {folder}: run scripts/schemas")
        schemas = {
            entry.id: parse_schema(json.loads((folder / entry.file).read_text(encoding="utf-8")))
            for entry in entries
        }
        newest = entries[-1].id
        in_file = [field["name"] for field in schemas[newest]["fields"]]
        if in_file != [field.name for field in record_fields(record_class)]:
            raise LookupError(f"{entries[-1].file} is older than {name}: run scripts/schemas")
        from_avro = _from_avro(record_class)
        for number, schema in schemas.items():
            self._readers[number] = _Reader(
                record_name=name,
                writer_schema=schema,
                reader_schema=None if number == newest else schemas[newest],
                from_avro=from_avro,
            )
        self._writers[record_class] = _Writer(
            header=HEADER.pack(MAGIC, written[-1].id),
            schema=schemas[written[-1].id],
            to_avro=_to_avro(record_class),
        )

    def encode(self, record: Record) -> bytes:
        """Encode one record.

        Raises:
            KeyError: The class has no schema; a mistake in our own code.
            Exception: A value does not fit its field's type; a mistake in our own code.
        """
        writer = self._writers[type(record)]
        body = io.BytesIO()
        body.write(writer.header)
        fastavro.schemaless_writer(body, writer.schema, writer.to_avro(record))
        return body.getvalue()

    def decode(self, raw: bytes | None) -> Record:
        """Decode one record into its dataclass, from whatever schema version wrote it.

        Args:
            raw: Value of a Kafka record; None is a tombstone, which is no record.

        Raises:
            InvalidRecord: Not in the wire format, an unknown id, or a body that is cut, wrong
                or too long.
        """
        if raw is None:
            raise InvalidRecord("no value: a tombstone is no record")
        if len(raw) < HEADER.size:
            raise InvalidRecord(f"{len(raw)} bytes; a record has at least {HEADER.size}")
        magic, number = HEADER.unpack_from(raw)
        if magic != MAGIC:
            raise InvalidRecord(f"first byte is {magic}, must be {MAGIC} (Confluent wire format)")
        reader = self._readers.get(number)
        if reader is None:
            raise InvalidRecord(
                f"schema id {number} is unknown here: a newer release may have written it; "
                "update this process, then put the dead letter back"
            )
        body = io.BytesIO(raw)
        body.seek(HEADER.size)
        try:
            value = fastavro.schemaless_reader(body, reader.writer_schema, reader.reader_schema)
            record = reader.from_avro(value)
        except Exception as error:
            raise InvalidRecord(f"{reader.record_name} cannot be read: {error!r}") from error
        if body.tell() != len(raw):
            raise InvalidRecord(f"{reader.record_name} has {len(raw) - body.tell()} bytes too many")
        return record


def _to_avro(record_class: type) -> _Converter:
    """Prepare the way from a dataclass to the dictionary that fastavro writes."""
    fields = record_fields(record_class)
    names = tuple(field.name for field in fields)
    values_of = _always_tuple(attrgetter, [field.attribute for field in fields])
    inner = [
        (field.name, convert)
        for field in fields
        if (convert := _convert(field.kind, _to_avro, list)) is not None
    ]

    def to_avro(record: Any) -> dict[str, Any]:
        values = dict(zip(names, values_of(record), strict=True))
        for name, convert in inner:
            values[name] = convert(values[name])
        return values

    return to_avro


def _from_avro(record_class: type) -> _Converter:
    """Prepare the way from the dictionary that fastavro read to the dataclass."""
    fields = record_fields(record_class)
    values_of = _always_tuple(itemgetter, [field.name for field in fields])
    inner = [
        (field.name, convert)
        for field in fields
        if (convert := _convert(field.kind, _from_avro, tuple)) is not None
    ]

    def from_avro(values: dict[str, Any]) -> Any:
        for name, convert in inner:
            values[name] = convert(values[name])
        return record_class(*values_of(values))

    return from_avro


def _always_tuple(getter: Any, names: list[str]) -> _Converter:
    """Get several values at once; a getter of one name alone would return a bare value."""
    if len(names) > 1:
        return getter(*names)  # type: ignore[no-any-return]  # attrgetter or itemgetter
    only = getter(*names)
    return lambda source: (only(source),)


def _convert(
    kind: Any, of_class: Callable[[type], _Converter], sequence: type
) -> _Converter | None:
    """Prepare the conversion of one field; None where the value passes as it is."""
    if (inner := optional_of(kind)) is not None:
        of_value = _convert(inner, of_class, sequence)
        return None if of_value is None else _unless_none(of_value)
    if (element := element_of(kind)) is not None:
        of_item = _convert(element, of_class, sequence)
        return sequence if of_item is None else _for_each(of_item, sequence)
    if is_dataclass(kind) and isinstance(kind, type):
        return of_class(kind)
    return None


def _unless_none(convert: _Converter) -> _Converter:
    return lambda value: None if value is None else convert(value)


def _for_each(convert: _Converter, sequence: Callable[[list[Any]], Any]) -> _Converter:
    return lambda values: sequence([convert(value) for value in values])
