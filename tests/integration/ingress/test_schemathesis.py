"""Generated requests, good and bad, for every operation of the document: no 500, nothing unknown.

Against one real ingress; the whole service is asked in tests/end_to_end/test_generated_requests.py.
A longer look at a running one: `.venv/bin/schemathesis run <address>/openapi.json --workers 1`.
"""

import orjson
import pytest

from tests.generated_requests import ENDLESS, check

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
