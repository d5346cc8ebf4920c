"""The long-running processes that the command can become, handed in by bootstrap."""

from collections.abc import Callable
from dataclasses import dataclass

from app.settings import Settings

Run = Callable[[Settings], None]
"""Runs a process until SIGTERM or SIGINT; whatever it raises ends the command."""


@dataclass(frozen=True, slots=True)
class Processes:
    """One callable a kind of process, so that the command line needs to know no stage.

    Attributes:
        ingress: HTTP API, page and downloads.
        coordinator: The Faust app with tables: registrar, planner, completion.
        worker: The Faust app without tables: admission, tile writer, assembler.
    """

    ingress: Run
    coordinator: Run
    worker: Run
