"""The audit log: who did what to which export, when and from where; one structured line each.

Its lines carry `logger: audit`, so that they can be kept longer than others. No line ever holds a
token, a link's signature or a webhook's address.
"""

from typing import Final, Literal

import structlog
from aiohttp import web

from app.ingress.arrival import ARRIVAL
from app.ingress.identity import identity_of

Event = Literal[
    "export_asked",
    "export_cancelled",
    "export_deleted",
    "export_extended",
    "export_pinned",
    "export_unpinned",
    "export_retried",
    "delivery_redelivered",
    "link_made",
    "file_downloaded",
    "session_opened",
]
Fact = str | int | bool | None

OF_COMMANDS: Final[dict[str, Event]] = {
    "cancel": "export_cancelled",
    "delete": "export_deleted",
    "extend": "export_extended",
    "pin": "export_pinned",
    "unpin": "export_unpinned",
    "redeliver": "delivery_redelivered",
}
"""What each order of `ExportCommanded` is called here."""

NAME: Final = "audit"

log = structlog.get_logger(NAME)


def audit(request: web.Request, event: Event, **facts: Fact) -> None:
    """Write down that a caller did something; call it once it is certain.

    Args:
        request: Whose caller it was; its identity and address are told.
        event: What was done.
        facts: To what: `request_id`, `export_id`, `name`, and the like.
    """
    identity = identity_of(request)
    log.info(
        event,
        logger=NAME,
        client=identity.client,
        administrator=identity.is_administrator,
        client_address=request[ARRIVAL].address if ARRIVAL in request else request.remote,
        **facts,
    )


def audit_command(
    request: web.Request, command: str, *, request_id: str, argument: str | None
) -> None:
    """Write down that a caller gave an order and the broker has it.

    A webhook's address is left out: it may hold a secret of its receiver.
    """
    told = argument if command == "extend" else None
    audit(request, OF_COMMANDS[command], request_id=request_id, argument=told)
