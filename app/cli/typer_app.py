"""The command export-service, put together from its parts."""

import typer

from app.cli import dead_letters, export, settings_list, topics, up, verify
from app.cli.processes import Processes
from app.cli.services import add_services

ABOUT = """Cut an area of a raster layer into one GeoPackage, and never lose an export.

Start with `export-service up`; then, in another terminal,
`export-service export --layer ID --bbox W,S,E,N --output area.gpkg`.
Settings are environment variables that begin with EXPORT_; options win over them.
"""


def build_typer_app(processes: Processes) -> typer.Typer:
    """Build the command line.

    Args:
        processes: What `ingress`, `coordinator` and `worker` run.
    """
    typer_app = typer.Typer(
        name="export-service",
        help=ABOUT,
        no_args_is_help=True,
        add_completion=False,
        # A bug must show its plain trace in the log, not a framed one 200 lines long.
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for part in (up, topics, export, verify, settings_list):
        typer_app.add_typer(part.commands)
    typer_app.add_typer(
        dead_letters.commands,
        name="dead-letters",
        help="Look at the records that could not be handled, and put them back.",
    )
    add_services(typer_app, processes)
    return typer_app
