"""A checkpoint with ids of its own, and the application behind real sockets in this process."""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uvicorn

from ssept.model.checkpoint import Checkpoint, save_checkpoint
from ssept.model.network import SSEPT, SSEPTConfig
from ssept.serving.app import Application
from ssept.serving.core.registry import LoadedModels
from ssept.serving.settings import ServerSettings

USERS, ITEMS = 20, 60
SECONDS, START_SECONDS = 30, 120  # that nothing here takes, though models may be built first


def user_id(user: int) -> int:
    """The data set's id of a catalog user."""
    return 1000 - 7 * user


def item_id(item: int) -> int:
    """The data set's id of a catalog item: neither in order, nor small."""
    return 5_000_000_000 - 3 * item


def write_checkpoint(path: Path) -> Path:
    """Random weights, and ids that are not the catalog's."""
    torch.manual_seed(0)
    model = SSEPT(SSEPTConfig(USERS, ITEMS, item_dim=8, user_dim=8)).eval()
    model.set_unknown_user()
    users = [user_id(user) for user in range(1, USERS + 1)]
    items = [item_id(item) for item in range(1, ITEMS + 1)]
    data = {"name": "small", "data_hash": "0" * 64}
    save_checkpoint(Checkpoint(model, data, np.array(users), np.array(items), {}), path)
    return path


@dataclass
class Answer:
    """What a server has answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Live:
    """An application that answers on a port of 127.0.0.1."""

    app: Application
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Ask once; what is not bytes is sent as JSON."""
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, sent, headers or {})
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, named, answer.read())

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self.ask("POST", path, body, headers)

    def counted(self, name: str, **labels: str) -> float:
        """A value of the metrics, 0 if it is not there yet."""
        from prometheus_client.parser import text_string_to_metric_families

        text = self.ask("GET", "/metrics").body.decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return 0.0

    def connect(self) -> socket.socket:
        """A connection for bytes that http.client would not send."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)


@contextlib.contextmanager
def live(settings: ServerSettings, models: LoadedModels | None = None) -> Iterator[Live]:
    """The application on a free port, for the time of the block."""
    app = Application(settings, models)
    config = uvicorn.Config(app, lifespan="on", log_config=None, timeout_graceful_shutdown=SECONDS)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            until(lambda: server.started or not thread.is_alive(), START_SECONDS)
            assert server.started
            yield Live(app, listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(SECONDS)
            assert not thread.is_alive()


def until(true: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)
