"""`ingress`, `coordinator`, `worker`: one process of the service, in the foreground."""

from collections.abc import Callable

import typer

from app.cli.processes import Processes, Run
from app.cli.screen import Screen, told_errors
from app.settings import read_settings
from app.supervisor.parent_watch import stop_with_supervisor

ABOUT = {
    "ingress": "Run the HTTP API: requests, status, downloads, events. Any number may run.",
    "coordinator": "Run a coordinator: it decides, plans and completes. Any number may run.",
    "worker": "Run a worker: it reads and writes tiles and assembles packages. Any number may run.",
}
ENVIRONMENT = (
    "Configured by the environment: EXPORT_BROKER (host:port, required), EXPORT_DATA_DIR (shared "
    "by all processes), EXPORT_INSTANCE_ID (stable name in the consumer group, so that a restart "
    "heals in seconds), EXPORT_HOST and EXPORT_PORT (ingress). SIGTERM stops it without losing "
    "work in progress."
)


def add_services(typer_app: typer.Typer, processes: Processes) -> None:
    """Add one command a kind of process."""
    runs = {
        "ingress": processes.ingress,
        "coordinator": processes.coordinator,
        "worker": processes.worker,
    }
    for name, run in runs.items():
        typer_app.command(name, help=f"{ABOUT[name]}\n\n{ENVIRONMENT}")(_command(run))


def _command(run: Run) -> Callable[[], None]:
    def command() -> None:
        screen = Screen()
        with told_errors(screen):
            settings = read_settings()
            if settings.broker is None:
                screen.refuse(
                    "EXPORT_BROKER is not set: name a Kafka broker (host:port), or start "
                    "everything with `export-service up`, which brings its own"
                )
                raise typer.Exit(2)
            stop_with_supervisor()
            run(settings)

    return command
