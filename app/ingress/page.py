"""The page at `/` and the API's page at `/docs/api`, as scripts/build_web.py built them.

Nothing on them comes from elsewhere, and their policy forbids it: they work without a network.
"""

from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

DIST: Final = Path(__file__).resolve().parents[1] / "web" / "dist"
NOT_BUILT: Final = """The page has not been built.

In a checkout, run scripts/run or scripts/test: they build it into app/web/dist, with node 20 or
newer from PATH or, without one, with the node of a PyPI package. Its errors say what is missing.
The API works all the same: its description is at /openapi.json.
"""

# The map draws tiles from blobs; Swagger UI's icons are data.
POLICY: Final = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), camera=(), microphone=()",
}
FOR_EVER: Final = "public, max-age=31536000, immutable"
"""The name of an asset holds the hash of its bytes."""
CONTENT_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class WebPage:
    """Serves what was built; aiohttp sends the .br or .gz beside a file to who takes it.

    Attributes:
        dist: Folder of index.html, docs.html and assets.
    """

    dist: Path = DIST

    def routes(self) -> list[web.RouteDef]:
        """The routes that this answers."""
        return [
            web.get("/", self.index),
            web.get("/docs/api", self.docs),
            web.get(r"/assets/{name:[A-Za-z0-9_-]{1,80}\.(?:js|css|svg)}", self.asset),
        ]

    async def index(self, _request: web.Request) -> web.StreamResponse:
        """`GET /`: the page."""
        return self._html("index.html")

    async def docs(self, _request: web.Request) -> web.StreamResponse:
        """`GET /docs/api`: the API's description, to read and to try."""
        return self._html("docs.html")

    async def asset(self, request: web.Request) -> web.StreamResponse:
        """`GET /assets/{name}`: what the pages are made of."""
        path = self.dist / "assets" / request.match_info["name"]
        if not path.is_file():
            raise web.HTTPNotFound
        headers = HEADERS | {
            hdrs.CACHE_CONTROL: FOR_EVER,
            hdrs.CONTENT_TYPE: CONTENT_TYPES[path.suffix],
        }
        return web.FileResponse(path, headers=headers)

    def _html(self, name: str) -> web.StreamResponse:
        path = self.dist / name
        if not path.is_file():
            return web.Response(text=NOT_BUILT, status=HTTPStatus.SERVICE_UNAVAILABLE)
        headers = HEADERS | {
            hdrs.CACHE_CONTROL: "no-cache",
            hdrs.CONTENT_TYPE: "text/html; charset=utf-8",
        }
        return web.FileResponse(path, headers=headers)
