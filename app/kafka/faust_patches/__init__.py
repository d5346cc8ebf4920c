"""What makes Faust safe: nine patches of Faust and aiokafka, and a few for speed and quiet.

Stock Faust loses records when workers are killed. `apply()` must run before the first
faust.App; the builders of app.kafka.faust_app call it. It refuses to start on other versions than
those it was written for.
"""

from app.kafka.faust_patches import commits, draining, flow, overtaken, pinned, quiet, recovery
from app.kafka.faust_patches.holes import HOLES, Hole

__all__ = ["HOLES", "Hole", "apply"]

_applied = False


def apply() -> None:
    """Check the installed packages and patch them, once per process.

    Raises:
        UnknownFaust: A version or a patched function is not the one this was written for.
    """
    global _applied  # noqa: PLW0603 - patching twice would wrap the patches
    if _applied:
        return
    pinned.check()
    _applied = True
    commits.apply()
    recovery.apply()
    overtaken.apply()
    flow.apply()
    draining.apply()
    quiet.apply()
