"""`/exports/{id}/deliveries`: what became of the webhooks of an export, and once more, please."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import web

from app.ingress.commands import ExportCommands
from app.ingress.json_answer import json_answer
from app.ingress.refusals import NothingToDo, UnknownDelivery


@dataclass(frozen=True, slots=True)
class DeliveryDesk:
    """Tells callers of deliveries, and passes their orders on.

    Attributes:
        commands: Finds exports, and publishes orders.
    """

    commands: ExportCommands

    def routes(self) -> list[web.RouteDef]:
        """The routes that this answers."""
        path = "/exports/{id}/deliveries"
        return [
            web.get(path, self.list, allow_head=False),
            web.post(f"{path}/{{deliveryId}}/redeliver", self.redeliver),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """`GET /exports/{id}/deliveries`: each webhook, its state and its calls."""
        reader = self.commands.reader
        request_id = await reader.find(request)
        return json_answer({"deliveries": reader.desk.view.deliveries.of(request_id)})

    async def redeliver(self, request: web.Request) -> web.Response:
        """`POST /exports/{id}/deliveries/{deliveryId}/redeliver`: call it with the result again."""
        request_id = await self.commands.reader.find(request)
        delivery_id = request.match_info["deliveryId"]
        known = self._find(request_id, delivery_id)
        if known["event"] == "expiring":
            raise NothingToDo(f"delivery {delivery_id} warned of an expiry; only results go again")
        await self.commands.order(request, request_id, "redeliver", known["url"])

        def look() -> bool | None:
            return self._find(request_id, delivery_id) != known or None

        view = self.commands.reader.desk.view
        await view.wait_for(delivery_id, look, self.commands.effect_wait_s)
        return json_answer(self._find(request_id, delivery_id), status=HTTPStatus.ACCEPTED)

    def _find(self, request_id: str, delivery_id: str) -> dict[str, Any]:
        view = self.commands.reader.desk.view
        known = view.deliveries.find(request_id, delivery_id)
        if known is None:
            raise UnknownDelivery(request_id, delivery_id)
        return known
