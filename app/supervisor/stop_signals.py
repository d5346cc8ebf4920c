"""SIGINT, SIGTERM and SIGHUP as events: the first one asks to stop, the second to stop at once."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """What the person has asked for so far.

    Attributes:
        asked: Set by the first signal: stop, and lose nothing.
        at_once: Set by the second: stop now.
    """

    def __init__(self) -> None:
        """Nothing has been asked yet."""
        self.asked = asyncio.Event()
        self.at_once = asyncio.Event()

    def ask(self) -> None:
        """Ask to stop; asking again means at once."""
        if self.asked.is_set():
            self.at_once.set()
        self.asked.set()

    @contextmanager
    def caught(self) -> Iterator["StopSignals"]:
        """Catch the signals of this process while the block runs, in its running loop."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.ask)
        try:
            yield self
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)
