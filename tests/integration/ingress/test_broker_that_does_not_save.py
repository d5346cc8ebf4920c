"""The embedded broker acknowledges and saves nothing: the ingress accepts nothing meanwhile."""

import asyncio
import threading

import pytest

from app.domain.errors import TemporaryFailure
from app.ingress import saving_watch
from app.ingress.saving_watch import SavingWatch


@pytest.fixture
def state(settings):
    """What the broker saved last, as far as the ingress can see."""
    folder = settings.data_dir / "broker"
    folder.mkdir()
    (folder / "kafka.json").write_text("{}")
    return folder / "kafka.json"


async def test_nothing_is_accepted_until_the_broker_saves_again(
    settings, broker, peer, ingress_of, golden, state, eventually
):
    async with ingress_of(settings.model_copy(update={"embedded": True}), broker) as client:

        async def answers(status, method, path, **options):
            async with client.request(method, path, **options) as answer:
                if answer.status == 503:
                    assert "not saved its state" in (await answer.json())["message"]
                    assert int(answer.headers["Retry-After"]) > 0
                return answer.status == status

        async def is_ready():
            async with client.get("/readyz") as answer:
                return answer.status == 200

        await eventually(is_ready)
        assert await answers(200, "POST", "/create", json=golden)
        asked = peer.asked[0]
        state.rename(state.with_suffix(".away"))
        await eventually(lambda: answers(503, "GET", "/readyz"))
        assert await answers(503, "POST", "/create", json=golden)
        assert await answers(503, "DELETE", f"/exports/{asked.request_id}")
        # Published again, as the broker was away until it was looked at; nothing else came.
        assert {one.request_id for one in peer.asked} == {asked.request_id}
        state.with_suffix(".away").rename(state)
        await eventually(lambda: answers(200, "GET", "/readyz"))
        assert await answers(200, "POST", "/create", json=golden)


async def test_without_an_embedded_broker_nobody_looks_for_its_folder(client, golden):
    async with client.post("/create", json=golden) as answer:
        assert answer.status == 200


async def test_a_disk_that_does_not_answer_is_a_problem_until_it_does(monkeypatch, eventually):
    monkeypatch.setattr(saving_watch, "LOOK_TIMEOUT_S", 0.01)
    monkeypatch.setattr(saving_watch, "LOOK_EVERY_S", 0.01)
    answered = threading.Event()

    def look():
        answered.wait(10)

    watch = SavingWatch(look)
    running = asyncio.create_task(watch.run())
    await eventually(lambda: watch.problem)
    with pytest.raises(TemporaryFailure, match="disk does not answer"):
        watch.check()
    answered.set()
    await eventually(lambda: watch.problem is None)
    watch.check()
    running.cancel()
