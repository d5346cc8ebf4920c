"""`dead-letters`: look at the records that could not be handled, and put them back."""

import asyncio
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from app.cli.options import DataDir, RunningBroker, broker_of, settings_with
from app.cli.screen import Screen, told_errors
from app.domain.errors import InvalidRecord
from app.kafka.codec import Codec
from app.kafka.dead_letters import DeadLetter, find_dead_letter, put_back, read_dead_letters
from app.kafka.topics import Topics

commands = typer.Typer(no_args_is_help=True)

SHOWN_BYTES: Final = 512
"""Of a value that is no record, as hexadecimal."""

Prefix = Annotated[
    str | None, typer.Option(help="Put before every topic. Default: EXPORT_TOPIC_PREFIX.")
]
Offset = Annotated[int, typer.Argument(min=0, help="Place of the letter, as `list` shows it.")]


@commands.command("list")
def list_letters(
    broker: RunningBroker = None,
    data_dir: DataDir = None,
    prefix: Prefix = None,
    limit: Annotated[int, typer.Option(min=1, help="Show the last so many.")] = 50,
) -> None:
    """List the dead letters, one a line, the newest last."""
    screen = Screen()
    with told_errors(screen):
        bootstrap, topics = _where(broker, data_dir, prefix)
        letters = asyncio.run(_last(bootstrap, topics, limit))
    for letter in letters:
        screen.say(
            f"{letter.offset}  {_time(letter.at_ms)}  "
            f"{letter.topic}/{letter.partition}@{letter.source_offset}  "
            f"key {_text(letter.key) or '-'}  {len(letter.value or b'')} bytes  {letter.reason}"
        )


@commands.command()
def show(
    offset: Offset,
    broker: RunningBroker = None,
    data_dir: DataDir = None,
    prefix: Prefix = None,
) -> None:
    """Show one dead letter: where it came from, why it is here, and what it says."""
    screen = Screen()
    with told_errors(screen):
        bootstrap, topics = _where(broker, data_dir, prefix)
        letter = asyncio.run(find_dead_letter(bootstrap, topics, offset))
    if letter is None:
        screen.refuse(f"there is no dead letter {offset}")
        raise typer.Exit(1)
    screen.say(f"from    {letter.topic}, partition {letter.partition}, {letter.source_offset}")
    screen.say(f"at      {_time(letter.at_ms)}")
    screen.say(f"key     {_text(letter.key)}")
    screen.say(f"reason  {letter.reason}")
    screen.say(f"value   {_said(letter)}")


@commands.command()
def replay(
    offsets: Annotated[list[int], typer.Argument(min=0, help="Places of the letters.")],
    broker: RunningBroker = None,
    data_dir: DataDir = None,
    prefix: Prefix = None,
) -> None:
    """Send dead letters again to where they came from; requests twice are harmless.

    An order (cancel, unpin, deliver again) acts as one that is given now.
    """
    screen = Screen()
    with told_errors(screen):
        bootstrap, topics = _where(broker, data_dir, prefix)
        count = asyncio.run(_replay(bootstrap, topics, offsets))
    screen.say(f"{count} of {len(offsets)} sent again")
    raise typer.Exit(0 if count == len(offsets) else 1)


async def _replay(bootstrap: str, topics: Topics, offsets: list[int]) -> int:
    letters = [await find_dead_letter(bootstrap, topics, offset) for offset in offsets]
    return await put_back(bootstrap, topics, [letter for letter in letters if letter is not None])


async def _last(bootstrap: str, topics: Topics, limit: int) -> deque[DeadLetter]:
    kept: deque[DeadLetter] = deque(maxlen=limit)
    async for letter in read_dead_letters(bootstrap, topics):
        kept.append(letter)
    return kept


def _where(broker: str | None, data_dir: Path | None, prefix: str | None) -> tuple[str, Topics]:
    settings = settings_with(broker=broker, data_dir=data_dir, topic_prefix=prefix)
    return broker_of(settings), Topics(settings.topic_prefix)


def _said(letter: DeadLetter) -> str:
    """A record in words, other bytes as hexadecimal."""
    if letter.value is None:
        return "none: a tombstone"
    if letter.cut_from_bytes is not None:
        return (
            f"{letter.value[:SHOWN_BYTES].hex(' ')}  (cut: key and value had "
            f"{letter.cut_from_bytes} bytes, too many for the dead letters)"
        )
    try:
        record: Any = Codec.from_folder().decode(letter.value)
    except InvalidRecord as error:
        return f"{letter.value[:SHOWN_BYTES].hex(' ')}  ({len(letter.value)} bytes: {error})"
    return repr(record)


def _text(key: bytes | None) -> str:
    return "" if key is None else key.decode(errors="backslashreplace")


def _time(at_ms: int) -> str:
    """A time, or the number of a letter that no clock has dated."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"
