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
