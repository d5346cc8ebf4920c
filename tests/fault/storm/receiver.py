"""A real HTTP server that takes the webhooks of a storm."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


class Receiver:
    """Remembers every call, by the path that one request was given.

    Attributes:
        base_url: Address that hook addresses begin with.
        bodies: Bodies by hook, in the order in which they came.
        delivery_ids: Values of `webhook-id` by hook.
    """

    def __init__(self) -> None:
        """Nothing came yet."""
        self.base_url = ""
        self.bodies: defaultdict[str, list[bytes]] = defaultdict(list)
        self.delivery_ids: defaultdict[str, set[str]] = defaultdict(set)

    def url(self, hook: str) -> str:
        """The address of a hook."""
        return f"{self.base_url}/hook/{hook}"

    async def _receive(self, request: web.Request) -> web.Response:
        hook = request.match_info["hook"]
        self.bodies[hook].append(await request.read())
        self.delivery_ids[hook].add(request.headers.get("webhook-id", ""))
        return web.Response()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Take webhooks on a free port of loopback."""
    receiver = Receiver()
    web_app = web.Application()
    web_app.router.add_post("/hook/{hook}", receiver._receive)
    runner = web.AppRunner(web_app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield receiver
    finally:
        await runner.cleanup()
