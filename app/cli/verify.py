"""`verify`: check a GeoPackage of this service, with the metadata beside it."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.screen import Screen, told_errors
from app.package.verify import Verification, verify_package

commands = typer.Typer()


@commands.command()
def verify(
    package: Annotated[
        Path,
        typer.Argument(metavar="FILE.gpkg", help="The GeoPackage; FILE.json lies beside it."),
    ],
) -> None:
    """Check a package: schema, every tile decodable, counts and sha256 as its metadata says.

    Reads only, so it works on read-only media. Exit status 0: the package is sound; 1: it is not,
    and every problem is one line.
    """
    screen = Screen()
    with told_errors(screen):
        if not package.is_file():
            raise FileNotFoundError(f"{package} is not there")
        found = verify_package(package)
    if not show_verification(screen, package, found):
        raise typer.Exit(1)


def show_verification(screen: Screen, package: Path, found: Verification) -> bool:
    """Show what was found; tells whether the package is good."""
    for problem in found.problems:
        screen.refuse(problem)
    if found.is_good:
        screen.say(f"{package.name} is sound: {found.tiles} tiles decoded, counts and sha256 agree")
    return found.is_good
