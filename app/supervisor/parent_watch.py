"""A child's end of the tie to its supervisor: when the supervisor dies, the child stops.

The supervisor gives its children a pipe as standard input and keeps the writing end to itself,
never writing. The system closes that end however the supervisor dies, on Linux and on macOS.
"""

import os
import signal
import threading
import time
from typing import Final

SUPERVISED: Final = "EXPORT_SUPERVISED"
"""Environment variable that a supervisor sets for its children."""

ORPHAN_GRACE_S: Final = 5.0
"""The embedded broker ends with the supervisor, so there is little left to finish, and the next
start waits for the last orphan."""

STDIN: Final = 0


def stop_with_supervisor() -> None:
    """In a child of a supervisor: watch it from a thread. Anywhere else: nothing."""
    if os.environ.get(SUPERVISED):
        threading.Thread(target=_wait_and_stop, name="parent-watch", daemon=True).start()


def _wait_and_stop() -> None:
    # os.read and not sys.stdin: a daemon thread inside a buffered reader breaks the exit.
    while os.read(STDIN, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_GRACE_S)
    os._exit(1)
