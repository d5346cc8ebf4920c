"""What the person sees: coloured with bars on a terminal, plain lines in a file or a pipe."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from app.domain.errors import ExportServiceError
from app.kafka.embedded_broker import BrokerUnavailable

PLAIN_STEP: Final = 0.25
"""Without a terminal, a bar becomes one line each quarter."""

EXPECTED_ERRORS: Final = (ExportServiceError, BrokerUnavailable, OSError)
"""Errors whose message is enough for the person; anything else is a bug and keeps its trace."""

OnAmount = Callable[[int, int], None]
"""Told (done, in all)."""


class Screen:
    """Lines and bars on standard output."""

    def __init__(self, console: Console | None = None) -> None:
        """Write to a console, by default standard output."""
        self._console = console or Console(highlight=False)

    def say(self, text: str) -> None:
        """Show one line as it is: never wrapped, so that it can be copied or searched."""
        self._console.print(text, soft_wrap=True, markup=False, highlight=False)

    def refuse(self, text: str) -> None:
        """Show what went wrong."""
        self._console.print(
            f"error: {text}", soft_wrap=True, markup=False, highlight=False, style="bold red"
        )

    @contextmanager
    def bar(self, title: str, *, in_bytes: bool = False) -> Iterator[OnAmount]:
        """Show how far something is; gives the function to tell it.

        Args:
            title: What is being done.
            in_bytes: Amounts are bytes; else they are counted.
        """
        if not self._console.is_terminal:
            yield self._plain_bar(title)
            return
        amount: ProgressColumn = DownloadColumn() if in_bytes else MofNCompleteColumn()
        columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(title, total=None)

            def on_amount(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            yield on_amount

    def _plain_bar(self, title: str) -> OnAmount:
        told = -1

        def on_amount(done: int, total: int) -> None:
            nonlocal told
            step = int(done / max(total, 1) / PLAIN_STEP)
            if step > told:
                told = step
                self.say(f"{title}: {100 * step * PLAIN_STEP:.0f} %")

        return on_amount


@contextmanager
def told_errors(screen: Screen, *, status: int = 1) -> Iterator[None]:
    """Show an expected error as one line and end the command with a status."""
    try:
        yield
    except EXPECTED_ERRORS as error:
        screen.refuse(str(error))
        raise typer.Exit(status) from error
