"""A courier that ends takes its process along: nobody else would call the webhooks."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from app.completion.agent import attach
from app.completion.webhook_call import WebhookRules
from app.kafka.codec import Codec
from app.kafka.edge import EXIT_BUG, Edge
from app.kafka.faust_app import AppPlace, build_coordinator_app
from app.kafka.topics import PARTITIONS, Topics


@pytest.fixture
def leaving(tmp_path: Path):
    """The completion stage of a coordinator that is not started, and how its process ended."""
    exits: list[int] = []
    place = AppPlace(["localhost:1"], tmp_path / "faust", PARTITIONS, leave=exits.append)
    faust_app = build_coordinator_app(place)
    stage = attach(Edge(faust_app, Codec.from_folder(), Topics("").name), WebhookRules())
    return faust_app, stage, exits


async def broken() -> None:
    raise KeyError("calls_per_host")


async def ended() -> None:
    """A courier that thinks that it is done."""


@pytest.mark.parametrize("courier", [broken, ended])
async def test_a_courier_that_ends_ends_the_process(
    leaving, monkeypatch: pytest.MonkeyPatch, courier: Callable[[], None]
) -> None:
    faust_app, stage, exits = leaving
    monkeypatch.setattr(type(stage.courier), "run", lambda _: courier())
    delivering = faust_app.add_future(stage.deliver())
    done, _ = await asyncio.wait([delivering], timeout=60)
    assert done
    assert set(exits) == {EXIT_BUG}


async def test_a_courier_is_stopped_with_its_app_and_nothing_else_ends(leaving) -> None:
    faust_app, stage, exits = leaving
    delivering = faust_app.add_future(stage.deliver())
    await asyncio.sleep(0)
    faust_app._stopped.set()
    async with asyncio.timeout(60):
        await asyncio.wait([delivering])
    assert exits == []
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "courier"]
