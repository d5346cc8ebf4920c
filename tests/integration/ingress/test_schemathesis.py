"""Generated requests, good and bad, for every operation of the document: no 500, nothing unknown.

Schemathesis runs as its users run it, in a process of its own, against one real ingress. The seed
is fixed, so a failure comes again; the report names the request as a curl command. A longer look
at a running service: `.venv/bin/schemathesis run <address>/openapi.json --workers 1`.
"""

import asyncio
import re
import sys
from pathlib import Path

import orjson
import pytest

from app.ingress.openapi import ENDPOINTS

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
)
SEED = 20261125
ENDLESS = "/events$"
"""Streams of events have no end that Schemathesis could wait for."""
DEADLINE_S = 600

EXPORT_ID = "e" * 64
ATTEMPT = "1795404000000-17"


@pytest.fixture
def settings(settings):
    """An ingress that waits for nobody: what is asked for here is mostly not there."""
    (record,) = settings.catalogue_dir.iterdir()
    layer = orjson.loads(record.read_bytes())
    record.write_bytes(orjson.dumps(layer | {"source": {"type": "synthetic"}}))
    return settings.model_copy(update={"verdict_wait_s": 0.1})


@pytest.fixture(autouse=True)
def no_wait(monkeypatch):
    for module in ("web_app", "exports"):
        monkeypatch.setattr(f"app.ingress.{module}.VIEW_WAIT_S", 0.02)


async def check(address: str, folder: Path, left_out: str, *options: str) -> None:
    """Run it on the document at an address, and fail with its report.

    Args:
        address: Of the service.
        folder: Where it runs, reads schemathesis.toml if there is one, and leaves a cache.
        left_out: Regular expression of the paths that are not asked.
        options: Phases and numbers.
    """
    program = "from schemathesis.cli import schemathesis; schemathesis()"
    command = [sys.executable, "-c", program]
    command += [
        "run",
        f"{address}/openapi.json",
        "--seed",
        str(SEED),
        "--workers",
        "1",
        "--no-color",
    ]
    command += ["--exclude-path-regex", left_out, "--request-timeout", "120"]
    command += ["--checks", ",".join(CHECKS), "--generation-database", "none", *options]
    ran = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=folder
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            report, _ = await ran.communicate()
    finally:
        if ran.returncode is None:
            ran.kill()
            await ran.wait()
    told = report.decode()
    asked = sum(1 for endpoint in ENDPOINTS if not re.search(left_out, endpoint.path))
    assert ran.returncode == 0, told
    assert f"Tested: {asked}\n" in told, told


async def test_no_generated_request_gets_a_500_or_an_undocumented_answer(
    client, peer, settings, tmp_path
):
    options = ("--phases", "examples,fuzzing", "--max-examples", "6")
    await check(settings.base_url, tmp_path, ENDLESS, *options)


async def test_nor_does_one_for_an_export_that_is_there(
    client, peer, say, settings, package, golden, tmp_path
):
    peer.script = lambda asked: [
        say.progress(asked),
        say.export(18, "Completed"),
        say.finished(asked.request_id),
    ]
    async with client.post("/create", data=orjson.dumps(golden)) as answer:
        request_id = (await answer.json())["requestId"]
    known = {
        "id": request_id,
        "export_id": EXPORT_ID,
        "attempt": ATTEMPT,
        "name": package.name,
    }
    lines = [f'"path.{name}" = "{value}"' for name, value in known.items()]
    (tmp_path / "schemathesis.toml").write_text("[parameters]\n" + "\n".join(lines) + "\n")
    options = ("--phases", "fuzzing", "--max-examples", "5", "--mode", "positive")
    await check(settings.base_url, tmp_path, f"{ENDLESS}|^[^{{]*$|/tiles/", *options)
