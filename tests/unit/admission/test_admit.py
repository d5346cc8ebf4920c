"""What admission makes of a request, and what it does when it cannot judge it now."""

from dataclasses import replace

import pytest

from app.admission.admit import Admission
from app.domain.errors import CatalogueUnavailable, StorageUnavailable
from app.domain.ingress_seal import IngressSeal
from app.domain.judgement import RequestLimits
from app.domain.record_fields import MAX_CLIENT_CHARS
from app.domain.records import ExportCommanded, ExportRequested, RequestAdmitted, RequestRefused

LAYER_ID = "11111111-1111-4111-8111-111111111111"
LAYER = {
    "id": LAYER_ID,
    "productId": "relief",
    "productVersion": "2.0",
    "maxResolutionDeg": 0.703125 / 2**5,
    "meanTileBytes": 9_000,
    "footprint": {
        "type": "Polygon",
        "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]],
    },
    "source": {"type": "folder", "path": "relief"},
}
REQUEST = ExportRequested("r1", LAYER_ID, bbox_json="[10,10,11,11]", callback_urls=("http://a",))


class Listed:
    """A catalogue and a store in memory; each can be made to fail."""

    def __init__(self):
        self.layers = {LAYER_ID: LAYER}
        self.error = None
        self.asked = 0

    async def find(self, layer_id):
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.layers.get(layer_id)

    def free_bytes(self):
        return 5_000_000

    def finished_attempts(self, _export_id):
        return ["1700-1"]


@pytest.fixture
def listed():
    return Listed()


@pytest.fixture
def admission(listed):
    times = {"now_ms": 1_700_000_000_000}
    made = Admission(listed, listed, RequestLimits(), lambda: times["now_ms"])
    made_times[id(made)] = times
    return made


made_times = {}


def pass_time(admission, ms):
    made_times[id(admission)]["now_ms"] += ms


def only_send(decision):
    (send,) = decision.sends
    return send


async def test_a_sound_request_is_admitted_with_what_it_means_and_what_the_disk_holds(admission):
    send = only_send(await admission.admit(REQUEST))
    record = send.record
    assert (send.topic, send.key) == ("export-registry", "r1")
    assert isinstance(record, RequestAdmitted)
    assert (record.min_zoom, record.max_zoom) == (0, 5)
    assert record.free_bytes == 5_000_000
    assert record.packages == ("1700-1",)
    assert record.mean_tile_bytes == 9_000
    assert record.layer_json.count("source")


async def test_the_same_request_twice_means_the_same(admission):
    first = only_send(await admission.admit(REQUEST)).record
    again = only_send(await admission.admit(replace(REQUEST, tries=3))).record
    assert first.request_digest == again.request_digest
    assert first.export_id == again.export_id


@pytest.mark.parametrize(
    ("fields", "status", "named"),
    [
        ({"bbox_json": "[1,2,3]"}, 400, "bbox"),
        ({"layer_id": "22222222-2222-4222-8222-222222222222"}, 404, "dbId"),
        ({"request_id": "x" * 101}, 400, "requestId"),
        ({"target_resolution_deg": 1e-6}, 400, "targetResolution"),
        ({"client": "x" * 257}, 400, "client has 257 characters, more than 256"),
        ({"retry_of": "x" * 101}, 400, "retryOf"),
    ],
)
async def test_what_can_never_succeed_is_refused_and_becomes_a_dead_letter(
    admission, fields, status, named
):
    decision = await admission.admit(replace(REQUEST, **fields))
    record = only_send(decision).record
    assert isinstance(record, RequestRefused)
    assert record.http_status == status
    assert named in record.reason
    assert decision.dead_letter == record.reason


async def test_a_layer_whose_product_id_is_no_table_name_is_refused(admission, listed):
    listed.layers[LAYER_ID] = LAYER | {"productId": "gpkg_contents"}
    record = only_send(await admission.admit(REQUEST)).record
    assert "gpkg_contents" in record.reason


@pytest.mark.parametrize("error", [CatalogueUnavailable("away"), StorageUnavailable("hanging")])
async def test_a_request_that_cannot_be_judged_now_goes_to_the_tail(admission, listed, error):
    listed.error = error
    decision = await admission.admit(REQUEST)
    send = only_send(decision)
    assert (send.topic, send.key, decision.dead_letter) == ("export-requests", "r1", None)
    assert send.record == replace(REQUEST, tries=1, first_tried_at_ms=1_700_000_000_000)


async def test_a_failed_look_up_is_not_repeated_for_five_seconds(admission, listed):
    listed.error = CatalogueUnavailable("away")
    await admission.admit(REQUEST)
    await admission.admit(REQUEST)
    assert listed.asked == 1
    pass_time(admission, 5_001)
    listed.error = None
    assert isinstance(only_send(await admission.admit(REQUEST)).record, RequestAdmitted)


async def test_after_an_hour_in_vain_a_request_is_refused_with_the_reason(admission, listed):
    listed.error = CatalogueUnavailable("the catalogue is away")
    waiting = only_send(await admission.admit(REQUEST)).record
    pass_time(admission, 3_600_000)
    decision = await admission.admit(waiting)
    record = only_send(decision).record
    assert isinstance(record, RequestRefused)
    assert (record.http_status, record.reason) == (503, "the catalogue is away")
    assert decision.dead_letter is None


async def test_a_refusal_is_told_to_none_but_the_webhooks_that_may_be_called(admission):
    urls = ("http://10.0.0.7/hook", "http://a.example/", "ftp://b.example/", "http://127.1/")
    decision = await admission.admit(replace(REQUEST, callback_urls=urls))
    record = only_send(decision).record
    assert isinstance(record, RequestRefused)
    assert 'callbackURLs[0] is "http://10.0.0.7/hook"' in record.reason
    assert record.callback_urls == ("http://a.example/",)


@pytest.mark.parametrize("bbox", ["[NaN,0,1,1]", "no JSON", "[" * 100_000, " " * 1_000_001 + "1"])
async def test_a_bbox_that_no_answer_can_echo_is_refused_and_not_echoed(admission, bbox):
    refused = only_send(await admission.admit(replace(REQUEST, bbox_json=bbox))).record
    assert isinstance(refused, RequestRefused)
    assert "bbox" in refused.reason
    assert refused.bbox_json is None


async def test_a_refusal_is_small_whatever_the_producer_wrote(admission):
    wrote = replace(REQUEST, layer_id="x" * 5_000_000, client="y" * 2_000_000)
    refused = only_send(await admission.admit(wrote)).record
    assert len(repr(refused)) < 2_000


async def test_a_request_id_of_a_million_characters_is_a_dead_letter_only(admission):
    decision = await admission.admit(replace(REQUEST, request_id="i" * 1_000_000))
    assert decision.sends == ()
    assert "1000000 characters" in decision.dead_letter


COMMAND = ExportCommanded("r1", 5, "ann", "redeliver", "http://a/")


async def test_a_command_goes_to_the_registrar_with_the_time_of_the_service(admission):
    send = only_send(await admission.command(COMMAND))
    assert (send.topic, send.key) == ("export-registry", "r1")
    assert send.record == replace(COMMAND, at_ms=admission.now_ms())


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"request_id": ""}, "request_id has 0 characters"),
        ({"request_id": "i" * 101}, "request_id has 101 characters"),
        ({"client": "c" * 257}, "client of a command has 257 characters"),
        ({"command": "c" * 201}, "command of a command has 201 characters"),
        ({"argument": "h" * 2_049}, "argument of a command has 2049 characters, more than 2048"),
    ],
)
async def test_a_command_that_fits_no_row_is_a_dead_letter(admission, fields, named):
    decision = await admission.command(replace(COMMAND, **fields))
    assert decision.sends == ()
    assert named in decision.dead_letter


SEAL = IngressSeal(b"a secret of the ingresses")


@pytest.mark.parametrize("kind", ["sealed", "claims to be", "straight"])
async def test_only_the_ingress_names_clients_where_others_are_not_trusted(listed, kind):
    trusting = Admission(listed, listed, RequestLimits(), lambda: 5)
    wary = Admission(listed, listed, RequestLimits(), lambda: 5, seal=SEAL)
    asked = replace(REQUEST, client="ann", via_http=kind != "straight")
    ordered = replace(COMMAND, by_administrator=True, via_http=kind != "straight")
    if kind == "sealed":
        asked, ordered = SEAL.sealed(asked), SEAL.sealed(ordered)
    told = [
        (only_send(await one.admit(asked)).record, only_send(await one.command(ordered)).record)
        for one in (trusting, wary)
    ]
    names = [(request.client, order.client, order.by_administrator) for request, order in told]
    believed = ("ann", "ann", True)
    assert names == [believed, believed if kind == "sealed" else ("(kafka)", "(kafka)", False)]
    assert [request.via_http for request, _ in told] == [kind != "straight", kind == "sealed"]


@pytest.mark.parametrize(
    "change",
    [
        {"client": "bob"},
        {"request_id": "11111111-1111-4111-8111-11111111110f"},
        {"bbox_json": "[0,0,1,1]"},
        {"callback_urls": ("http://b",)},
        {"seal": "0" * 64},
        {"seal": "é"},
    ],
)
async def test_a_seal_is_good_for_the_request_that_the_ingress_saw(listed, change):
    wary = Admission(listed, listed, RequestLimits(), lambda: 5, seal=SEAL)
    stolen = replace(SEAL.sealed(replace(REQUEST, client="ann", via_http=True)), **change)
    assert only_send(await wary.admit(stolen)).record.client == "(kafka)"


async def test_a_sealed_request_that_was_put_back_is_still_its_clients(listed):
    now_ms = [5]
    wary = Admission(listed, listed, RequestLimits(), lambda: now_ms[0], seal=SEAL)
    listed.error = CatalogueUnavailable("away")
    back = only_send(await wary.admit(SEAL.sealed(replace(REQUEST, client="ann")))).record
    listed.error, now_ms[0] = None, 60_000
    assert back.tries == 1
    assert only_send(await wary.admit(back)).record.client == "ann"


async def test_a_command_is_sealed_with_its_argument(listed):
    wary = Admission(listed, listed, RequestLimits(), lambda: 5, seal=SEAL)
    sealed = SEAL.sealed(replace(COMMAND, client="ann", via_http=True))
    for change in ({"command": "delete"}, {"argument": "7"}, {"by_administrator": True}):
        record = only_send(await wary.command(replace(sealed, **change))).record
        assert (record.client, record.by_administrator, record.via_http) == (
            "(kafka)",
            False,
            False,
        )


async def test_who_names_no_client_is_anonymous(admission):
    asked = only_send(await admission.admit(replace(REQUEST, client=""))).record
    ordered = only_send(await admission.command(replace(COMMAND, client=""))).record
    assert (asked.client, ordered.client) == ("anonymous", "anonymous")


async def test_a_client_with_the_longest_name_of_a_token_can_ask_and_order(admission):
    name = "c" * MAX_CLIENT_CHARS
    assert only_send(await admission.admit(replace(REQUEST, client=name))).record.client == name
    assert only_send(await admission.command(replace(COMMAND, client=name))).record.client == name
