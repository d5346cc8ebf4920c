"""Options that several commands have, and the settings they make."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.kafka.embedded_broker import running_broker
from app.settings import Settings, read_settings

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
RunningBroker = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Kafka bootstrap address. Default: EXPORT_BROKER, else the embedded broker of an `up` "
        "that runs on the data folder.",
    ),
]


def settings_with(**chosen: Any) -> Settings:
    """The settings of the environment, with what the person has chosen in their place.

    Args:
        chosen: Fields of Settings; None: not chosen.

    >>> settings_with(port=8081, broker=None).port
    8081
    """
    return read_settings(**{name: value for name, value in chosen.items() if value is not None})


def broker_of(settings: Settings) -> str:
    """The broker that is there: the one that was named, else the embedded one of a running `up`.

    Raises:
        BrokerUnavailable: None was named, and none runs on the data folder.
    """
    return settings.broker or running_broker(settings.data_dir / "broker")
