"""Waits for a broker that is not there yet, and says so in words."""

import asyncio
import contextlib
from typing import Final

import structlog

from app.domain.errors import TemporaryFailure
from app.kafka.topic_admin import check_topics
from app.kafka.topics import Topics

log = structlog.get_logger(__name__)

SAY_EVERY_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 2.0
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 1.0


async def until_topics_are_there(bootstrap: str, topics: Topics) -> None:
    """Wait until the broker answers and has every topic of the catalogue; for ever.

    The first look and then one every ten seconds is a line in the log, with what is missing.

    Args:
        bootstrap: `host:port`, several with commas.
        topics: Names of the topics.
    """
    now_s = asyncio.get_running_loop().time
    say_at_s = now_s()
    pause_s = _FIRST_PAUSE_S
    while (missing := await _missing(bootstrap, topics)) is not None:
        if now_s() >= say_at_s:
            say_at_s = now_s() + SAY_EVERY_S
            log.warning("waiting_for_broker", broker=bootstrap, reason=missing)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


async def _missing(bootstrap: str, topics: Topics) -> str | None:
    # aiokafka logs an error at each try: ask it only when somebody listens.
    refusals = [await _refusal(address) for address in bootstrap.split(",")]
    if all(refusals):
        return "; ".join(str(refusal) for refusal in refusals)
    try:
        report = await check_topics(bootstrap, topics)
    except TemporaryFailure as error:
        return str(error)
    if report.missing:
        return f"topics are missing (export-service topics): {', '.join(report.missing)}"
    return None


async def _refusal(address: str) -> str | None:
    """Say why nobody can be reached at an address; None: somebody listens there."""
    host, _, port = address.strip().rpartition(":")
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, ValueError, TimeoutError) as error:
        return f"{address}: {error or 'no answer'}"
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return None
