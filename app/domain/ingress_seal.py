"""The seal that the ingress puts on records: whose they are was verified, and by whom."""

import hmac
import json
from dataclasses import dataclass, field, replace
from typing import TypeVar

from app.domain.judgement import caller_digest
from app.domain.records import ExportCommanded, ExportRequested

Request = TypeVar("Request", bound=ExportRequested | ExportCommanded)

PURPOSE = "sealed by the ingress"
"""Keeps a seal apart from whatever else is signed with the same secret."""


@dataclass(frozen=True, slots=True)
class IngressSeal:
    """Seals records and knows them again: HMAC-SHA256 over request, client and content.

    Attributes:
        secret: Shared by ingresses and workers.

    >>> seal = IngressSeal(b"sixteen bytes, 1")
    >>> asked = seal.sealed(ExportRequested("r1", "layer", client="ann"))
    >>> others = replace(asked, client="bob"), replace(asked, seal=None)
    >>> [seal.holds(one) for one in (asked, *others)]
    [True, False, False]
    """

    secret: bytes = field(repr=False)

    def sealed(self, record: Request) -> Request:
        """The record with its seal."""
        return replace(record, seal=self._of(record))

    def holds(self, record: ExportRequested | ExportCommanded) -> bool:
        """Whether an ingress has sealed this record as it is; tries do not count."""
        return hmac.compare_digest((record.seal or "").encode(), self._of(record).encode())

    def _of(self, record: ExportRequested | ExportCommanded) -> str:
        content: tuple[object, ...]
        if isinstance(record, ExportRequested):
            content = (caller_digest(record),)
        else:
            content = (record.at_ms, record.command, record.argument, record.by_administrator)
        text = json.dumps([PURPOSE, record.request_id, record.client, *content])
        return hmac.digest(self.secret, text.encode(), "sha256").hex()
