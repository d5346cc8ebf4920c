"""Without keys nobody but this machine may reach the service."""

from ipaddress import ip_address

from app.domain.errors import ExportServiceError
from app.settings import Settings


class OpenToAll(ExportServiceError):
    """The service would be open to everybody who reaches its port, and nobody has said so."""


def check_bind(settings: Settings) -> None:
    """Refuse to listen beyond loopback without keys, unless the settings say that it is meant.

    Raises:
        OpenToAll: The message names the ways out.
    """
    if settings.has_keys or settings.open_to_all or is_loopback(settings.host):
        return
    raise OpenToAll(
        f"host is {settings.host or 'every address'!r} and no keys are configured: everybody who "
        "reaches the port could ask for exports and delete them. Set EXPORT_JWKS_FILE or "
        "EXPORT_JWKS_URL, or bind to 127.0.0.1, or set EXPORT_OPEN_TO_ALL=true if that is meant"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; a name other than localhost may be anything.

    >>> is_loopback("127.0.0.2"), is_loopback("::1"), is_loopback("localhost")
    (True, True, True)
    >>> is_loopback("0.0.0.0"), is_loopback(""), is_loopback("service.example")
    (False, False, False)
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
