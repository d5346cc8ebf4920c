"""Whether the embedded broker can save its state: it does not tell, and acknowledges all the same.

It writes its whole state to `kafka.tmp` and renames that to `kafka.json`, within a second of a
change and once more when it is told to end. On a full disk it leaves `kafka.tmp` behind, and tries
again only after the next change.
"""

import asyncio
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from app.domain.errors import TemporaryFailure

STATE_FILE: Final = "kafka.json"
UNFINISHED_FILE: Final = "kafka.tmp"

RESERVE_BYTES: Final = 16 * 1024 * 1024
"""Free space wanted beside a second copy of the state: what may come between two looks."""
SAVE_LIMIT_S: Final = 5.0
"""A save that has written nothing more for so long counts as failed until it has succeeded."""
LOOK_EVERY_S: Final = 1.0
_PROBE_BYTES: Final = 4096
_SAVING_GROUP: Final = "broker-keeper"
_ASK_TIMEOUT_S: Final = 5.0

Mark = tuple[int, int]
"""Tells one saved state from the next: each is a new file."""


class BrokerFolder:
    """The folder of an embedded broker, as whoever depends on its saving sees it. It blocks."""

    def __init__(self, folder: Path, now_s: Callable[[], float] = time.monotonic) -> None:
        """Name the folder; nothing is looked at.

        Args:
            folder: The broker's folder.
            now_s: A clock that is never set back, seconds.
        """
        self.folder = folder
        self._now_s = now_s
        self._saving: tuple[Mark, int, float] | None = None

    def problem(self) -> str | None:
        """Say why the state cannot be saved, or that it is not; None: all is well.

        A small file is written in the folder, and free space held against the size of the state.
        """
        unsaved = self._unsaved()
        return self.hindrance() or unsaved

    def hindrance(self) -> str | None:
        """Say what a save would fail for now; None: nothing that can be seen from here."""
        try:
            with TemporaryFile(dir=self.folder, buffering=0) as probe:
                probe.write(bytes(_PROBE_BYTES))
            disk = os.statvfs(self.folder)
        except OSError as error:
            return f"the broker cannot save its state in {self.folder}: {error.strerror}"
        state, unfinished = self._stat(STATE_FILE), self._stat(UNFINISHED_FILE)
        needed = RESERVE_BYTES + (0 if state is None else state.st_size)
        # What is being written is replaced, not added to.
        free = disk.f_bavail * disk.f_frsize + (0 if unfinished is None else unfinished.st_size)
        if free < needed:
            return (
                f"the broker needs {needed} bytes to save its state in {self.folder}, "
                f"and {free} are free"
            )
        return None

    def mark(self) -> Mark | None:
        """Name the state that is saved now; None: none is."""
        state = self._stat(STATE_FILE)
        return None if state is None else (state.st_ino, state.st_mtime_ns)

    def saved_at(self) -> str:
        """Tell when the state was saved last, for people."""
        state = self._stat(STATE_FILE)
        if state is None:
            return "never"
        return datetime.fromtimestamp(state.st_mtime, UTC).isoformat(timespec="seconds")

    def is_saved_since(self, before: Mark | None) -> bool:
        """Tell whether the state was saved, and wholly, since another mark was taken."""
        return self.mark() not in (None, before) and self._stat(UNFINISHED_FILE) is None

    def _unsaved(self) -> str | None:
        mark = self.mark()
        if mark is None:
            self._saving = None
            return f"the broker has not saved its state in {self.folder} yet"
        unfinished = self._stat(UNFINISHED_FILE)
        if unfinished is None:
            self._saving = None
        elif self._saving is None or self._saving[:2] != (mark, unfinished.st_size):
            self._saving = (mark, unfinished.st_size, self._now_s())
        elif self._now_s() - self._saving[2] > SAVE_LIMIT_S:
            return f"the broker could not save its last state in {self.folder}"
        return None

    def _stat(self, name: str) -> os.stat_result | None:
        try:
            return (self.folder / name).stat()
        except OSError:
            return None


async def ask_to_save(bootstrap: str, topic: str) -> None:
    """Have the broker save: it does so only after a change, so a group of ours commits offset 0.

    Args:
        bootstrap: `host:port` of the broker.
        topic: Any topic that is there.

    Raises:
        TemporaryFailure: The broker did not take it.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=_SAVING_GROUP, enable_auto_commit=False
    )
    place = TopicPartition(topic, 0)
    try:
        async with asyncio.timeout(_ASK_TIMEOUT_S):
            await consumer.start()
            consumer.assign([place])
            # Other words each time: the same commit again might be no change.
            await consumer.commit({place: OffsetAndMetadata(0, f"save, {time.time_ns()}")})
    except (KafkaError, OSError, TimeoutError) as error:
        raise TemporaryFailure(
            f"the broker at {bootstrap} was not asked to save: {error}"
        ) from error
    finally:
        await consumer.stop()
