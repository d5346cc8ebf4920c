"""Refusals that only an API can have: of things that are not there, or not in that state."""

from http import HTTPStatus

from app.domain.errors import InvalidRequest


class UnknownRequest(InvalidRequest):
    """There is no such request, or it is another client's: the answer does not tell which."""

    http_status = HTTPStatus.NOT_FOUND

    def __init__(self, request_id: str) -> None:
        """Name the request."""
        super().__init__(f"id is {request_id}; there is no such request")


class NothingToDo(InvalidRequest):
    """The export is in no state in which that could be done."""

    http_status = HTTPStatus.CONFLICT


class PackageGone(InvalidRequest):
    """There was a package once."""

    http_status = HTTPStatus.GONE


class TooManyStreams(InvalidRequest):
    """A client listens too often at once."""

    http_status = HTTPStatus.TOO_MANY_REQUESTS


class UnknownDelivery(InvalidRequest):
    """The request has no such delivery."""

    http_status = HTTPStatus.NOT_FOUND

    def __init__(self, request_id: str, delivery_id: str) -> None:
        """Name request and delivery."""
        super().__init__(
            f"deliveryId is {delivery_id!r:.80}; export {request_id} has no such delivery"
        )
