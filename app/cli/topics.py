"""`topics`: create what is missing on the broker, and say what differs from the catalogue."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.cli.options import DataDir, RunningBroker, broker_of, settings_with
from app.cli.screen import Screen, told_errors
from app.kafka.topic_admin import TopicReport, check_topics, create_topics
from app.kafka.topics import Topics

commands = typer.Typer()


@commands.command()
def topics(
    broker: RunningBroker = None,
    data_dir: DataDir = None,
    check: Annotated[bool, typer.Option("--check", help="Create nothing, only compare.")] = False,
    replication_factor: Annotated[
        int | None, typer.Option(min=1, help="Copies of each partition. Default: 1; cluster: 3.")
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(help="Put before every topic. Default: EXPORT_TOPIC_PREFIX.")
    ] = None,
) -> None:
    """Create the topics that the broker lacks, and report every setting that differs.

    Safe to repeat. Settings of topics that exist are reported and never changed: change them with
    your broker's tools. Exit status 0: the service can run; 1: it cannot, for a topic is missing or
    has other partitions or another cleanup policy. With --check any difference is a 1.
    """
    screen = Screen()
    with told_errors(screen):
        settings = settings_with(
            broker=broker,
            data_dir=data_dir,
            replication_factor=replication_factor,
            topic_prefix=prefix,
        )
        bootstrap = broker_of(settings)
        names = Topics(settings.topic_prefix)
        if check:
            report = asyncio.run(check_topics(bootstrap, names))
        else:
            report = asyncio.run(
                create_topics(bootstrap, names, replication_factor=settings.replication_factor)
            )
    _show(names, report)
    raise typer.Exit(0 if (report.is_sound if check else report.is_usable) else 1)


def _show(names: Topics, report: TopicReport) -> None:
    table = Table("topic", "partitions", "cleanup", "state")
    for name, spec in names:
        state = "there"
        if name in report.created:
            state = "created"
        if name in report.missing:
            state = "missing"
        if any(text.startswith(f"{name}: ") for text in report.differences):
            state = "differs"
        table.add_row(name, str(spec.partitions), spec.cleanup_policy, state)
    Console().print(table)
    for text in report.differences:
        Screen().say(f"{'cannot be used' if text in report.dangers else 'differs'}: {text}")
