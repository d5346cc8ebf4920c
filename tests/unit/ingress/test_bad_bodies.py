"""Bodies that `POST /create` refuses: the exact status, and the field in the message."""

import json
from typing import Any

import pytest

from app.domain.errors import InvalidRequest
from app.domain.judgement import RequestLimits, check_plain_fields, judge
from app.ingress.request_body import parse_create_request

LAYER_ID = "0c3e455f-4aeb-4258-982d-f7773469a92d"
LAYER = {
    "id": LAYER_ID,
    "productId": "BLUE_MARBLE",
    "productVersion": "1.0",
    "maxResolutionDeg": 0.0000429153442382812,
    "footprint": {
        "type": "Polygon",
        "coordinates": [[[34, 31], [36, 31], [36, 33], [34, 33], [34, 31]]],
    },
}
LIMITS = RequestLimits(max_vertices=50, max_tiles=10_000)
D = f'"dbId": "{LAYER_ID}"'
BOX = "[34.8, 31.9, 34.9, 32.0]"
URL = "http://example.com/"


def with_field(text: str) -> bytes:
    """A sound body with one more member."""
    return f"{{{D}, {text}}}".encode()


def polygon(*rings: str, kind: str = "Polygon") -> bytes:
    return with_field(f'"bbox": {{"type": "{kind}", "coordinates": [{", ".join(rings)}]}}')


def ring_of(count: int) -> str:
    """A closed ring of many positions."""
    places = [[34.5 + 0.001 * i, 31.5] for i in range(count - 2)]
    return json.dumps([*places, [35, 32], places[0]])


SQUARE = "[[34.5,31.5],[35,31.5],[35,32],[34.5,32],[34.5,31.5]]"

# Body, status, and what the message must name.
BAD_BODIES: list[tuple[bytes, int, str]] = [
    # No JSON object
    (b"", 400, "body is empty"),
    (b"   \n", 400, "body is empty"),
    (b"{", 400, "body"),
    (b"}", 400, "body"),
    (b"hello", 400, "body"),
    (b"null", 400, "body"),
    (b"true", 400, "body"),
    (b"[]", 400, "body"),
    (b"[{}]", 400, "body"),
    (b"7", 400, "body"),
    (b'"text"', 400, "body"),
    (b"{'dbId': 1}", 400, "body"),
    (f"{{{D},}}".encode(), 400, "body"),
    (f"{{{D}}} {{}}".encode(), 400, "body"),
    (f"{{{D}}}".encode("utf-16"), 400, "UTF-8"),
    (f"{{{D}}}".encode("utf-8-sig"), 400, "body"),
    (b'{"dbId": "\xff"}', 400, "UTF-8"),
    (b'{"dbId": "\\ud800"}', 400, "body"),
    (b"\x00", 400, "body"),
    (b"\x1f\x8b\x08\x00", 400, "UTF-8"),
    (b"[" * 100_000, 400, "body"),
    (f"dbId={LAYER_ID}".encode(), 400, "body"),
    (with_field('"bbox": ' + "[" * 400 + "]" * 400), 400, "body"),
    # Names
    (f"{{{D}, {D}}}".encode(), 400, "dbId"),
    (with_field('"bbox": {"type": "Polygon", "type": "Polygon"}'), 400, "type"),
    (with_field('"surprise": 1'), 400, "surprise"),
    (with_field('"DBID": "x"'), 400, "DBID"),
    (with_field('"targetresolution": 0.1'), 400, "targetresolution"),
    (with_field('"requestId": "x"'), 400, "requestId"),
    (with_field('"": 1'), 400, "unknown"),
    # dbId
    (b"{}", 400, "dbId"),
    (b'{"dbId": null}', 400, "dbId"),
    (b'{"dbId": 7}', 400, "dbId"),
    (b'{"dbId": ""}', 400, "dbId"),
    (b'{"dbId": "blue-marble"}', 400, "dbId"),
    (b'{"dbId": "../../etc/passwd"}', 400, "dbId"),
    (b'{"dbId": "\\u0000"}', 400, "dbId"),
    (f'{{"dbId": "{{{LAYER_ID}}}"}}'.encode(), 400, "dbId"),
    (f'{{"dbId": ["{LAYER_ID}"]}}'.encode(), 400, "dbId"),
    # targetResolution and minResolution
    (with_field('"targetResolution": "5"'), 400, "targetResolution"),
    (with_field('"targetResolution": true'), 400, "targetResolution"),
    (with_field('"targetResolution": NaN'), 400, "targetResolution"),
    (with_field('"targetResolution": Infinity'), 400, "targetResolution"),
    (with_field('"targetResolution": -Infinity'), 400, "targetResolution"),
    (with_field('"targetResolution": 1e400'), 400, "targetResolution"),
    (with_field('"targetResolution": 1' + "0" * 400), 400, "targetResolution"),
    (with_field('"targetResolution": 0'), 400, "targetResolution"),
    (with_field('"targetResolution": -0.0'), 400, "targetResolution"),
    (with_field('"targetResolution": -0.1'), 400, "targetResolution"),
    (with_field('"targetResolution": 0.8'), 400, "targetResolution"),
    (with_field('"targetResolution": 1e-9'), 400, "targetResolution"),
    (with_field('"targetResolution": 0.97638e-7'), 400, "targetResolution"),
    (with_field('"targetResolution": 0.0000107288'), 400, "targetResolution"),
    (with_field('"targetResolution": []'), 400, "targetResolution"),
    (with_field('"targetResolution": {}'), 400, "targetResolution"),
    (with_field('"minResolution": "0.1"'), 400, "minResolution"),
    (with_field('"minResolution": NaN'), 400, "minResolution"),
    (with_field('"minResolution": 1'), 400, "minResolution"),
    (with_field('"targetResolution": 0.1, "minResolution": 0.01'), 400, "minResolution"),
    # A bbox that is a box
    (with_field('"bbox": []'), 400, "bbox"),
    (with_field('"bbox": {}'), 400, "bbox"),
    (with_field('"bbox": "34,31,35,32"'), 400, "bbox"),
    (with_field('"bbox": 5'), 400, "bbox"),
    (with_field('"bbox": false'), 400, "bbox"),
    (with_field('"bbox": [34, 31, 35]'), 400, "bbox"),
    (with_field('"bbox": [34, 31, 35, 32, 36]'), 400, "bbox"),
    (with_field('"bbox": [34, 31, 35, "32"]'), 400, "bbox[3]"),
    (with_field('"bbox": [false, 31, 35, 32]'), 400, "bbox[0]"),
    (with_field('"bbox": [null, 31, 35, 32]'), 400, "bbox[0]"),
    (with_field('"bbox": [NaN, 31, 35, 32]'), 400, "bbox"),
    (with_field('"bbox": [34, 31, Infinity, 32]'), 400, "bbox"),
    (with_field('"bbox": [34, 31, 1e400, 32]'), 400, "bbox"),
    (with_field('"bbox": [34, 31, 1' + "0" * 30 + ", 32]"), 400, "bbox[2]"),
    (with_field('"bbox": [34, 31, 181, 32]'), 400, "bbox[2]"),
    (with_field('"bbox": [34, -91, 35, 32]'), 400, "bbox[1]"),
    (with_field('"bbox": [34, 32, 35, 31]'), 400, "bbox"),
    (with_field('"bbox": [36, 31, 34, 32]'), 400, "swapped"),
    (with_field('"bbox": [40, 40, 41, 41]'), 400, "bbox"),
    (with_field('"bbox": [36, 31, 37, 33]'), 400, "bbox"),
    # A bbox that is a polygon
    (polygon(), 400, "bbox"),
    (polygon("[]"), 400, "bbox"),
    (polygon(SQUARE, kind="Circle"), 400, "bbox.type"),
    (polygon("[[34.5,31.5],[35,31.5],[34.5,31.5]]"), 400, "bbox"),
    (polygon("[[34.5,31.5],[35,31.5],[35,32],[34.5,32]]"), 400, "bbox"),
    (polygon("[[34.5,31.5],[35,32],[35,31.5],[34.5,32],[34.5,31.5]]"), 400, "bbox"),
    (polygon(SQUARE.replace("35,32", '"35",32')), 400, "bbox.coordinates[0][2]"),
    (polygon(SQUARE.replace("35,32", "35,false")), 400, "bbox.coordinates[0][2]"),
    (polygon(SQUARE.replace("35,32", "35")), 400, "bbox.coordinates[0][2]"),
    (polygon(SQUARE.replace("35,32", "35,92")), 400, "bbox.coordinates[0][2]"),
    (polygon(ring_of(60)), 400, "bbox"),
    (polygon(SQUARE, kind="MultiPolygon"), 400, "bbox"),
    (with_field('"bbox": {"type": "Polygon"}'), 400, "bbox.coordinates"),
    (with_field('"bbox": {"coordinates": []}'), 400, "bbox.type"),
    (with_field(f'"bbox": {{"type": "Polygon", "coordinates": [{SQUARE}], "x": 1}}'), 400, "bbox"),
    (with_field('"bbox": {"type": "FeatureCollection", "features": []}'), 400, "bbox"),
    # Webhook addresses
    (with_field(f'"callbackURLs": "{URL}"'), 400, "callbackURLs"),
    (with_field('"callbackURLs": null'), 400, "callbackURLs"),
    (with_field('"callbackURLs": [7]'), 400, "callbackURLs[0]"),
    (with_field(f'"callbackURLs": ["{URL}", "ftp://example.com/"]'), 400, "callbackURLs[1]"),
    (with_field('"callbackURLs": ["file:///etc/passwd"]'), 400, "callbackURLs[0]"),
    (with_field('"callbackURLs": [""]'), 400, "callbackURLs[0]"),
    (with_field('"callbackURLs": ["http://"]'), 400, "callbackURLs[0]"),
    (with_field(f'"callbackURLs": ["{URL}{"a" * 2048}"]'), 400, "callbackURLs[0]"),
    (with_field(f'"callbackURLs": [{", ".join([json.dumps(URL)] * 21)}]'), 400, "callbackURLs"),
    # The others
    (with_field('"crs": "EPSG:3857"'), 400, "crs"),
    (with_field('"crs": null'), 400, "crs"),
    (with_field('"crs": 4326'), 400, "crs"),
    (with_field('"priority": "high"'), 400, "priority"),
    (with_field('"priority": 1.5'), 400, "priority"),
    (with_field('"priority": true'), 400, "priority"),
    (with_field('"priority": -1'), 400, "priority"),
    (with_field('"priority": 1000000000'), 400, "priority"),
    (with_field('"priority": 1' + "0" * 100), 400, "priority"),
    (with_field('"priority": null'), 400, "priority"),
    (with_field('"description": 7'), 400, "description"),
    (with_field(f'"description": "{"a" * 1001}"'), 400, "description"),
    (with_field('"onError": "ignore"'), 400, "onError"),
    (with_field('"onError": null'), 400, "onError"),
    (with_field('"format": "webp"'), 400, "format"),
    (with_field('"format": 1'), 400, "format"),
    # Too much
    (with_field('"bbox": [34, 31, 36, 33]'), 413, "tiles"),
]


def refused(body: bytes) -> InvalidRequest:
    """What the ingress does before it publishes."""
    with pytest.raises(InvalidRequest) as caught:
        take(body)
    return caught.value


def take(body: bytes) -> None:
    asked = parse_create_request(body, request_id="r", at_ms=0)
    check_plain_fields(asked, LIMITS)
    judge(asked, LAYER, LIMITS)


def _name(case: Any) -> str:
    return repr(case[:60]) if isinstance(case, bytes) else str(case)


@pytest.mark.parametrize(("body", "status", "named"), BAD_BODIES, ids=_name)
def test_a_bad_body_is_refused_with_its_field(body, status, named):
    error = refused(body)
    assert (error.http_status, named in str(error)) == (status, True), str(error)
    assert len(str(error)) < 1000


def test_a_field_of_each_wrong_kind_is_told_up_to_five():
    members = ", ".join(f'"unknown{i}": {i}' for i in range(50))
    message = str(refused(with_field(members)))
    assert message.count("is unknown") == 5
    assert message.endswith("and 45 more")


@pytest.mark.parametrize(
    "text",
    [
        '"bbox": null',
        '"bbox": [35, 32, 35, 32]',
        '"bbox": [34, 31, 34.01, 31.01], "targetResolution": 0.0000429153442382812',
        f'"bbox": {{"type": "Polygon", "coordinates": [{SQUARE}], "bbox": [34, 31, 35, 32]}}',
        f'"bbox": {{"type": "MultiPolygon", "coordinates": [[{SQUARE}]]}}',
        f'"bbox": {{"type": "Polygon", "coordinates": [{SQUARE.replace("35,32", "35,32,700")}]}}',
        '"minResolution": null, "description": null',
        '"priority": 0, "crs": "EPSG:4326", "onError": "skip", "format": "source"',
        '"callbackURLs": ["http://example.com/a?b=c", "https://[::1]:8443/"]',
        '"description": "\\u0000 שלום"',
    ],
)
def test_a_good_body_is_taken(text):
    small = "" if "targetResolution" in text else ', "targetResolution": 0.1'
    asked = parse_create_request(with_field(text + small), request_id="r", at_ms=7)
    judge(asked, LAYER, LIMITS)
    assert asked.via_http
    assert (asked.request_id, asked.at_ms, asked.client) == ("r", 7, "anonymous")


def test_an_integer_is_fine_where_a_number_is_meant():
    body = with_field('"bbox": [34, 31, 35, 32], "targetResolution": 1')
    assert parse_create_request(body, request_id="r", at_ms=0).target_resolution_deg == 1.0


def test_the_bbox_stays_as_the_caller_wrote_it():
    body = with_field('"bbox": [34, 31.0, 34.811938017107494, 32]')
    asked = parse_create_request(body, request_id="r", at_ms=0)
    assert asked.bbox_json == "[34,31.0,34.811938017107494,32]"


def test_the_id_of_the_layer_is_told_in_lower_case():
    body = f'{{"dbId": "{LAYER_ID.upper()}"}}'.encode()
    assert parse_create_request(body, request_id="r", at_ms=0).layer_id == LAYER_ID
