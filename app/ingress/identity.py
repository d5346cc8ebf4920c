"""Who asks: what the handlers may know of a caller."""

from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller, as far as the service knows it."""

    client: str
    """The token's `sub`, or `anonymous`."""
    is_administrator: bool
    """May see and command the exports of every client."""


def identity_of(request: web.Request) -> Identity:  # noqa: ARG001 - its token tells once there are tokens
    """Tell who sent a request; without authentication everybody is the same client."""
    return Identity("anonymous", is_administrator=False)
