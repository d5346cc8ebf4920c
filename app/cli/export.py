"""`export`: ask a running service for an area, wait, download, verify."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from app.cli.screen import Screen, told_errors
from app.cli.service_client import (
    DownloadDamaged,
    ExportDidNotFinish,
    ExportRefused,
    FinishedExport,
    ServiceClient,
    ServiceNotReached,
)
from app.cli.verify import show_verification
from app.package.verify import verify_package

STATUS_NOT_REACHED: Final = 3
STATUS_REFUSED: Final = 4
STATUS_NOT_FINISHED: Final = 5
STATUS_DAMAGED: Final = 6

commands = typer.Typer()


@dataclass(frozen=True, slots=True)
class Service:
    """Whom to ask.

    Attributes:
        url: Its address.
        token: What to show it; None: nothing.
    """

    url: str
    token: str | None


@dataclass(frozen=True, slots=True)
class Target:
    """Where the package goes.

    Attributes:
        package: The GeoPackage's final path.
    """

    package: Path

    @property
    def metadata(self) -> Path:
        """The metadata beside it: same name, suffix .json."""
        return self.package.with_suffix(".json")

    @property
    def part_dir(self) -> Path:
        """Folder beside it that holds both until they are verified, and after a broken download."""
        return self.package.with_name(f"{self.package.name}.part")

    def in_part_dir(self) -> "Target":
        """The same two files in that folder."""
        return Target(self.part_dir / self.package.name)


def parse_bbox(text: str) -> list[float]:
    """Read `west,south,east,north`; the service judges the values.

    >>> parse_bbox("34.8,31.9,34.9,32")
    [34.8, 31.9, 34.9, 32.0]
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not W,S,E,N in degrees") from error
    if len(numbers) != 4:
        raise typer.BadParameter(f"{text!r} has {len(numbers)} numbers; W,S,E,N are four")
    return numbers


@commands.command()
def export(
    layer: Annotated[str, typer.Option(metavar="ID", help="The layer's id (dbId), a uuid.")],
    output: Annotated[
        Path, typer.Option(metavar="FILE", dir_okay=False, help="The GeoPackage to write.")
    ],
    bbox: Annotated[
        str | None,
        typer.Option(metavar="W,S,E,N", help="Degrees, longitude first. Default: the whole layer."),
    ] = None,
    resolution: Annotated[
        float | None,
        typer.Option(metavar="R", help="Degrees per pixel. Default: the finest of the layer."),
    ] = None,
    url: Annotated[
        str, typer.Option(help="Address of the service.", envvar="EXPORT_URL")
    ] = "http://127.0.0.1:8080",
    token: Annotated[
        str | None,
        typer.Option(
            help="A JWT, where the service asks for one. Others on this machine see what is typed "
            "here; better is the environment.",
            envvar="EXPORT_TOKEN",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
) -> None:
    """Export an area from a running service into FILE, with its metadata in FILE's .json.

    Shows progress, downloads (going on where a broken download stopped) and verifies. A repeated
    command joins the export that runs already.

    Exit status 0: FILE is there and sound; 1: a local problem; 2: wrong usage; 3: no service
    answers; 4: the service refused; 5: the export failed or was cancelled; 6: the package is
    damaged.
    """
    screen = Screen()
    body: dict[str, Any] = {"dbId": layer}
    if bbox is not None:
        body["bbox"] = parse_bbox(bbox)
    if resolution is not None:
        body["targetResolution"] = resolution
    target = Target(output)
    with _told_with_status(screen):
        if not force and (output.exists() or target.metadata.exists()):
            raise FileExistsError(f"{output} or {target.metadata.name} is there; --force replaces")
        if target.metadata == target.package:
            raise FileExistsError(f"{output} would be its own metadata; use the suffix .gpkg")
        asyncio.run(_export(screen, Service(url, token), body, target))
    screen.say(f"Written: {output} and {target.metadata.name}")


async def _export(screen: Screen, service: Service, body: dict[str, Any], target: Target) -> None:
    async with ServiceClient.connected(service.url, token=service.token) as client:
        finished = await _until_finished(screen, client, body)
        if service.token is not None:
            finished = await client.linked(finished)
        part = target.in_part_dir()
        target.part_dir.mkdir(parents=True, exist_ok=True)
        with screen.bar("Downloading", in_bytes=True) as on_bytes:
            await client.download_package(finished, part.package, on_bytes)
        await client.download_metadata(finished, part.metadata)
    report = await asyncio.to_thread(verify_package, part.package)
    if not show_verification(screen, part.package, report):
        raise DownloadDamaged(f"{part.package} is kept for a look; delete it before the next try")
    part.metadata.replace(target.metadata)
    part.package.replace(target.package)
    target.part_dir.rmdir()


async def _until_finished(
    screen: Screen, client: ServiceClient, body: dict[str, Any]
) -> FinishedExport:
    answer = await client.ask(body)
    if answer.get("status") == "Completed":
        screen.say("The service has this package already.")
        return FinishedExport.from_answer(answer)
    request_id = str(answer["requestId"])
    joined = " (joined a running export)" if answer.get("isDuplicated") else ""
    screen.say(f"Request {request_id}{joined}")
    with screen.bar("Exporting") as on_amount:
        await client.follow(
            request_id, lambda percentage, _status: on_amount(round(percentage), 100)
        )
    return await client.finished(body)


@contextmanager
def _told_with_status(screen: Screen) -> Iterator[None]:
    """Turn each kind of failure into its exit status."""
    kinds: tuple[tuple[type[Exception], int], ...] = (
        (ServiceNotReached, STATUS_NOT_REACHED),
        (ExportRefused, STATUS_REFUSED),
        (ExportDidNotFinish, STATUS_NOT_FINISHED),
        (DownloadDamaged, STATUS_DAMAGED),
    )
    with told_errors(screen):
        try:
            yield
        except tuple(kind for kind, _ in kinds) as error:
            screen.refuse(str(error))
            status = next(status for kind, status in kinds if isinstance(error, kind))
            raise typer.Exit(status) from error
