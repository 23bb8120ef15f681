"""OpenAPI descriptions of the routes that the application serves without FastAPI."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from ssept.serving.http_api.asgi import Handler, Receive, Scope, Send


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


class InvalidField(BaseModel):
    """What is wrong with one field."""

    type: str = Field(description="the kind of error")
    loc: list[str | int] = Field(
        description="location of the field: keys and indices, starting with `body`"
    )
    msg: str = Field(description="the reason")
    input: Any = Field(None, description="the given value, if it is short")


class Invalid(BaseModel):
    """What is wrong with a body, in the form that FastAPI gives it."""

    detail: list[InvalidField]


RETRY = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer"}}}
# What every route with a body can answer when it refuses one.
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The request cannot be read"},
    413: {"model": Problem, "description": "The body is too long"},
    415: {"model": Problem, "description": "The media type or Content-Encoding is not supported"},
    503: {
        "model": Problem,
        "description": "The queue is full, or the deadline has passed: try again",
        "headers": RETRY,
    },
}


def refused_callers(problem: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Describe what every route can answer, see `callers`; as JSON, whatever else it answers."""
    content = {"application/json": {"schema": problem.model_json_schema()}}
    return {
        403: {"description": "The request came from a page of another site", "content": content},
        421: {
            "description": "The server does not serve the host in the Host header",
            "content": content,
        },
    }


class _Handled(Response):
    """What a handler of ASGI answers."""

    def __init__(self, handler: Handler) -> None:
        super().__init__()
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._handler(scope, receive, send)


def describe(
    routes: APIRouter,
    path: str,
    handler: Handler,
    *,
    name: str,
    summary: str,
    body: dict[str, Any],
    answers: dict[int | str, dict[str, Any]],
    parameters: Sequence[dict[str, Any]] = (),
) -> None:
    """Describe a handler of POST; requests that reach it through FastAPI it answers too.

    Args:
        routes: gets the route.
        path: as in FastAPI; a handler finds its parameters in scope["path_params"].
        handler: answers, or raises RefusedError.
        name: of the operation, unique.
        summary: what it does, in Markdown; the first line is its title.
        body: OpenAPI's media type objects (schema, examples) by media type.
        answers: by status, as FastAPI's `responses`; those of `REFUSALS` are added.
        parameters: OpenAPI's parameter objects, of the path and the headers.
    """
    title, _, more = summary.partition("\n")

    async def endpoint() -> Response:
        return _Handled(handler)

    routes.add_api_route(
        path,
        endpoint,
        methods=["POST"],
        response_model=None,
        operation_id=name,
        name=name,
        summary=title,
        description=more.strip() or None,
        responses=REFUSALS | answers,
        openapi_extra={
            "parameters": list(parameters),
            "requestBody": {"required": True, "content": body},
        },
    )
