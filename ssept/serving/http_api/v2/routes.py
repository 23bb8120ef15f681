"""The paths of the Open Inference Protocol."""

from collections.abc import Mapping
from importlib.metadata import version as version_of
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from ssept.serving.core.registry import ModelRegistry
from ssept.serving.http_api.asgi import OPEN_INFERENCE, Receive, RefusedError, Scope, Send
from ssept.serving.http_api.direct import Route, Routes
from ssept.serving.http_api.openapi import describe, refused_callers
from ssept.serving.http_api.v2 import schema
from ssept.serving.http_api.v2.codec import VERSION
from ssept.serving.http_api.v2.model import SERVER, V2Model

MODEL_PATH, VERSION_PATH = "/models/{model}", "/models/{model}/versions/{version}"
EXTENSIONS = ["binary_tensor_data", "model_configuration", "statistics"]  # Triton's names
UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"model": schema.Problem, "description": "Unknown model or version"}
}
ENDS: dict[int | str, dict[str, Any]] = {
    400: {"model": schema.Ready, "description": "The server is shutting down"}
}

V2Models = Mapping[str, V2Model]


def routes(registry: ModelRegistry) -> Routes:
    """Return the routes that the application calls without FastAPI."""
    return {
        ("POST", f"{OPEN_INFERENCE}{path.format(model=name, version=VERSION)}/infer"): _infer(
            path, model
        )
        for name, model in _models(registry).items()
        for path in (MODEL_PATH, VERSION_PATH)
    }


def _infer(path: str, model: V2Model) -> Route:
    return Route(f"{OPEN_INFERENCE}{path}/infer", model.max_bytes, None, model.begin)


def router(registry: ModelRegistry) -> APIRouter:
    """Return all routes with their OpenAPI description."""
    described = APIRouter(
        prefix=OPEN_INFERENCE,
        tags=["Open Inference Protocol"],
        responses=refused_callers(schema.Problem),
    )
    models = _models(registry)
    _add_server(described, registry, models)
    for path in (MODEL_PATH, VERSION_PATH):
        parameters = schema.parameters(path, {"model": list(models), "version": [VERSION]})
        _add_model(described, registry, models, path, parameters)
        _add_infer(described, models, path, parameters)
    return described


def _models(registry: ModelRegistry) -> V2Models:
    served = [V2Model(registry, variant) for variant in registry.settings.variants]
    return {model.name: model for model in served}


def _find(models: V2Models, given: Mapping[str, str]) -> V2Model:
    """Return the model that a path names.

    Raises:
        RefusedError: there is none, or not in that version.
    """
    name, version = given["model"], given.get("version", VERSION)
    if name not in models:
        known = ", ".join(models)
        message = f"Request for unknown model: '{name}' is not found; there are {known}"
    elif version != VERSION:
        message = f"Request for unknown model: '{name}' version {version} is not found"
    else:
        return models[name]
    raise RefusedError(404, message)


def _ready(registry: ModelRegistry, response: Response) -> schema.Ready:
    response.status_code = 200 if registry.ready else 400
    return schema.Ready(ready=registry.ready)


def _add_server(routes: APIRouter, registry: ModelRegistry, models: V2Models) -> None:
    @routes.get("")
    async def server() -> schema.ServerMetadata:
        """Return the name, version and extensions of the server."""
        return schema.ServerMetadata(
            name=SERVER, version=version_of("ssept"), extensions=EXTENSIONS
        )

    @routes.get("/health/live")
    async def server_live() -> schema.Live:
        """Report whether the process answers."""
        return schema.Live(live=True)

    @routes.get("/health/ready", responses=ENDS)
    async def server_ready(response: Response) -> schema.Ready:
        """Report whether the server is ready for requests: 400 while it shuts down."""
        return _ready(registry, response)

    @routes.post("/repository/index")
    async def repository_index() -> list[schema.Indexed]:
        """List the models."""
        return [schema.Indexed(name=name, version=VERSION, state="READY") for name in models]

    @routes.get("/models/stats", response_model=schema.Statistics)
    async def all_statistics() -> dict[str, Any]:
        """Return the statistics of all models since the server started."""
        return {"model_stats": [model.statistics() for model in models.values()]}


def _add_model(
    routes: APIRouter,
    registry: ModelRegistry,
    models: V2Models,
    path: str,
    parameters: list[dict[str, Any]],
) -> None:
    def find(request: Request) -> V2Model:
        return _find(models, request.path_params)

    One = Annotated[V2Model, Depends(find)]  # noqa: N806  # a type
    described: dict[str, Any] = {
        "responses": UNKNOWN,
        "openapi_extra": {"parameters": parameters},
    }

    @routes.get(path, response_model=schema.Metadata, **described)
    async def model_metadata(model: One) -> dict[str, Any]:
        """Return the inputs and outputs of a model."""
        return model.metadata()

    @routes.get(f"{path}/ready", **described | {"responses": UNKNOWN | ENDS})
    async def model_ready(_: One, response: Response) -> schema.Ready:
        """Report whether a model is ready for requests: 400 while the server shuts down."""
        return _ready(registry, response)

    @routes.get(f"{path}/config", **described)
    async def model_config(model: One) -> dict[str, Any]:
        """Return the configuration of a model, in Triton's form."""
        return model.config()

    @routes.get(f"{path}/stats", response_model=schema.Statistics, **described)
    async def model_statistics(model: One) -> dict[str, Any]:
        """Return the statistics of a model since the server started."""
        return {"model_stats": [model.statistics()]}


def _add_infer(
    routes: APIRouter, models: V2Models, path: str, parameters: list[dict[str, Any]]
) -> None:
    async def infer(scope: Scope, receive: Receive, send: Send) -> int:
        model = _find(models, scope["path_params"])
        return await _infer(path, model).handle(scope, receive, send)

    default = next(iter(models.values())).codec
    describe(
        routes,
        f"{path}/infer",
        infer,
        name="infer" if path == MODEL_PATH else "infer_version",
        summary="Run a model\nIds are the catalog's own; unknown ids count as the "
        "unknown user, 0, and as padding.",
        parameters=parameters,
        body=schema.body(default.tensors, default.max_batch),
        answers=schema.answers(),
    )
