"""The composition root: builds each process from its parts and hands them to the command line.

Each process is built in a module of its own, imported when it runs: `--help` must not wait for
Faust, and the ingress needs none of it.
"""

import typer

from app.cli.processes import Processes
from app.cli.typer_app import build_typer_app
from app.settings import Settings


def build_cli() -> typer.Typer:
    """Build the command export-service."""
    return build_typer_app(
        Processes(ingress=run_ingress, coordinator=run_coordinator, worker=run_worker)
    )


def run_ingress(settings: Settings) -> None:
    """Run the HTTP API until it is asked to stop."""
    from app.bootstrap.ingress import run  # noqa: PLC0415 - see above

    run(settings)


def run_coordinator(settings: Settings) -> None:
    """Run the Faust app with the tables until it is asked to stop."""
    from app.bootstrap.coordinator import run  # noqa: PLC0415 - see above

    run(settings)


def run_worker(settings: Settings) -> None:
    """Run the Faust app without tables until it is asked to stop."""
    from app.bootstrap.worker import run  # noqa: PLC0415 - see above

    run(settings)
