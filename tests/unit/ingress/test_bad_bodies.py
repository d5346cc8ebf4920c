"""Bodies that `POST /create` refuses, with the exact answer (bad_bodies.json), and good ones."""

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
NOT_JUDGED = ("No such layer", "Of HTTP alone")


def with_field(text: str) -> bytes:
    """A sound body with one more member."""
    return f"{{{D}, {text}}}".encode()


SQUARE = "[[34.5,31.5],[35,31.5],[35,32],[34.5,32],[34.5,31.5]]"


def refused(body: bytes) -> InvalidRequest:
    """What the ingress does before it publishes."""
    with pytest.raises(InvalidRequest) as caught:
        take(body)
    return caught.value


def take(body: bytes) -> None:
    asked = parse_create_request(body, request_id="r", at_ms=0)
    check_plain_fields(asked, LIMITS)
    judge(asked, LAYER, LIMITS)


def test_a_bad_body_is_refused_with_exactly_this_answer(bad_body):
    if bad_body.about in NOT_JUDGED:
        pytest.skip(
            "it needs a catalogue or HTTP: tests/integration/ingress/test_bad_bodies_http.py"
        )
    error = refused(bad_body.body)
    assert (error.http_status, str(error)) == (bad_body.status, bad_body.message)
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
        '"callbackURLs": ["http://example.com/a?b=c", "https://[2606:4700::1111]:8443/"]',
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
