"""Who asks: what the handlers may know of a caller."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from app.domain.record_fields import ANONYMOUS_CLIENT


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller, as far as the service knows it."""

    client: str
    """The token's `sub`, or `anonymous`."""
    is_administrator: bool
    """May see and command the exports of every client."""
    is_anybody: bool = False
    """Nobody has to say who they are, so everybody sees everything and speaks for every client."""

    @property
    def sees_all(self) -> bool:
        """Whether the requests of every client are this caller's business."""
        return self.is_administrator or self.is_anybody

    def may_see(self, client: str) -> bool:
        """Whether requests of a client are this caller's business."""
        return self.sees_all or self.client == client


ANONYMOUS: Final = Identity(ANONYMOUS_CLIENT, is_administrator=False)
"""Nobody in particular."""

ANYBODY: Final = Identity(ANONYMOUS_CLIENT, is_administrator=False, is_anybody=True)
"""Everybody, where no keys are configured."""

TOKEN_PARAMETER: Final = "token"  # noqa: S105 - the name of a query parameter
"""Where a token may stand in an address; handlers that know their parameters pass it over."""

IDENTITY: Final = web.RequestKey("identity", Identity)
"""Where the middleware of `app.ingress.auth` leaves who asks."""

KNOWN_AS: Final = web.RequestKey("known_as", str)
"""Where the gate leaves whose good token it was, also of a request that it refuses; for the log."""

TOKEN_ENDS_AT_S: Final = web.RequestKey("token_ends_at_s", int)
"""Where the middleware leaves when the caller's token is good no more, s since 1970 UTC."""


def identity_of(request: web.Request) -> Identity:
    """Tell who sent a request; on paths that are open to all it is nobody in particular."""
    identity: Identity = request.get(IDENTITY, ANONYMOUS)
    return identity


def has_token_ended(request: web.Request, *, now_s: float) -> bool:
    """Whether the token that opened an answer is good no more; for answers without an end.

    A download goes on: it has an end, and whoever began it may have the file.
    """
    return TOKEN_ENDS_AT_S in request and now_s >= request[TOKEN_ENDS_AT_S]
