"""Fields that many records have, with their one meaning."""

from typing import Annotated, Final

from app.domain.avro_doc import Doc

ANONYMOUS_CLIENT: Final = "anonymous"
"""Whoever does not have to say who they are, or leaves it empty."""
MAX_CLIENT_CHARS: Final = 256
"""Length of a client's name: it stands in each record and row of a request, and in log lines.
OpenID Connect allows a `sub` of 255."""

AtMs = Annotated[int, Doc("When the sender sent it, ms since 1970 UTC.")]
RequestId = Annotated[str, Doc("The request, a uuid chosen by ingress or producer.")]
ExportId = Annotated[
    str, Doc("The export: SHA-256 over layer and tile set, 64 hexadecimal digits.")
]
Attempt = Annotated[str, Doc("The run of the export, {ms}-{offset} of the record that started it.")]
Client = Annotated[str, Doc("Who asked; anonymous where nobody has to say.")]
LayerId = Annotated[str, Doc("The layer's catalogue record, uuid (dbId of the API).")]
BboxJson = Annotated[
    str | None, Doc("The area as the caller sent it, JSON text; null: the layer's footprint.")
]
Priority = Annotated[int, Doc("0 to 999999999; larger is more urgent.")]
CallbackUrls = Annotated[tuple[str, ...], Doc("Webhook addresses, http or https.")]
LeaseUntil = Annotated[
    int, Doc("Work begun later than this is dropped, ms since 1970 UTC; it is sent again.")
]
