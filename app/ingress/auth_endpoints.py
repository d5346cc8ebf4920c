"""The endpoints about who asks, for the OpenAPI document, and how a caller shows it."""

from typing import Annotated, Any, Final

from openapi_pydantic import Response, SecurityScheme
from pydantic import BaseModel, ConfigDict, Field

from app.ingress.answers import FILES, REQUEST_ID, example
from app.ingress.auth.gate import API_KEY, SESSION_COOKIE
from app.ingress.endpoint import Endpoint, json_content, text_parameter
from app.ingress.identity import TOKEN_PARAMETER

SIGNATURE_EXAMPLE: Final = f"expires=1795490400&signature={'5c' * 32}"
BESIDE: Final = "a JWT signed RS256; none is asked for where no keys are configured."
SECURITY_SCHEMES: Final = {
    "token": SecurityScheme(
        type="apiKey", security_scheme_in="header", name=API_KEY, description=f"The token, {BESIDE}"
    ),
    "bearer": SecurityScheme(
        type="http", scheme="bearer", bearerFormat="JWT", description="The same, elsewhere."
    ),
    "tokenInAddress": SecurityScheme(
        type="apiKey",
        security_scheme_in="query",
        name=TOKEN_PARAMETER,
        description="The same, for what can send no headers; better is a link of /links.",
    ),
    "session": SecurityScheme(
        type="apiKey",
        security_scheme_in="cookie",
        name=SESSION_COOKIE,
        description="What POST /session has set; changes something from the service's page only.",
    ),
}
SECURITY: Final[list[dict[str, list[str]]]] = [{name: []} for name in SECURITY_SCHEMES]
"""Any one of them."""


class TokenToKeep(BaseModel):
    """A token that the browser shall keep."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"token": "eyJhbGciOi..."}]}
    )

    token: Annotated[str, Field(description="A JWT as x-api-key takes it.")]


class Session(BaseModel):
    """Who asks, as far as the service knows."""

    model_config = example(client="anna", administrator=False, authRequired=True)

    client: Annotated[str | None, Field(description="The token's sub; null: nobody yet.")]
    administrator: Annotated[bool, Field(description="Sees and commands the exports of all.")]
    auth_required: Annotated[bool, Field(description="Whether callers must show a token.")]


class SessionOpened(Session):
    """The token is good, and kept."""

    model_config = example(
        client="anna",
        administrator=False,
        authRequired=True,
        expiresAt="2026-11-24T03:30:00Z",
    )

    expires_at: Annotated[str, Field(description="When the token ends, ISO 8601 UTC.")]


class Links(BaseModel):
    """Addresses of one package that need no token until their time is over."""

    model_config = example(
        fileUri=f"{FILES}.gpkg?{SIGNATURE_EXAMPLE}",
        metadataUri=f"{FILES}.json?{SIGNATURE_EXAMPLE}",
        expiresAt="2026-11-24T03:30:00Z",
    )

    file_uri: Annotated[str, Field(description="Where the GeoPackage is.")]
    metadata_uri: Annotated[str, Field(description="Where its metadata is.")]
    expires_at: Annotated[
        str,
        Field(description="A download that begins before this time, ISO 8601 UTC, ends whole."),
    ]


AUTH_ENDPOINTS: Final = (
    Endpoint(
        "get",
        "/session",
        "showSession",
        "Who asks, and whether that must be shown",
        Response(description="Also when it is nobody.", content=json_content(Session)),
        (503,),
        is_open=True,
    ),
    Endpoint(
        "post",
        "/session",
        "openSession",
        "Keep a token in a cookie that no script reads, until it ends",
        Response(description="Kept.", content=json_content(SessionOpened)),
        (400, 401, 403, 413, 503),
        body=TokenToKeep,
        is_open=True,
    ),
    Endpoint(
        "delete",
        "/session",
        "closeSession",
        "Forget the cookie",
        Response(description="Forgotten."),
        (403,),
        success_status=204,
        is_open=True,
    ),
    Endpoint(
        "post",
        "/exports/{id}/links",
        "makeLinks",
        "Links to a finished package that need no token for a while",
        Response(description="The links.", content=json_content(Links)),
        (400, 404, 409, 410),
        (text_parameter("id", "path", "requestId of the answer.", REQUEST_ID),),
    ),
)


def security_of(endpoint: Endpoint) -> list[dict[str, Any]]:
    """What a caller of an endpoint must show; of a download, a presigned link is enough."""
    if endpoint.is_open:
        return []
    return [*SECURITY, {}] if endpoint.path.startswith("/downloads/") else SECURITY
