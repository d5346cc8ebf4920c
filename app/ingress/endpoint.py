"""What one endpoint of the OpenAPI document consists of."""

from dataclasses import dataclass
from typing import Any, Final

from openapi_pydantic import Example, MediaType, Parameter, Response, Schema
from openapi_pydantic.util import PydanticSchema
from pydantic import BaseModel

JSON: Final = "application/json"
GATE_STATUSES: Final = (401, 403, 503)
"""Who asks may not, or it cannot be told because no keys have been read yet."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path, as the document tells it.

    Attributes:
        method: Lower case.
        path: With parameters in braces.
        name: The operation's id.
        summary: One line.
        success: The answer when all is well.
        errors: Statuses whose answers are messages.
        parameters: Of path and query.
        body: Model of the request's body; None: it has none, or another.
        body_content: The request's body where it is no JSON.
        bare: Statuses that are no errors, without a JSON body.
        success_status: Status of `success`.
        is_open: Whether it needs no token; the others can also be answered as `GATE_STATUSES` say.
    """

    method: str
    path: str
    name: str
    summary: str
    success: Response
    errors: tuple[int, ...]
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | None = None
    body_content: dict[str, MediaType] | None = None
    bare: tuple[int, ...] = ()
    success_status: int = 200
    is_open: bool = False


def json_content(*models: type[BaseModel], many: bool = False) -> dict[str, MediaType]:
    """The content of an answer or a body: one of some models, or an array of them."""
    schemas: list[Any] = [PydanticSchema(schema_class=model) for model in models]
    schema = schemas[0] if len(schemas) == 1 else Schema(oneOf=schemas)
    if many:
        schema = Schema(type="array", items=schema)
    return {JSON: MediaType(media_type_schema=schema)}


def text_parameter(
    name: str, place: str, description: str, example: str | int, *, schema: Schema | None = None
) -> Parameter:
    """A parameter of the path, the query or the header; those of the path are required.

    Args:
        name: As it is written.
        place: path, query or header.
        description: One line.
        example: One that makes sense.
        schema: What it may be; None: any text.
    """
    return Parameter.model_validate(
        {
            "name": name,
            "in": place,
            "required": place == "path",
            "description": description,
            "schema": schema or Schema(type="string"),
            "examples": {"usual": Example(value=example)},
        }
    )
