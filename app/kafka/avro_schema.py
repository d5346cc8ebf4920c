"""The Avro schema of a record, derived from its dataclass: the dataclass is the one source.

| Python | Avro |
|---|---|
| int, float, bool, str, bytes | long, double, boolean, string, bytes |
| X or None | ["null", X], default null |
| tuple[X, ...] | array of X |
| a dataclass | record, spelled out where it first appears and named afterwards |
| a default | the same default |
"""

import dataclasses
import inspect
import types
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from app.domain.avro_doc import Doc

NAMESPACE = "raster_export"

# JSON of a schema: nested dictionaries, lists and names.
Schema = Any

_PRIMITIVES = {int: "long", float: "double", bool: "boolean", str: "string", bytes: "bytes"}


class NoAvroSchema(TypeError):
    """A dataclass cannot be told in Avro, or tells too little; a mistake in our own code."""


@dataclasses.dataclass(frozen=True, slots=True)
class RecordField:
    """One field of a record, as Python and as Avro see it.

    Attributes:
        attribute: Name in the dataclass.
        name: Name in the schema.
        kind: Type without its annotations.
        doc: Meaning and unit.
        default: Python default; `dataclasses.MISSING` where there is none.
    """

    attribute: str
    name: str
    kind: Any
    doc: str
    default: Any


def record_fields(record_class: type) -> tuple[RecordField, ...]:
    """Read the fields of a record in the order of its dataclass.

    Raises:
        NoAvroSchema: No dataclass, or a field without `Doc` or with a default factory.
    """
    if not dataclasses.is_dataclass(record_class):
        raise NoAvroSchema(f"{record_class!r} is not a dataclass")
    hints = get_type_hints(record_class, include_extras=True)
    return tuple(
        _record_field(record_class, field, hints[field.name])
        for field in dataclasses.fields(record_class)
    )


def _record_field(record_class: type, field: dataclasses.Field[Any], hint: Any) -> RecordField:
    place = f"{record_class.__name__}.{field.name}"
    notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    docs = [note for note in notes if isinstance(note, Doc)]
    if not docs or not docs[-1].text:
        raise NoAvroSchema(f"{place} has no Doc: every field says its meaning and unit")
    if field.default_factory is not dataclasses.MISSING:
        raise NoAvroSchema(f"{place} has a default factory; Avro needs a plain default")
    return RecordField(
        attribute=field.name,
        name=docs[-1].name or field.name,
        kind=get_args(hint)[0],
        doc=docs[-1].text,
        default=field.default,
    )


def optional_of(kind: Any) -> Any | None:
    """Find X in `X | None`; None for any other type."""
    if get_origin(kind) not in (Union, types.UnionType):
        return None
    others = [member for member in get_args(kind) if member is not types.NoneType]
    if len(others) != 1 or len(get_args(kind)) != 2:
        raise NoAvroSchema(f"{kind!r}: the only union is X | None")
    return others[0]


def element_of(kind: Any) -> Any | None:
    """Find X in `tuple[X, ...]`; None for any other type."""
    if get_origin(kind) is not tuple:
        return None
    members = get_args(kind)
    if len(members) != 2 or members[1] is not Ellipsis:
        raise NoAvroSchema(f"{kind!r}: the only tuple is tuple[X, ...]")
    return members[0]


def avro_schema(record_class: type) -> Schema:
    """Derive the schema of a record.

    Returns:
        A record schema as JSON values; nested records are spelled out once.

    Raises:
        NoAvroSchema: A type that Avro does not have, or a field or class without words.

    >>> from app.domain.records import Tick
    >>> avro_schema(Tick)["fields"][0]["type"]
    'long'
    """
    return _record_schema(record_class, set())


def _record_schema(record_class: type, spelled_out: set[str]) -> Schema:
    name = record_class.__name__
    if name in spelled_out:
        return f"{NAMESPACE}.{name}"
    spelled_out.add(name)
    return {
        "type": "record",
        "name": name,
        "namespace": NAMESPACE,
        "doc": _summary(record_class),
        "fields": [
            _field_schema(record_class, field, spelled_out) for field in record_fields(record_class)
        ],
    }


def _field_schema(record_class: type, field: RecordField, spelled_out: set[str]) -> Schema:
    schema = {
        "name": field.name,
        "type": _type_schema(field.kind, spelled_out),
        "doc": field.doc,
    }
    if optional_of(field.kind) is not None:
        if field.default not in (None, dataclasses.MISSING):
            place = f"{record_class.__name__}.{field.attribute}"
            raise NoAvroSchema(f"{place}: a field that may be null can only default to null")
        schema["default"] = None
    elif field.default is not dataclasses.MISSING:
        schema["default"] = _default(field.default)
    return schema


def _type_schema(kind: Any, spelled_out: set[str]) -> Schema:
    if kind in _PRIMITIVES:
        return _PRIMITIVES[kind]
    if (inner := optional_of(kind)) is not None:
        return ["null", _type_schema(inner, spelled_out)]
    if (element := element_of(kind)) is not None:
        return {"type": "array", "items": _type_schema(element, spelled_out)}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _record_schema(kind, spelled_out)
    raise NoAvroSchema(f"{kind!r} has no counterpart in Avro")


def _default(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")  # Avro 1.12, "Complex Types": code points 0-255 are bytes
    if isinstance(value, tuple):
        return [_default(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _default(getattr(value, field.attribute))
            for field in record_fields(type(value))
        }
    return value


def _summary(record_class: type) -> str:
    # A dataclass without a docstring gets its signature as one.
    doc = inspect.cleandoc(record_class.__doc__ or "")
    if not doc or doc.startswith(f"{record_class.__name__}("):
        raise NoAvroSchema(f"{record_class.__name__} has no docstring")
    return " ".join(doc.split("\n\n")[0].split())


def nested_records(record_class: type) -> set[type]:
    """Find every record that stands inside another one, at any depth."""
    found: set[type] = set()

    def visit(kind: Any) -> None:
        inner = optional_of(kind) or element_of(kind)
        if inner is not None:
            visit(inner)
        elif dataclasses.is_dataclass(kind) and isinstance(kind, type) and kind not in found:
            found.add(kind)
            for field in record_fields(kind):
                visit(field.kind)

    for field in record_fields(record_class):
        visit(field.kind)
    return found


def snake_case(name: str) -> str:
    """Turn a class name into a file name.

    >>> snake_case("RangeWritten")
    'range_written'
    """
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")
