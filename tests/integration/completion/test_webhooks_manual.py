"""The receivers in docs/webhooks.md work as they stand there."""

import asyncio
import os
import re
import shutil
import sys
import time
from base64 import b64encode
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from app.completion.webhook_call import WebhookRules
from app.domain.callback_target import LOOPBACK
from app.domain.records import ExportFinished, RedeliveryAsked, TilesTold
from app.domain.result import result_body

MANUAL = Path(__file__).resolve().parents[3] / "docs" / "webhooks.md"
OLD, NEW, OTHER = (f"whsec_{b64encode(bytes([number]) * 32).decode()}" for number in (1, 2, 3))
RULES = WebhookRules(timeout_s=60, allowed=LOOPBACK, secrets=(NEW, OLD))


def program(language, folder):
    """Write the receiver of a language to a file; returns the command that runs it."""
    (text,) = re.findall(rf"```{language}\n(.*?)```", MANUAL.read_text(), re.DOTALL)
    if language == "python":
        path = folder / "receiver.py"
        command = [sys.executable, str(path)]
    else:
        path = folder / "receiver.mjs"
        node = shutil.which("node")
        if node is None:
            pytest.skip("node is not installed")
        command = [node, str(path)]
    path.write_text(text)
    return command


@asynccontextmanager
async def receiver(command, secret):
    """Run a receiver within the block; yields its address and its output."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "WEBHOOK_SECRET": secret, "PORT": "0"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(120):
            first = (await process.stdout.readline()).decode()
        yield f"http://127.0.0.1:{first.split()[-1]}/hook", process.stdout
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("language", ["python", "js"])
@pytest.mark.parametrize("secret", [OLD, NEW])
async def test_a_receiver_takes_what_the_service_sends_and_does_it_once(
    make_desk, tmp_path, language, secret
):
    desk = make_desk(RULES)
    desk.now_ms = time.time_ns() // 1_000_000
    async with receiver(program(language, tmp_path), secret) as (url, output):
        desk.complete("r1", url)
        await desk.deliver(1)
        desk.now_ms += 1
        desk.handle(RedeliveryAsked("r1", desk.now_ms, url, again=True))
        desk.settle("r2", url)
        await desk.deliver(3)
        assert [report.http_status for report in desk.reports] == [204] * 3
        assert await output.readline() == b"completed r1\n"
        assert await output.readline() == b"failed r2\n"


@pytest.mark.parametrize("language", ["python", "js"])
@pytest.mark.parametrize(("secret", "late_ms"), [(OTHER, 0), (OLD, 400_000), (OLD, -400_000)])
async def test_a_receiver_refuses_other_keys_and_old_calls(
    make_desk, tmp_path, language, secret, late_ms
):
    desk = make_desk(RULES)
    desk.now_ms = time.time_ns() // 1_000_000 - late_ms
    async with receiver(program(language, tmp_path), secret) as (url, _):
        desk.complete("r1", url)
        await desk.deliver(1)
    assert [report.http_status for report in desk.reports] == [401]


def test_the_body_in_the_manual_has_the_fields_of_a_result():
    (text,) = re.findall(r"```json\n(.*?)```", MANUAL.read_text(), re.DOTALL)
    shown = orjson.loads(text)
    finished = ExportFinished(
        request_id=shown["requestId"],
        layer_id=shown["dbId"],
        success=shown["success"],
        status=shown["status"],
        error_reason=None,
        bbox_json=orjson.dumps(shown["bbox"]).decode(),
        target_resolution_deg=shown["targetResolution"],
        package_name=shown["packageName"],
        file_uri=shown["fileUri"],
        metadata_uri=shown["metadataUri"],
        file_bytes=shown["fileSize"],
        sha256=shown["sha256"],
        tiles=TilesTold(**shown["tiles"]),
        expiration_time=shown["expirationTime"],
        finished_at=shown["finishedAt"],
    )
    assert result_body(finished) == shown
    assert list(result_body(finished)) == list(shown)
