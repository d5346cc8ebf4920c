"""`settings`: every setting with its value and what it is for."""

import json
import os

import typer

from app.cli.options import settings_with
from app.cli.screen import Screen, told_errors
from app.settings import SECRETS, Settings

commands = typer.Typer()


@commands.command("settings")
def show_settings() -> None:
    """List every setting: its variable, the value in force here, and what it is for.

    What the environment sets has a star. Secrets are not shown. Exit status 1: one cannot be used.
    """
    screen = Screen()
    with told_errors(screen):
        settings = settings_with()
    for name, described in Settings.model_fields.items():
        variable = f"EXPORT_{name.upper()}"
        value = getattr(settings, name)
        shown = "(secret)" if name in SECRETS and value else _shown(value)
        star = "* " if os.environ.get(variable) else ""
        screen.say(f"{star}{variable} = {shown}")
        screen.say(f"    {' '.join((described.description or '').split())}")


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return json.dumps([str(one) for one in value])
    return "none" if value is None else str(value)
