"""The client of `export` against a stand-in of the service over real HTTP."""

import hashlib
from dataclasses import dataclass, field, replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from app.cli.service_client import (
    DownloadDamaged,
    ExportDidNotFinish,
    ExportRefused,
    FinishedExport,
    ServiceClient,
    ServiceNotReached,
)

PACKAGE = bytes(range(256)) * 4000


@dataclass
class StandIn:
    """Answers from lists, the last one for ever, and remembers what was asked."""

    creates: list = field(default_factory=list)
    statuses: list = field(default_factory=list)
    cut_after: int | None = None
    ranges: list = field(default_factory=list)
    links: tuple = (200, {})
    shown: list = field(default_factory=list)

    def web_app(self) -> web.Application:
        web_app = web.Application()
        web_app.router.add_post("/create", self.create)
        web_app.router.add_get("/taskStatus/{id}", self.status)
        web_app.router.add_get("/p.gpkg", self.download)
        web_app.router.add_post("/exports/r/links", self.make_links)
        return web_app

    async def create(self, _request: web.Request) -> web.Response:
        return self.next_of(self.creates)

    async def status(self, _request: web.Request) -> web.Response:
        return self.next_of(self.statuses)

    async def make_links(self, request: web.Request) -> web.Response:
        self.shown.append(request.headers.get("Authorization"))
        status, body = self.links
        return web.json_response(body, status=status)

    def next_of(self, answers: list) -> web.Response:
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        return web.json_response(body, status=status)

    async def download(self, request: web.Request) -> web.StreamResponse:
        self.ranges.append(request.headers.get("Range"))
        start = request.http_range.start or 0
        answer = web.StreamResponse(status=206 if start else 200)
        answer.content_length = len(PACKAGE) - start
        await answer.prepare(request)
        if self.cut_after is not None:
            await answer.write(PACKAGE[start : self.cut_after])
            self.cut_after = None
            assert request.transport is not None
            request.transport.close()
            return answer
        await answer.write(PACKAGE[start:])
        return answer


@pytest.fixture
async def stand_in():
    return StandIn()


@pytest.fixture
async def url(stand_in):
    async with TestServer(stand_in.web_app()) as server:
        yield str(server.make_url("/"))


def finished_export(url: str, sha256: str | None = None) -> FinishedExport:
    return FinishedExport.from_answer(
        {
            "fileUri": f"{url}p.gpkg",
            "sha256": sha256 or hashlib.sha256(PACKAGE).hexdigest(),
            "fileSize": len(PACKAGE),
        }
    )


async def test_a_refusal_is_told_in_the_words_of_the_service(stand_in, url):
    stand_in.creates = [(400, {"message": "bbox has 3 numbers"})]
    async with ServiceClient.connected(url) as client:
        with pytest.raises(ExportRefused, match="bbox has 3 numbers"):
            await client.ask({})


async def test_a_busy_service_is_asked_again(stand_in, url):
    stand_in.creates = [(503, {"message": "broker away"}), (200, {"status": "Pending"})]
    async with ServiceClient.connected(url) as client:
        assert await client.ask({}) == {"status": "Pending"}


async def test_nobody_at_the_address_is_told_at_once_with_what_to_do():
    async with ServiceClient.connected(f"http://127.0.0.1:{unused_port()}") as client:
        with pytest.raises(ServiceNotReached, match="start one with scripts/run"):
            await client.ask({})


async def test_progress_is_told_until_the_export_is_completed(stand_in, url):
    stand_in.statuses = [
        (404, {"message": "not seen yet"}),
        (200, {"percentage": 40, "status": "In-Progress"}),
        (200, {"percentage": 100, "status": "Completed"}),
    ]
    told = []
    async with ServiceClient.connected(url) as client:
        await client.follow("r", lambda percentage, status: told.append((percentage, status)))
    assert told == [(40, "In-Progress"), (100, "Completed")]


async def test_a_failed_export_is_told_with_its_reason(stand_in, url):
    stand_in.statuses = [
        (200, {"percentage": 4, "status": "Failed", "errorReason": "tile 3/1/2 is unreadable"})
    ]
    async with ServiceClient.connected(url) as client:
        with pytest.raises(ExportDidNotFinish, match="request r failed: tile 3/1/2"):
            await client.follow("r", lambda *_: None)


async def test_silence_longer_than_the_patience_ends_the_waiting():
    gone = f"http://127.0.0.1:{unused_port()}"
    async with ServiceClient.connected(gone, patience_s=0.1) as client:
        with pytest.raises(ServiceNotReached):
            await client.follow("r", lambda *_: None)


async def test_a_broken_download_goes_on_where_it_stopped(stand_in, url, tmp_path):
    stand_in.cut_after = 300_000
    path = tmp_path / "p.gpkg"
    async with ServiceClient.connected(url) as client:
        await client.download_package(finished_export(url), path, lambda *_: None)
    assert path.read_bytes() == PACKAGE
    # How much of the first part came through before the line broke is up to the system.
    first, second = stand_in.ranges
    assert first is None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= 300_000


async def test_the_rest_of_another_package_is_thrown_away(stand_in, url, tmp_path):
    path = tmp_path / "p.gpkg"
    path.write_bytes(b"something else")
    async with ServiceClient.connected(url) as client:
        await client.download_package(finished_export(url), path, lambda *_: None)
    assert path.read_bytes() == PACKAGE
    assert stand_in.ranges == ["bytes=14-", None]


async def test_bytes_that_are_not_the_promised_ones_are_refused(stand_in, url, tmp_path):
    path = tmp_path / "p.gpkg"
    async with ServiceClient.connected(url) as client:
        with pytest.raises(DownloadDamaged, match="promised sha256 0000"):
            await client.download_package(finished_export(url, "0" * 64), path, lambda *_: None)
    assert not path.exists()


async def test_links_that_outlast_the_token_take_the_place_of_addresses(stand_in, url):
    stand_in.links = (200, {"fileUri": f"{url}p.gpkg?signature=s", "metadataUri": f"{url}p.json"})
    export = replace(finished_export(url), request_id="r")
    async with ServiceClient.connected(url, token="t") as client:
        linked = await client.linked(export)
    assert (linked.file_uri, linked.metadata_uri) == (f"{url}p.gpkg?signature=s", f"{url}p.json")
    assert linked.sha256 == export.sha256
    assert stand_in.shown == ["Bearer t"]


async def test_a_token_that_may_not_is_told_in_the_words_of_the_service(stand_in, url):
    stand_in.links = (403, {"message": "d is dem"})
    async with ServiceClient.connected(url) as client:
        with pytest.raises(ExportRefused, match="d is dem"):
            await client.linked(replace(finished_export(url), request_id="r"))
    assert stand_in.shown == [None]
