"""The doorbell wakes who reads the topic, and bothers nobody else."""

import asyncio
import socket
from pathlib import Path

import pytest

from app.kafka import doorbell


@pytest.fixture
def folder(tmp_path):
    yield tmp_path / "bell"
    doorbell._doorbell = None


@pytest.fixture
def installed(folder):
    doorbell.install(folder)
    bell = doorbell._doorbell
    yield bell
    bell.close()


async def test_a_ring_wakes_the_listener_of_its_topic_and_no_other(installed):
    mine = doorbell.listener(lambda topic: topic == "export-plans")
    other = doorbell.listener(lambda topic: topic == "export-finished")
    doorbell.ring(["export-plans", "export-plans"])
    await asyncio.wait_for(mine.rung.wait(), 60)
    assert not other.rung.is_set()
    mine.close()
    other.close()


async def test_a_listener_that_died_is_forgotten(installed, folder):
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    dead.bind(str(folder / "dead"))
    dead.close()
    doorbell.ring(["export-plans"])
    assert list(folder.iterdir()) == []


async def test_a_listener_whose_buffer_is_full_holds_nobody_up(installed, folder):
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    deaf.bind(str(folder / "deaf"))
    for _ in range(5_000):
        doorbell.ring(["export-plans"])
    assert [path.name for path in folder.iterdir()] == ["deaf"]
    deaf.close()


async def test_without_a_doorbell_nothing_rings_and_nobody_listens():
    doorbell.ring(["export-plans"])
    assert doorbell.listener(lambda _: True) is None


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="Linux only: elsewhere no bell")
async def test_a_long_path_works_too(tmp_path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    doorbell.install(deep)
    listener = doorbell.listener(lambda _: True)
    doorbell.ring(["export-plans"])
    await asyncio.wait_for(listener.rung.wait(), 60)
    listener.close()
    doorbell._doorbell.close()
    doorbell._doorbell = None
