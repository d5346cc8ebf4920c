"""The script in docs/kafka.md works as it stands there."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from app.domain.records import ExportFinished, ExportRequested, TilesTold
from app.kafka.codec import schemas_folder
from app.kafka.producer import RecordProducer
from app.kafka.topic_view import TopicView

MANUAL = Path(__file__).resolve().parents[3] / "docs" / "kafka.md"


def script_of_the_manual():
    (script,) = re.findall(r"```python\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.DOTALL)
    return script


def result_of(request, *, success):
    return ExportFinished(
        request_id=request.request_id,
        layer_id=request.layer_id,
        success=success,
        status="Completed" if success else "Failed",
        error_reason=None if success else "no such layer",
        bbox_json=request.bbox_json,
        target_resolution_deg=request.target_resolution_deg,
        package_name="a.gpkg",
        file_uri="http://localhost/a.gpkg",
        metadata_uri="http://localhost/a.json",
        file_bytes=5,
        sha256="0" * 64,
        tiles=TilesTold(1, 1, 0),
        expiration_time="2026-12-24T00:00:00Z",
        finished_at="2026-11-24T00:00:00Z",
    )


async def run_script(broker, topics, **variables):
    script = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script_of_the_manual(),
        env={
            **os.environ,
            "EXPORT_BROKER": broker,
            "EXPORT_TOPIC_PREFIX": topics.prefix,
            "EXPORT_SCHEMAS": str(schemas_folder()),
            **variables,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await script.communicate()
    return script.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("success", [True, False])
async def test_the_script_asks_and_prints_the_result(broker, topics, codec, success):
    requests = asyncio.Queue()
    view = TopicView(broker, topics, ["export-requests"], codec, on_record=requests.put_nowait)
    viewing = asyncio.create_task(view.run())
    try:
        async with RecordProducer(broker, codec, topics) as producer:
            running = asyncio.create_task(
                run_script(
                    broker,
                    topics,
                    EXPORT_LAYER="layer-1",
                    EXPORT_BBOX="[1,2,3,4]",
                    EXPORT_RESOLUTION="0.0439453125",
                    EXPORT_WAIT_S="300",
                )
            )
            viewed = await asyncio.wait_for(requests.get(), 300)
            request = viewed.record
            assert viewed.key == request.request_id
            assert request == ExportRequested(
                request_id=request.request_id,
                layer_id="layer-1",
                at_ms=request.at_ms,
                client="kafka-example",
                bbox_json="[1,2,3,4]",
                target_resolution_deg=0.0439453125,
            )
            result = result_of(request, success=success)
            await producer.send("export-finished", request.request_id, result)
            code, out, err = await running
    finally:
        viewing.cancel()
        await asyncio.wait([viewing])
    assert code == (0 if success else 1), err
    told = json.loads(out)
    assert told["requestId"] == request.request_id
    assert told["success"] is success
    assert told["bbox"] == "[1,2,3,4]"
    assert told["tiles"] == {"expected": 1, "written": 1, "missing": 0}


async def test_the_script_says_when_nobody_answers(broker, topics):
    code, out, err = await run_script(broker, topics, EXPORT_LAYER="l", EXPORT_WAIT_S="0.1")
    assert code == 1
    assert out == ""
    assert "no result within 0.1 s" in err
