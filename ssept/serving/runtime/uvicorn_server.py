"""The uvicorn server of one process: a shutdown that loses no request, and a reload in place."""

import asyncio
import gc
import logging
import logging.config
import math
import select
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ssept.serving.app import Application
from ssept.serving.core.registry import LoadedModels, load_models
from ssept.serving.core.worker_memory import WorkerMemory
from ssept.serving.http_api.asgi import CLOSE
from ssept.serving.runtime.acceptor import Acceptor
from ssept.serving.runtime.protocol.http_protocol import LimitedProtocol
from ssept.serving.runtime.sockets import (
    address_error,
    dropped_for_hops,
    most_connections,
    place_of,
    readable,
    refuse_new,
)
from ssept.serving.settings import ANY, ServerSettings

LOG = logging.getLogger("ssept.serving")
KEEP_ALIVE_SECONDS = 75  # longer than load balancers keep theirs, so that they are not surprised
POLL_SECONDS = 0.01
# Waits are counted in polls, not by a clock: a machine that stands still uses up one of them.
LINGER_POLLS = 50
HANDSHAKE_POLLS = 20  # after which its last packet has come
RETRY_POLLS = 130  # in which a kernel sends a SYN again that was dropped meanwhile
GRACE_SECONDS = 2  # after the deadline of requests, for clients that are slow to read


class UvicornServer(uvicorn.Server):
    """Shuts down on SIGTERM or SIGINT, and reloads its models on SIGHUP."""

    def __init__(
        self,
        config: uvicorn.Config,
        app: Application,
        own_listener: bool,
        ready: Callable[[], None],
        acceptor: Acceptor | None = None,
    ) -> None:
        """Prepare the server.

        Args:
            config: of uvicorn.
            app: the application that it names.
            own_listener: whether no other process accepts from the same listening socket.
            ready: called when it answers.
            acceptor: to share connections with other workers; None to accept all.
        """
        super().__init__(config)
        if acceptor:
            self.server_state.connections = acceptor.connections  # type: ignore[assignment]
        self._app = app
        self._own_listener = own_listener
        self._ready = ready
        self._acceptor = acceptor
        self._reloads: set[asyncio.Task[bool]] = set()
        self._dropped = dropped_for_hops()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer, and say so."""
        if self._acceptor and sockets:
            await super().startup([])
            self._acceptor.start(sockets[0], self.config.backlog, self._protocol)
        else:
            await super().startup(sockets)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Shut down; at once on the second signal."""
        del sig, frame
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer every request that has arrived, and those that are on their way, then end.

        From here on each answer has the header `Connection: close`.
        """
        self._app.registry.draining = True
        self.server_state.default_headers.append(CLOSE)  # the list that coming answers begin with
        for connection in self._connections():
            if not _idle(connection):
                connection.shutdown()  # after its answer, which may have begun with an older list
        await self._accept_all(sockets or [])
        await self._linger()
        await super().shutdown(sockets)
        # The network of a container ends with the server: then nothing would refuse that SYN.
        if dropped_for_hops() > self._dropped:
            await self._polls(RETRY_POLLS)

    def _protocol(self) -> asyncio.Protocol:
        """Make the protocol of a connection, as uvicorn does it."""
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

    async def _accept_all(self, listeners: Sequence[socket.socket]) -> None:
        """Wait until the loop has accepted every connection that the system has begun."""
        if self._own_listener:
            for listener in listeners:
                refuse_new(listener)
        if self._acceptor:
            self._acceptor.take_all()
        await self._polls(HANDSHAKE_POLLS)
        if self._acceptor:
            self._acceptor.close()
        for server in self.servers:
            server.close()

    async def _linger(self) -> None:
        """Wait for requests on connections that are idle, until none has anything unread."""
        await self._polls(LINGER_POLLS, lambda: not self.server_state.connections)
        await self._polls(LINGER_POLLS, lambda: not any(map(_unread, self._idle())))

    async def _polls(self, count: int, over: Callable[[], bool] = lambda: False) -> None:
        """Leave the loop to others a few times, until it is over or a second signal has come."""
        for _ in range(count):
            await asyncio.sleep(POLL_SECONDS)
            if self.force_exit or over():
                return

    def _idle(self) -> list[HttpToolsProtocol]:
        return list(filter(_idle, self._connections()))

    def _connections(self) -> list[HttpToolsProtocol]:
        return [one for one in self.server_state.connections if isinstance(one, HttpToolsProtocol)]

    def _reload(self) -> None:
        task = asyncio.get_running_loop().create_task(self._app.registry.reload())
        self._reloads.add(task)  # the loop itself keeps no hold of it
        task.add_done_callback(self._reloaded)

    def _reloaded(self, task: "asyncio.Task[bool]") -> None:
        self._reloads.discard(task)
        if not task.cancelled() and (error := task.exception()):
            LOG.error("reload failed, the previous models stay loaded: %r", error)


def with_hosts(settings: ServerSettings, listener: socket.socket) -> ServerSettings:
    """Return the settings with the hosts that requests may name, which depend on the address.

    On an address of this machine alone, that and what the settings add. On others there is nothing
    that DNS rebinding would get around, and their names are unknown: any host is allowed.
    """
    host = place_of(listener).rpartition(":")[0]
    address = ip_address(host.strip("[]"))
    if (getattr(address, "ipv4_mapped", None) or address).is_loopback:
        return replace(settings, allowed_hosts=(*settings.allowed_hosts, host))
    return replace(settings, allowed_hosts=settings.allowed_hosts or (ANY,))


def serve(
    listener: socket.socket,
    settings: ServerSettings,
    access_log: bool,
    ready: Callable[[str], None],
    memory: WorkerMemory | None = None,
) -> None:
    """Load the models and answer until SIGTERM or SIGINT; called in the main thread.

    Args:
        listener: of `listen_at`.
        settings: what is served, and how.
        access_log: whether each request is logged.
        ready: called with the start message when the server answers.
        memory: shared with other workers, which accept from the same socket; None for a server of
            one process.

    Raises:
        SseptError: the models cannot be loaded, or the address is taken after all.
    """
    configure_logging(access_log)
    acceptor = Acceptor(memory) if memory and hasattr(select, "epoll") else None
    app, line = _application(settings, listener, memory)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=partial(LimitedProtocol, app, most_connections()),  # type: ignore[arg-type]  # which uvicorn only calls
        ws="none",
        interface="asgi3",
        lifespan="on",
        log_config=None,
        access_log=access_log,
        workers=1,  # else it reads WEB_CONCURRENCY
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(settings.deadline_ms / 1000) + GRACE_SECONDS,
    )
    server = UvicornServer(config, app, memory is None, lambda: ready(line), acceptor)
    gc.collect()
    gc.freeze()  # what lives as long as the server is not gone through again while it answers
    try:
        server.run([listener])
    except OSError as error:
        raise address_error(place_of(listener), error) from error


def _application(
    settings: ServerSettings, listener: socket.socket, memory: WorkerMemory | None
) -> tuple[Application, str]:
    """Make the application, the only holder of its models; returns it with its start message."""
    models = load_models(settings)
    app = Application(with_hosts(settings, listener), models, memory)
    return app, describe(settings, models, listener)


def describe(settings: ServerSettings, models: LoadedModels, listener: socket.socket) -> str:
    """Return the message of a server that has started; programs read the address from it."""
    model, variants = models.default.artifact.model, ", ".join(models.engines)
    return (
        f"ssept: {model.checkpoint}, {variants} on {settings.provider}, at "
        f"http://{place_of(listener)}, model {models.default.version}; Ctrl-C stops it"
    )


def configure_logging(access_log: bool) -> None:
    """Log to standard error: warnings, reloads, and requests if wanted."""
    handlers = {"handlers": ["console"]}
    loggers: dict[str, Any] = {
        "ssept": handlers | {"level": "INFO"},
        "uvicorn.error": handlers | {"level": "WARNING"},
    }
    if access_log:
        loggers["uvicorn.access"] = handlers | {"level": "INFO"}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s"}},
            "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
            "loggers": loggers,
        }
    )


def _idle(connection: HttpToolsProtocol) -> bool:
    """Return whether no request on a connection waits for an answer."""
    cycle = connection.cycle
    return cycle is None or cycle.response_complete


def _unread(connection: HttpToolsProtocol) -> bool:
    """Return whether a connection has bytes that the loop has not read yet."""
    transport = connection.transport
    return not transport.is_closing() and readable(transport.get_extra_info("socket"))
