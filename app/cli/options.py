"""Options that several commands have, and the settings they make."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.settings import Settings

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of broker data, catalogue, layers and exports. "
        "Default: EXPORT_DATA_DIR, else ./data.",
        file_okay=False,
    ),
]
Broker = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Kafka bootstrap address. Default: EXPORT_BROKER, else the embedded broker.",
    ),
]


def settings_with(**chosen: Any) -> Settings:
    """The settings of the environment, with what the person has chosen in their place.

    Args:
        chosen: Fields of Settings; None: not chosen.

    >>> settings_with(port=8081, broker=None).port
    8081
    """
    return Settings(**{name: value for name, value in chosen.items() if value is not None})
