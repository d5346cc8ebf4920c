"""A package comes to the end of its days on the running service, and its caller is told before."""

import asyncio
from datetime import datetime
from pathlib import Path

import pytest

from app.demo import DEMO_LAYER_ID

PACKAGE_S = 40
"""The warning comes after half of it; the other half is for whoever hears of it to look."""
DAY_S = 86_400


@pytest.mark.long
async def test_a_caller_is_warned_before_a_package_goes_and_then_nothing_of_it_is_left(
    start_service, http, hooks, eventually, tmp_path
):
    short = {
        "EXPORT_PACKAGE_DAYS": str(PACKAGE_S / DAY_S),
        "EXPORT_REMOVAL_GRACE_S": "1",
    }
    with start_service(tmp_path / "data", **short) as service:
        body = {"dbId": DEMO_LAYER_ID, "bbox": [20, 20, 21, 21], "callbackURLs": [hooks.url]}
        async with http.post(f"{service.url}/create", json=body) as answer:
            assert answer.status == 200, await answer.text()
            request_id = (await answer.json())["requestId"]
        result = await hooks.result(request_id)
        export_url = f"{service.url}/exports/{request_id}"

        await eventually(lambda: len(hooks.calls) == 2, deadline_s=60)
        (_, told), (headers, warning) = hooks.calls
        assert headers["webhook-event"] == "expiring"
        assert warning == told == result
        expires = datetime.fromisoformat(warning["expirationTime"])
        assert (expires - datetime.fromisoformat(told["finishedAt"])).total_seconds() == PACKAGE_S
        async with http.head(result["fileUri"]) as answer:
            assert answer.status == 200  # it was a warning

        async def status() -> str:
            async with http.get(export_url) as answer:
                return (await answer.json())["status"]

        async def is_expired() -> bool:
            return await status() == "Expired"

        await eventually(is_expired, deadline_s=60)
        exports: Path = service.data_dir / "exports"

        def nothing_is_left() -> bool:
            return not any(path.is_file() for path in exports.rglob("*"))

        await eventually(lambda: asyncio.to_thread(nothing_is_left), deadline_s=60)
        for uri in (result["fileUri"], result["metadataUri"]):
            async with http.get(uri) as answer:
                assert answer.status == 410
        assert await status() == "Expired"
        assert len(hooks.calls) == 2
