"""The gate: who may come in, and as whom."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from app.ingress.arrival import ARRIVAL
from app.ingress.auth.bind_rule import is_loopback
from app.ingress.auth.links import check_link, is_link
from app.ingress.auth.origins import (
    ANY_ORIGIN,
    is_cross_site,
    is_same_origin,
    may_use_token,
    normal_origin,
)
from app.ingress.auth.refusals import CallerRefused, NotAllowed, NotAuthenticated
from app.ingress.auth.tokens import LEEWAY_S, Bearer, TokenVerifier
from app.ingress.identity import (
    ANYBODY,
    IDENTITY,
    KNOWN_AS,
    TOKEN_ENDS_AT_S,
    TOKEN_PARAMETER,
    Identity,
)

SESSION_COOKIE: Final = "session"
API_KEY: Final = "x-api-key"
SAFE_METHODS: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})

DOWNLOAD_ROUTE: Final = "/downloads/{export_id}/{attempt}/{name}"
OPEN_ROUTES: Final = frozenset(
    {"/", "/livez", "/readyz", "/healthz", "/openapi.json", "/docs/api", "/session", "/favicon.svg"}
)
OPEN_FOLDERS: Final = ("/assets", "/docs/api/")
"""Routes that need no token: probes, descriptions, and the files that the page is made of."""

LINK_HOLDER: Final = Identity("(link)", is_administrator=False)
"""Whoever has a presigned link: it says what may be read, not who reads."""


@dataclass(frozen=True, slots=True)
class Presented:
    """The token of a request, and whether the browser added it by itself."""

    token: str
    by_cookie: bool


@dataclass(frozen=True, slots=True)
class Gate:
    """Decides who may come in.

    Attributes:
        verifier: Judges tokens; None: no keys are configured, everybody is `anonymous`.
        link_secret: What presigned links are signed with.
        public_origin: Where callers find this service, as `normal_origin` writes it.
        page_origins: Other web origins whose pages may use it; `*`: all.
        is_local: It listens on loopback only, so that only names of this machine lead to it.
        now_s: The clock, s since 1970 UTC.
    """

    verifier: TokenVerifier | None
    link_secret: bytes
    public_origin: str | None
    page_origins: Collection[str] = ()
    is_local: bool = False
    now_s: Callable[[], float] = time.time

    @property
    def asks_for_tokens(self) -> bool:
        """Whether callers must show who they are."""
        return self.verifier is not None

    def own_origins(self, request: web.Request) -> set[str]:
        """Origins of the service itself: the public one, and the one that this caller used."""
        arrival = request[ARRIVAL]
        origins = {self.public_origin, normal_origin(f"{arrival.scheme}://{arrival.host}")}
        return {origin for origin in origins if origin is not None}

    async def admit(self, request: web.Request) -> Identity:
        """Tell who asks, or send them away; leaves in the request when the token ends.

        Raises:
            CallerRefused: They may not.
            KeysUnavailable: It cannot be told yet.
        """
        if self.verifier is None:
            self._refuse_other_names(request)
            self._refuse_forged(request)
            return ANYBODY
        presented = presented_token(request)
        if _may_be_link(request):
            try:
                check_link(self.link_secret, request.path, request.query, now_s=self.now_s())
                return LINK_HOLDER
            except CallerRefused:
                if presented is None:
                    raise
        if presented is None:
            raise NotAuthenticated(
                f"there is no token; send it in {API_KEY}, or as Authorization: Bearer"
            )
        bearer = await self.verify(presented.token, request)
        if presented.by_cookie and request.method not in SAFE_METHODS:
            self.refuse_other_pages(request)
        request[TOKEN_ENDS_AT_S] = bearer.expires_at_s + LEEWAY_S
        return bearer.identity

    async def verify(self, token: str, request: web.Request) -> Bearer:
        """Judge a token as this request uses it.

        Raises:
            CallerRefused: It is not good, or not for this web origin.
            KeysUnavailable: It cannot be told yet.
        """
        assert self.verifier is not None, "asks_for_tokens tells whether tokens can be judged"
        try:
            bearer = await self.verifier.verify(token)
        except NotAllowed as refusal:
            if refusal.client is not None:
                request[KNOWN_AS] = refusal.client
            raise
        request[KNOWN_AS] = bearer.identity.client
        if not may_use_token(bearer.origins, request.headers, self.own_origins(request)):
            origin, bound = request.headers.get(hdrs.ORIGIN), ", ".join(bearer.origins or ())
            raise NotAllowed(f"Origin is {origin!r:.200}; the token is for {bound:.200}")
        return bearer

    def refuse_other_pages(self, request: web.Request) -> None:
        """Refuse what a browser may send for a page that is not ours (CSRF).

        Raises:
            NotAllowed: Nothing says that our own page asks.
        """
        if not is_same_origin(request.headers, self.own_origins(request)):
            raise NotAllowed(
                "a session may change something from its own page only; "
                f"elsewhere send the token in {API_KEY}"
            )

    def _refuse_other_names(self, request: web.Request) -> None:
        """Without tokens a page could make a name of its own lead to this machine (DNS rebinding).

        Its browser then takes our answers for the page's own, and only Host tells.
        """
        if not self.is_local:
            return
        asked = normal_origin(f"http://{request[ARRIVAL].host}")
        name = urlsplit(asked).hostname if asked is not None else None
        public = urlsplit(self.public_origin).hostname if self.public_origin is not None else None
        if name is None or not (is_loopback(name) or name == public):
            raise NotAllowed(
                f"Host is {request[ARRIVAL].host!r:.200}; without keys only localhost and the host "
                "of EXPORT_PUBLIC_URL are served"
            )

    def _refuse_forged(self, request: web.Request) -> None:
        """Without tokens any page on the web could ask through a browser on this machine."""
        if request.method in SAFE_METHODS or ANY_ORIGIN in self.page_origins:
            return
        if request.headers.get(hdrs.ORIGIN) in self.page_origins:
            return
        if is_cross_site(request.headers, self.own_origins(request)):
            raise NotAllowed(
                f"Origin is {request.headers.get(hdrs.ORIGIN)!r:.200}; pages of other origins "
                "may change nothing unless cors_origins names them"
            )


def gatekeeper(gate: Gate) -> Middleware:
    """Make the middleware that leaves an `Identity` in each request that needs one."""

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_open(request):
            request[IDENTITY] = await gate.admit(request)
        return await handler(request)

    return admit


def is_open(request: web.Request) -> bool:
    """Whether a request needs no token.

    The route decides, not the text of the address: whatever is written there in whatever way, it
    is the handler found for it that runs.
    """
    if request.method == hdrs.METH_OPTIONS:
        return True
    resource = request.match_info.route.resource
    if resource is None:
        return False
    return resource.canonical in OPEN_ROUTES or resource.canonical.startswith(OPEN_FOLDERS)


def presented_token(request: web.Request) -> Presented | None:
    """Find the token: header, Bearer, query, cookie; the first one that is there counts."""
    scheme, _, credentials = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    said = (
        request.headers.get(API_KEY),
        credentials.strip() if scheme.lower() == "bearer" else None,
        request.query.get(TOKEN_PARAMETER),
    )
    for token in said:
        if token:
            return Presented(token, by_cookie=False)
    cookie = request.cookies.get(SESSION_COOKIE)
    return Presented(cookie, by_cookie=True) if cookie else None


def _may_be_link(request: web.Request) -> bool:
    resource = request.match_info.route.resource
    return (
        request.method in (hdrs.METH_GET, hdrs.METH_HEAD)
        and resource is not None
        and resource.canonical == DOWNLOAD_ROUTE
        and is_link(request.query)
    )
