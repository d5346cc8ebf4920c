"""A layer record is held to the fields that exports rely on, and to no others."""

import orjson
import pytest

from app.catalogue.layer_record import MAX_RECORD_BYTES, parse_layer_record
from app.domain.errors import InvalidRecord

LAYER = {
    "id": "0C3E455F-4aeb-4258-982d-f7773469a92d",
    "productId": "BLUE_MARBLE",
    "productVersion": "1.0",
    "maxResolutionDeg": 0.703125,
    "footprint": {
        "type": "Polygon",
        "coordinates": [[[34, 31], [36, 31], [36, 33], [34, 33], [34, 31]]],
    },
    "source": {"type": "folder", "path": "/tiles"},
    "somethingOfTheirs": {"kept": [1, None]},
}


def raw(**changes: object) -> bytes:
    record = LAYER | changes
    return orjson.dumps({name: value for name, value in record.items() if value is not ...})


def test_fields_that_we_do_not_know_pass_through_unchanged():
    record = parse_layer_record(raw())
    assert record["somethingOfTheirs"] == {"kept": [1, None]}
    assert record["maxResolutionDeg"] == 0.703125


def test_the_id_is_told_in_lower_case():
    assert parse_layer_record(raw())["id"] == "0c3e455f-4aeb-4258-982d-f7773469a92d"


def test_a_record_cannot_be_changed_by_those_who_find_it():
    with pytest.raises(TypeError):
        parse_layer_record(raw())["id"] = "another"  # type: ignore[index]  # that is the test


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ...),
        ("id", "layer-1"),
        ("id", 7),
        ("productId", ...),
        ("productId", "1ST"),
        ("productId", "A-B"),
        ("productId", "A\n"),
        ("productId", "A" * 101),
        ("productVersion", ...),
        ("productVersion", ""),
        ("productVersion", 1.0),
        ("maxResolutionDeg", ...),
        ("maxResolutionDeg", "0.703125"),
        ("maxResolutionDeg", True),
        ("maxResolutionDeg", 0.8),
        ("maxResolutionDeg", 0),
        ("maxResolutionDeg", -0.1),
        ("footprint", ...),
        ("footprint", None),
        ("footprint", {}),
        ("footprint", {"type": "Point", "coordinates": [1, 2]}),
        ("footprint", {"type": "Polygon", "coordinates": "here"}),
        ("source", ...),
        ("source", "folder"),
        ("source", {}),
        ("source", {"type": ""}),
    ],
)
def test_a_wrong_field_that_exports_rely_on_is_named(field, value):
    with pytest.raises(InvalidRecord, match=field):
        parse_layer_record(raw(**{field: value}))


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"id": NaN}', b"7"])
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(InvalidRecord):
        parse_layer_record(text)


def test_a_record_beyond_the_limit_is_refused():
    with pytest.raises(InvalidRecord, match=str(MAX_RECORD_BYTES)):
        parse_layer_record(b" " * (MAX_RECORD_BYTES + 1))
