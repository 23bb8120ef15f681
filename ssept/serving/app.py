"""The application: `uvicorn ssept.serving.app:app`, or `ssept serve`."""

import asyncio
import logging
import sys
import time
import traceback
from collections.abc import Awaitable
from importlib.metadata import version as version_of

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from ssept.errors import SseptError
from ssept.serving.core.batcher import OverloadedError
from ssept.serving.core.gauges import RegistryCollector
from ssept.serving.core.registry import LoadedModels, ModelRegistry
from ssept.serving.core.telemetry import Telemetry
from ssept.serving.core.worker_memory import WorkerMemory
from ssept.serving.http_api import health, page, predict, v2
from ssept.serving.http_api.asgi import (
    CLOSE,
    NOSNIFF,
    GoneError,
    Handler,
    Message,
    Receive,
    RefusedError,
    Scope,
    Send,
    check_head,
    refused,
    respond,
)
from ssept.serving.http_api.callers import CallerPolicy
from ssept.serving.http_api.direct import Route, Routes
from ssept.serving.http_api.openapi import Problem, refused_callers
from ssept.serving.http_api.overload import overload_error, overloaded
from ssept.serving.settings import ServerSettings, from_environment

LOG = logging.getLogger("ssept.serving")
METHOD_NOT_ALLOWED = 405
OTHER = "other"  # the route of all unknown paths in the metrics


class Application:
    """The ASGI application: it answers the paths under load itself, and all others with FastAPI.

    FastAPI's way to a handler takes as long as the model does.

    Attributes:
        registry: the models that answer, set at the start.
        deadline: seconds that an answer may take, set at the start.
    """

    registry: ModelRegistry
    deadline: float

    def __init__(
        self,
        settings: ServerSettings | None = None,
        models: LoadedModels | None = None,
        memory: WorkerMemory | None = None,
    ) -> None:
        """Prepare it.

        Args:
            settings: None to read them from the environment at the start.
            models: the first models; None to load them at the start.
            memory: where it counts, shared with other workers; None for memory of its own.
        """
        self._settings = settings
        self._models = models
        self._memory = memory
        self._direct: Routes = {}
        self._without_asgi: dict[bytes, tuple[Route, bytes]] = {}
        self._answer: Handler = self._run

    @property
    def telemetry(self) -> Telemetry:
        """Return what is counted."""
        return self.registry.telemetry

    def without_asgi(self, url: bytes, scope: Scope) -> Route | bytes | None:
        """Return what answers a POST without ASGI; None if only ASGI can do it.

        Args:
            url: its path, with the query if there is one.
            scope: with its headers.

        Returns:
            The route, or a complete HTTP answer that refuses the request, if the server has no time
            for it.
        """
        found = self._without_asgi.get(url)
        if found is None or self.registry.draining:
            return None
        route, busy = found
        try:
            self._callers.check(scope)
            if self.registry.models.are_full:
                self.telemetry.answered(route.name, BUSY.status, 0.0)
                self.telemetry.refused.labels("queue").inc()
                return busy
            encoding = check_head(scope["headers"], route.limit(), route.media_type)
        except RefusedError:
            return None  # it gets that error through ASGI
        return None if encoding else route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or the events of the lifespan."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await receive()
            await send({"type": "websocket.close"})

    async def _live(self, receive: Receive, send: Send) -> None:
        """Start and stop with the server; a foreseen start error is reported in one line."""
        await receive()
        try:
            await self._start(self._settings or from_environment())
        except SseptError as error:
            await send({"type": "lifespan.startup.failed", "message": f"ssept: error: {error}"})
            return
        except Exception:  # noqa: BLE001  # uvicorn would go on, and answer with nothing behind it
            message = traceback.format_exc()
            await send({"type": "lifespan.startup.failed", "message": message})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.registry.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self, settings: ServerSettings) -> None:
        self.registry = ModelRegistry(settings, self._memory)
        models, self._models = self._models, None  # a reload is to free them
        await self.registry.start(models)
        self.registry.telemetry.register(RegistryCollector(self.registry))
        self.deadline = settings.deadline_ms / 1000
        self._callers = CallerPolicy(settings.allowed_hosts, settings.cors_origins)
        self._api = make_api(self.registry)
        self._direct = predict.routes(self.registry) | v2.routes(self.registry)
        if not settings.cors_origins:
            self._without_asgi = {
                path.encode(): (route, refused(BUSY, path))
                for (_, path), route in self._direct.items()
            }
        else:  # all answers are to have headers of its own
            self._answer = CORSMiddleware(
                self._run,
                allow_origins=settings.cors_origins,
                allow_methods=("GET", "POST"),
                allow_headers=("content-type", v2.LENGTH_HEADER.lower()),
                expose_headers=("retry-after", v2.LENGTH_HEADER.lower()),
            )

    def refusal(self, error: Exception, method: str, path: str) -> RefusedError:
        """Return the answer to a request that an error has ended; log one that is not foreseen."""
        if isinstance(error, RefusedError):
            return error
        if isinstance(error, OverloadedError):
            return overloaded(self.telemetry, "age")
        LOG.error("%s %r failed", method, path, exc_info=error)
        return FAILED

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a handler within the deadline; whatever happens, there is one answer."""
        start = time.perf_counter()
        found = self._direct.get((scope["method"], scope["path"]))
        handler = found.handle if found else self._api
        if found is None and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # the web server leaves the body out
        exchange = Exchange(send, self.deadline)
        try:
            self._callers.check(scope)
            await handler(scope, receive, exchange.send)
        except GoneError:
            exchange.end()
            return
        except asyncio.CancelledError:
            if not exchange.took_too_long():
                raise
            self.telemetry.refused.labels("deadline").inc()
            await exchange.refuse(LATE, scope["path"])
        except Exception as error:  # noqa: BLE001  # whatever it is, the client gets an answer
            refusal = self.refusal(error, scope["method"], scope["path"])
            await exchange.refuse(refusal, scope["path"])
        seconds = time.perf_counter() - start
        route = found.name if found else _template(scope)
        self.telemetry.answered(route, exchange.status, seconds)


BUSY = overload_error("queue")
LATE = overload_error("deadline", CLOSE)
FAILED = RefusedError(500, "internal server error; see the server's log", [CLOSE])


class Exchange:
    """A request that waits for its answer: cancelled if the deadline passes before that begins.

    Attributes:
        status: of the answer; 0 until it begins.
    """

    __slots__ = ("_late", "_send", "_task", "_timer", "status")

    def __init__(self, send: Send, seconds: float) -> None:
        self.status = 0
        self._late = False
        self._send = send
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._pass)

    def send(self, message: Message) -> Awaitable[None]:
        """Send a part of the answer, which is not cancelled any more."""
        if not self.status:
            self.status = message["status"]
            message["headers"] = [*message["headers"], NOSNIFF]
            self._timer.cancel()
        return self._send(message)

    async def refuse(self, error: RefusedError, path: str) -> None:
        """Answer with an error; a part of an answer is left as it is, and the server ends it."""
        if not self.status:
            await respond(self.send, error.status, error.body(path), error.headers)

    def took_too_long(self) -> bool:
        """Return whether the deadline, and nobody else, has cancelled the task."""
        if not self._late or self._task is None:
            return False
        if sys.version_info >= (3, 11):
            return self._task.uncancel() == 0
        else:  # noqa: RET505  # else mypy takes it for code that is not reached
            return True

    def end(self) -> None:
        """Forget the deadline."""
        self._timer.cancel()

    def _pass(self) -> None:
        if self._task:
            self._late = True
            self._task.cancel()


def _template(scope: Scope) -> str:
    """Return the path of FastAPI's route, as it was declared."""
    return getattr(scope.get("route"), "path", OTHER)


def make_api(registry: ModelRegistry) -> FastAPI:
    """Make the FastAPI application with all routes and their description at /openapi.json.

    There is no documentation page: FastAPI's pages load their scripts from other sites.
    """
    api = FastAPI(
        title="ssept",
        version=version_of("ssept"),
        description="Recommendations by SSE-PT.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=refused_callers(Problem),
    )
    api.add_exception_handler(RefusedError, _refused)
    api.add_exception_handler(HTTPException, _unknown)
    api.add_exception_handler(Exception, _failed)
    for part in (predict, health, v2, page):
        api.include_router(part.router(registry))
    return api


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return Response(error.body(request.scope["path"]), error.status, headers)


async def _unknown(request: Request, error: Exception) -> Response:
    """Answer a request whose path or method is not served."""
    assert isinstance(error, HTTPException)
    headers = [(name.encode(), value.encode()) for name, value in (error.headers or {}).items()]
    if error.status_code == METHOD_NOT_ALLOWED:
        ((name, value),) = headers
        allowed = {*value.split(b", ")}
        allowed |= {b"HEAD"} if b"GET" in allowed else set()
        headers = [(name, b", ".join(sorted(allowed)))]
    return await _refused(request, RefusedError(error.status_code, error.detail, headers))


async def _failed(request: Request, _: Exception) -> Response:
    return await _refused(request, FAILED)  # starlette raises the error again, for the log


app = Application()
