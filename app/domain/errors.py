"""Every error this service raises on purpose.

ExportServiceError
├── InvalidRequest              the caller's fault: HTTP 4xx or failed result, never retried
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

from http import HTTPStatus


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


class RequestTooLarge(InvalidRequest):
    """The body, the polygon or the tile count is beyond a limit."""

    http_status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class InvalidRecord(ExportServiceError):
    """Bytes from a topic that are no record of ours; they go to the dead letters."""


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
