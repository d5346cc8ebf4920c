"""Why a caller is sent away.

CallerRefused
├── NotAuthenticated   401: no token, or none that can be trusted; a good one would help
├── NotAllowed         403: a good token, or a link, that may not do this
└── LinkExpired        410: a link whose time is over
"""

from http import HTTPStatus

from app.domain.errors import ExportServiceError


class CallerRefused(ExportServiceError):
    """The caller may not do this; the message says why and never holds the token."""

    http_status = HTTPStatus.FORBIDDEN


class NotAuthenticated(CallerRefused):
    """No token, or one that cannot be trusted."""

    http_status = HTTPStatus.UNAUTHORIZED


class NotAllowed(CallerRefused):
    """The caller is known and may not do this.

    Attributes:
        client: Whose good token it was, where a token tells it; for the access log.
    """

    def __init__(self, message: str, client: str | None = None) -> None:
        """Say why, and whom it was said to."""
        super().__init__(message)
        self.client = client


class LinkExpired(CallerRefused):
    """The link was good once."""

    http_status = HTTPStatus.GONE
