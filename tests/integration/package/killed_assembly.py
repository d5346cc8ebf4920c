"""Assemble copies of an attempt, each killed one step later than the one before, until one ends.

    killed_assembly.py ATTEMPT_FOLDER TASK_PICKLE COPIES_FOLDER

A step is a file opened, renamed, linked, removed or synced, or an SQL statement. Prints how many
copies were killed.
"""

import functools
import os
import pickle
import shutil
import signal
import sqlite3
import sys
from pathlib import Path

from app.package.assemble import assemble

_WATCHED = {"open", "os.rename", "os.link", "os.remove", "sqlite3.connect"}


def die_at(step: int) -> None:
    left = step

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    class Traced(sqlite3.Connection):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)
            self.set_trace_callback(count)

    def synced(file: int, original=os.fsync) -> None:
        count()
        original(file)

    sqlite3.connect = functools.partial(sqlite3.connect, factory=Traced)
    os.fsync = synced
    sys.addaudithook(lambda event, _: count() if event in _WATCHED else None)


def main() -> None:
    attempt, task_path, copies = (Path(argument) for argument in sys.argv[1:])
    task = pickle.loads(task_path.read_bytes())
    step = 0
    while True:
        step += 1
        copy = copies / str(step)
        shutil.copytree(attempt, copy)
        child = os.fork()
        if child == 0:
            die_at(step)
            assemble(copy, task, owner="killed", now_ms=lambda: 1_000, beat=lambda: None)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            break
        assert code == -signal.SIGKILL, code
    sys.stdout.write(f"{step - 1}\n")


if __name__ == "__main__":
    main()
