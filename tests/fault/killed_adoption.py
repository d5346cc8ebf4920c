"""Adopt copies of an attempt, each killed one step later than the one before, until one ends.

    killed_adoption.py EXPORT_FOLDER OLD NEW TABLE COPIES_FOLDER

Steps are those of killed_assembly.py. Prints how many copies were killed.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

from app.domain.tile_tables import TileTables
from app.package.taking import adopt_shards

sys.path.insert(0, str(Path(__file__).parents[1] / "integration" / "package"))
from killed_assembly import die_at


def main() -> None:
    export, copies = Path(sys.argv[1]), Path(sys.argv[5])
    old, new = sys.argv[2:4]
    tables = TileTables.single(sys.argv[4])
    step = 0
    while True:
        step += 1
        copy = copies / str(step)
        shutil.copytree(export, copy)
        child = os.fork()
        if child == 0:
            die_at(step)
            adopt_shards(
                copy / old,
                copy / new,
                owner="killed",
                tables=tables,
                beat=lambda: None,
            )
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            break
        assert code == -signal.SIGKILL, code
    sys.stdout.write(f"{step - 1}\n")


if __name__ == "__main__":
    main()
