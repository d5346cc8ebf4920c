"""The shapes of what is told of webhooks, for the OpenAPI document."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field

from app.ingress.answers import example
from app.ingress.export_answers import Time

DELIVERY_ID: Final = "5f3c9a0b7e214d68" * 2
_CALL: Final[dict[str, Any]] = {
    "at": "2026-11-23T03:30:01.000Z",
    "status": 503,
    "error": None,
}
_DELIVERY: Final[dict[str, Any]] = {
    "id": DELIVERY_ID,
    "event": "completed",
    "url": "https://example.com/exports/done",
    "state": "pending",
    "createdAt": "2026-11-23T03:30:00.000Z",
    "nextTryAt": "2026-11-23T03:30:02.100Z",
    "tries": 1,
    "history": [_CALL],
}


class Call(BaseModel):
    """One call of a webhook."""

    model_config = example(**_CALL)

    at: Time
    status: Annotated[int | None, Field(description="Answer of the receiver; null: none.")]
    error: Annotated[str | None, Field(description="Why there was no answer.")]


class Delivery(BaseModel):
    """One webhook of one request."""

    model_config = example(**_DELIVERY)

    id: Annotated[str, Field(description="The same on every call: the receiver's webhook-id.")]
    event: Literal["completed", "failed", "expiring"]
    url: str
    state: Literal["pending", "delivered", "given-up"]
    created_at: Time
    next_try_at: Annotated[str | None, Field(description="null: it is not tried any more.")]
    tries: Annotated[int, Field(description="Calls so far.")]
    history: Annotated[list[Call], Field(description="The last 20 calls, oldest first.")]


class DeliveryList(BaseModel):
    """The webhooks of a request; those of long ago may have been forgotten."""

    model_config = example(deliveries=[_DELIVERY])

    deliveries: list[Delivery]
