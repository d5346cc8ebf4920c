"""Real parts for tests: one embedded broker a session, topics of their own for each test."""

import asyncio
import inspect
import itertools
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import settings

from app.kafka.codec import Codec
from app.kafka.embedded_broker import EmbeddedBroker
from app.kafka.topic_admin import create_topics
from app.kafka.topics import Topics

# How long an example takes says nothing on a machine that others use, too.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")

_POLL_S = 0.02
_PATIENCE = 5
"""Deadlines of `eventually` say how long something may take on an idle machine. One that builds,
and runs three suites beside each other, gets so many times as long; a broken promise fails all the
same."""
TESTS = Path(__file__).parent
_TEST_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class BadBody:
    """One row of bad_bodies.json: a body that `POST /create` refuses, and its exact answer.

    It is meant for the layer and the limits that the ingress's tests have. Rows about HTTP alone
    are refused before or beside the judgement that Kafka producers get, too.
    """

    about: str
    body: bytes
    status: int
    message: str

    @classmethod
    def of(cls, row: dict[str, Any]) -> "BadBody":
        told = bytes.fromhex(row["hex"]) if "hex" in row else row["body"].encode()
        return cls(row["about"], told * row.get("times", 1), row["status"], row["message"])


_TABLE = orjson.loads((Path(__file__).parent / "bad_bodies.json").read_bytes())
BAD_BODIES = tuple(map(BadBody.of, _TABLE))

type_of_eventually = Callable[..., Awaitable[Any]]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave long tests out where nobody has asked for their folder or file."""
    named = [Path(argument.split("::")[0]).resolve() for argument in config.args]
    asked_for = {path for path in named if TESTS in path.parents}
    left_out = [
        item
        for item in items
        if item.get_closest_marker("long") and not asked_for & {item.path, *item.path.parents}
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `bad_body` with each row of the table."""
    if "bad_body" in metafunc.fixturenames:
        ids = [f"{row.about}: {row.body[:60]!r}" for row in BAD_BODIES]
        metafunc.parametrize("bad_body", BAD_BODIES, ids=ids)


@pytest.fixture(scope="session")
def bad_bodies() -> tuple[BadBody, ...]:
    """All rows of the table."""
    return BAD_BODIES


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap address of a broker that all tests share; EXPORT_TEST_BROKER names another one."""
    if address := os.environ.get("EXPORT_TEST_BROKER"):
        yield address
        return
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as embedded:
        yield embedded.address


@pytest.fixture
def topic_prefix() -> str:
    """Stands before all topic names of one test, so that tests do not see each other."""
    return f"test-{os.getpid()}-{next(_TEST_NUMBERS)}-"


@pytest.fixture
async def topics(broker: str, topic_prefix: str) -> Topics:
    """Every topic of the catalogue, created for this test alone."""
    names = Topics(topic_prefix)
    await create_topics(broker, names, deadline_s=120)
    return names


@pytest.fixture(scope="session")
def codec() -> Codec:
    """The codec of all records."""
    return Codec.from_folder()


@pytest.fixture
def eventually() -> type_of_eventually:
    """Wait for a state: `await eventually(lambda: len(seen) == 3, deadline_s=5)`."""
    return wait_until


async def wait_until(condition: Callable[[], Any], deadline_s: float = 30.0) -> Any:
    """Call a condition, plain or async, until it holds; return what it returned.

    An AssertionError in it counts as not yet, and is what a late test fails with.

    Args:
        condition: What must come true.
        deadline_s: How long that may take on an idle machine, seconds.
    """
    deadline_s *= _PATIENCE
    end = time.monotonic() + deadline_s
    while True:
        late = time.monotonic() > end
        try:
            result = condition()
            if inspect.isawaitable(result):
                result = await result
        except AssertionError:
            if late:
                raise
            result = None
        if result:
            return result
        if late:
            pytest.fail(f"not within {deadline_s:g} s: {inspect.getsource(condition).strip()}")
        await asyncio.sleep(_POLL_S)
