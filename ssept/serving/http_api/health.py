"""Routes for operators: liveness, readiness, version and metrics."""

from importlib.metadata import version as version_of
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from ssept.serving.core.registry import ModelRegistry

ENDS: dict[int | str, dict[str, Any]] = {
    503: {"description": "The server is shutting down", "content": {"text/plain": {}}}
}


class Version(BaseModel):
    """The versions of the server and its models."""

    ssept: str = Field(description="the version of the server")
    provider: str
    variants: dict[str, str] = Field(
        description="the version of each variant's model; the first one is the default"
    )


def router(registry: ModelRegistry) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["operations"])

    async def test() -> str:
        """Answer "it works"."""
        return "it works\n"

    # One route answers both, so that the Allow header of a 405 has both; others describe them, for
    # FastAPI describes no route of several methods well.
    for methods, is_described in ((["GET", "POST"], False), (["GET"], True), (["POST"], True)):
        routes.add_api_route(
            "/test",
            test,
            methods=methods,
            response_class=PlainTextResponse,
            include_in_schema=is_described,
        )

    @routes.get("/health/live", response_class=PlainTextResponse)
    async def live() -> str:
        """Report whether the process answers."""
        return "alive\n"

    @routes.get("/health/ready", response_class=PlainTextResponse, responses=ENDS)
    async def ready(response: Response) -> str:
        """Report whether the server is ready for requests: 503 while it shuts down."""
        if not registry.ready:
            response.status_code = 503
            return "not ready\n"
        return "ready\n"

    @routes.get("/version")
    async def version() -> Version:
        """Return the versions of the server and its models."""
        engines = registry.models.engines
        return Version(
            ssept=version_of("ssept"),
            provider=registry.settings.provider,
            variants={name: engine.version for name, engine in engines.items()},
        )

    # Not async, so that it runs beside the loop: the counters of many workers take a while.
    @routes.get("/metrics", response_class=PlainTextResponse)
    def metrics(accept: Annotated[str, Header(include_in_schema=False)] = "") -> Response:
        """Return the metrics for Prometheus."""
        body, media_type = registry.telemetry.exposition(accept)
        return Response(body, media_type=media_type)

    return routes
