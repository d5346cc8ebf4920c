"""The service with keys, started as a user starts it: nothing without a token, all with one."""

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator

import orjson
import pytest

from app.demo import DEMO_LAYER_ID
from app.domain.records import ExportRequested
from app.kafka.codec import Codec
from tests.end_to_end.conftest import Service, running_service
from tests.end_to_end.test_straight_to_kafka import produce
from tests.key_server import KeyServer


@pytest.fixture
def key_server() -> KeyServer:
    return KeyServer()


@pytest.fixture
async def guarded(key_server: KeyServer, tmp_path) -> AsyncIterator[Service]:
    async with key_server.serving(0) as port:
        started = running_service(
            tmp_path / "data",
            EXPORT_JWKS_URL=f"http://127.0.0.1:{port}/jwks",
            EXPORT_TRUST_KAFKA_CLIENTS="false",
        )
        service = await asyncio.to_thread(started.__enter__)
        try:
            yield service
        finally:
            await asyncio.to_thread(started.__exit__, None, None, None)


async def test_an_export_from_the_request_to_the_file_wants_a_token_of_its_client(
    guarded, key_server, http, tmp_path, eventually
):
    output = tmp_path / "area.gpkg"
    command = [sys.executable, "-P", "-m", "app", "export", "--url", guarded.url]
    command += ["--layer", DEMO_LAYER_ID, "--bbox", "5,45,10,48", "--output", str(output)]

    async def run(**environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **environment}
        return await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, env=env
        )

    ran = await run()
    assert ran.returncode == 4
    assert "there is no token" in ran.stdout + ran.stderr
    ran = await run(EXPORT_TOKEN=key_server.issuer.token())
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert output.exists()

    async def exports(token: str) -> list[dict]:
        async with http.get(f"{guarded.url}/exports", headers={"x-api-key": token}) as answer:
            return (await answer.json())["exports"]

    (export,) = await exports(key_server.issuer.token())
    assert (export["client"], export["status"]) == ("anna", "Completed")
    assert await exports(key_server.issuer.token(sub="berta")) == []
    async with http.get(export["fileUri"]) as answer:
        assert answer.status == 401

    # A line is written when its answer has been sent.
    def is_audited() -> bool:
        log = (guarded.data_dir / "run" / "ingress.log").read_bytes()
        audited = [line for line in log.splitlines(keepends=True) if b'"audit"' in line]
        events = {orjson.loads(line)["event"] for line in audited if line.endswith(b"\n")}
        return {"export_asked", "link_made", "file_downloaded"} <= events

    await eventually(is_audited)


async def test_whoever_writes_past_the_ingress_is_nobody_where_producers_are_not_trusted(
    guarded, key_server, http, eventually
):
    request_id = str(uuid.uuid4())
    lie = ExportRequested(
        request_id,
        DEMO_LAYER_ID,
        client="anna",
        bbox_json="[8.0,46.0,8.5,46.5]",
        via_http=True,
        seal="0" * 64,
    )
    value = Codec.from_folder().encode(lie)
    await asyncio.to_thread(produce, guarded.broker, (request_id.encode(), value))

    async def seen_by(token: str) -> tuple[int, dict]:
        address = f"{guarded.url}/exports/{request_id}"
        async with http.get(address, headers={"x-api-key": token}) as answer:
            return answer.status, await answer.json()

    administrator = key_server.issuer.token(sub="root", role="admin")

    async def completed() -> dict | None:
        status, told = await seen_by(administrator)
        return told if status == 200 and told["status"] == "Completed" else None

    told = await eventually(completed, deadline_s=60)
    assert told["client"] == "(kafka)"
    assert (await seen_by(key_server.issuer.token()))[0] == 404
