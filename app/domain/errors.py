"""Every error this service raises on purpose.

ExportServiceError
├── InvalidRequest              the caller's fault: HTTP 4xx or failed result, never retried
│   ├── TooManyRequests         429: the client has sent too many within a minute
│   ├── UnknownLayer            404: no layer record with that id
│   └── RequestTooLarge         413: body, vertices or tiles beyond a limit
├── InvalidRecord               bytes that are no record of ours: dead letter, never retried
├── TemporaryFailure            the world's fault: retried with a bound
│   ├── CatalogueUnavailable    no answer from the catalogue in time
│   ├── SourceUnavailable       a tile that could not be read (timeout, 5xx, bad image)
│   └── StorageUnavailable      the artifact store did not answer in time
├── StorageFull                 the disk of the artifact store is full: the export fails
├── PackageFailed               no package can be made of these shards (app.package.failures)
└── ShardLost                   a shard is no longer ours, or no longer whole
"""

import json
from http import HTTPStatus


def told(value: object) -> str:
    """A value as JSON writes it, at most 80 characters: callers know JSON, not Python.

    In ASCII, so that half a surrogate pair in a caller's JSON does not break the answer.

    >>> told(None), told(True), told("text")
    ('null', 'true', '"text"')
    """
    return f"{json.dumps(value, default=str):.80}"


class ExportServiceError(Exception):
    """Base of all errors raised on purpose."""


class InvalidRequest(ExportServiceError):
    """The request can never succeed; do not retry it.

    The message names the field, the value and the limit, for the caller to read.
    """

    http_status = HTTPStatus.BAD_REQUEST


class UnknownLayer(InvalidRequest):
    """No layer record has the id that the request names."""

    http_status = HTTPStatus.NOT_FOUND

    def __init__(self, layer_id: str) -> None:
        """Name the layer, in the same words over HTTP and on Kafka."""
        super().__init__(f"dbId is {layer_id:.80}; the catalogue has no such layer")


class RequestTooLarge(InvalidRequest):
    """The body, the polygon or the tile count is beyond a limit."""

    http_status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class InvalidRecord(ExportServiceError):
    """Bytes from a topic that are no record of ours; they go to the dead letters."""


class TooManyRequests(InvalidRequest):
    """A client has sent more requests than it may; later it may again.

    Attributes:
        retry_after_s: When, seconds from now.
    """

    http_status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, message: str, retry_after_s: int) -> None:
        """Say why, and when to come again."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TemporaryFailure(ExportServiceError):
    """The same input may succeed later; retry it, with a bound."""


class CatalogueUnavailable(TemporaryFailure):
    """The catalogue did not answer in time."""


class SourceUnavailable(TemporaryFailure):
    """A tile could not be read: not missing, but unreadable."""


class StorageUnavailable(TemporaryFailure):
    """The artifact store did not answer in time."""


class StorageFull(ExportServiceError):
    """The artifact store has no space left; the export fails and says so."""


class ShardLost(ExportServiceError):
    """A shard belongs to another owner, is gone, or is not whole; its ranges are planned again."""
