"""The server of an issuer: hands out its JWKS over HTTP, and counts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.token_issuer import Issuer


@dataclass
class KeyServer:
    """The issuer's server: what it tells now, and how often it was asked."""

    issuer: Issuer = field(default_factory=Issuer)
    status: int = 200
    asked: int = 0

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(body=self.issuer.jwks(), status=self.status)

    @asynccontextmanager
    async def serving(self, port: int) -> AsyncIterator[int]:
        """Listen within the block; 0 chooses a free port. Gives the port."""
        web_app = web.Application()
        web_app.add_routes([web.get("/jwks", self.answer)])
        runner = web.AppRunner(web_app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()
