"""Fault: the disk of the embedded broker is full. It acknowledges and saves nothing: promise 1."""

import shutil
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from app.demo import DEMO_LAYER_ID

BODY = {"dbId": DEMO_LAYER_ID, "bbox": [1, 2, 3, 4]}


async def create(service: Any, http: Any, **changes: Any) -> tuple[int, dict[str, Any]]:
    async with http.post(f"{service.url}/create", json=BODY | changes) as answer:
        assert (answer.status == 503) == ("Retry-After" in answer.headers)
        return answer.status, await answer.json()


async def readiness(service: Any, http: Any) -> tuple[int, str]:
    async with http.get(f"{service.url}/readyz") as answer:
        return answer.status, (await answer.json()).get("message", "")


async def known(service: Any, http: Any) -> set[str]:
    async with http.get(f"{service.url}/exports") as answer:
        return {export["requestId"] for export in (await answer.json())["exports"]}


async def test_on_a_full_disk_nothing_is_accepted_and_what_was_is_kept(
    tmp_path: Path, small_disk: Any, start_service: Any, http: Any, eventually: Any
) -> None:
    data_dir = tmp_path / "data"
    disk = small_disk(data_dir / "broker", "40m")
    with start_service(data_dir) as service:
        status, accepted = await create(service, http)
        assert status == 200
        filler = disk.fill()

        async def refuses() -> bool:
            status, message = await readiness(service, http)
            return status == 503 and "save its state" in message

        await eventually(refuses)
        status, told = await create(service, http, bbox=[1, 2, 3, 4.5])
        assert status == 503
        assert "save its state" in told["message"]
        await eventually(lambda: any("Nothing is accepted" in line for line in service.lines))
        filler.unlink()
        await eventually(lambda: any("is saved again" in line for line in service.lines))

        async def accepts() -> bool:
            return (await create(service, http, bbox=[1, 2, 3, 4.7]))[0] == 200

        await eventually(accepts)
    with start_service(data_dir) as again:
        assert accepted["requestId"] in await known(again, http)


async def test_an_orderly_stop_that_cannot_save_says_so_and_ends_with_another_status(
    tmp_path: Path, small_disk: Any, start_service: Any, eventually: Any
) -> None:
    data_dir = tmp_path / "data"
    disk = small_disk(data_dir / "broker", "40m")
    with ExitStack() as stack:
        service = stack.enter_context(start_service(data_dir))
        disk.fill()
        service.process.send_signal(signal.SIGTERM)
        await eventually(lambda: service.process.poll() is not None, deadline_s=60)
        with pytest.raises(AssertionError, match="could not be saved"):
            stack.close()
    assert service.process.returncode == 1
    (error,) = [line for line in service.lines if line.startswith("error: ")]
    assert "last state could not be saved" in error
    assert "finished since 20" in error
    assert "Stopped." not in service.lines


async def test_a_deleted_folder_of_the_broker_is_made_again_and_nothing_is_lost(
    tmp_path: Path, start_service: Any, http: Any, eventually: Any
) -> None:
    data_dir = tmp_path / "data"
    with start_service(data_dir) as service:
        status, accepted = await create(service, http)
        assert status == 200
        shutil.rmtree(data_dir / "broker")
        await eventually((data_dir / "broker" / "kafka.json").exists)

        async def is_ready() -> bool:
            return (await readiness(service, http))[0] == 200

        await eventually(is_ready)
        assert any("was deleted while the broker ran" in line for line in service.lines)
    with start_service(data_dir) as again:
        assert accepted["requestId"] in await known(again, http)
