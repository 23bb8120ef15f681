"""The server that a load is sent to, as its URL names it, and its first answer."""

import http.client
import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from ssept.errors import LoadError, one_line, quoted
from ssept.serving.interface import SEQ, USER_ID
from ssept.serving.load import open_loop
from ssept.serving.load.answers import ExpectedAnswers
from ssept.serving.load.connections import OK
from ssept.serving.load.open_loop import CONNECTIONS, Requests

T = TypeVar("T")

PREDICT = "/predict"
INFER = "/infer"  # the end of a path of the Open Inference Protocol
HTTP_PORT = 80
LEAST_CONNECTIONS = 16
SECONDS = 10  # for one answer
RETRY_SECONDS = 0.25
SHOWN = 200  # characters of an answer, in an error
EXPECTED = (
    "expected http://HOST:PORT, with the path of the requests unless that is /predict, as "
    "http://localhost:8080 or http://localhost:8000/v2/models/NAME/infer"
)


@dataclass(frozen=True)
class Target:
    """Where the requests of a load go.

    Attributes:
        host, port: of the server.
        path: that is posted to, with its query.
    """

    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> "Target":
        """Read a URL.

        Raises:
            LoadError: it is no URL of an HTTP server.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, HTTP_PORT if parts.port is None else parts.port
        except ValueError as error:
            raise LoadError(f"{quoted(url)} is not a URL: {EXPECTED}") from error
        plain = url.isascii() and url.isprintable() and " " not in url
        if parts.scheme != "http" or not host or not plain or parts.username is not None:
            raise LoadError(f"{quoted(url)}: {EXPECTED}")
        path = PREDICT if parts.path in ("", "/") else parts.path
        return cls(host, port, f"{path}?{parts.query}" if parts.query else path)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.path}"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, as sockets take them."""
        return self.host, self.port

    @property
    def is_open_inference(self) -> bool:
        """Whether requests are those of the Open Inference Protocol, as of Triton."""
        return self.path.partition("?")[0].endswith(INFER)

    def model(self) -> tuple[int, list[str]]:
        """Ask a server of the Open Inference Protocol about the model.

        Returns:
            The length of its sequences, and the names of its outputs.

        Raises:
            LoadError: it does not say, or is no model with the inputs `USER_ID` and `SEQ`.
        """
        path = self.path.partition("?")[0].removesuffix(INFER)
        status, said = self._ask("GET", path)
        try:
            about = json.loads(said)
            shapes = {one["name"]: one["shape"] for one in about["inputs"]}
            _, length = shapes[SEQ]
            if status == OK and {*shapes} == {USER_ID, SEQ}:
                return int(length), [str(one["name"]) for one in about["outputs"]]
        except (ValueError, TypeError, KeyError):
            pass  # said below
        raise LoadError(
            f"{self}: {path} does not describe a model with the inputs {USER_ID} and {SEQ} "
            f"({_answer(status, said)}): --bodies=FILE sends requests of your own"
        )

    def check(self, body: bytes) -> None:
        """Make sure that a request is answered with 200.

        Raises:
            LoadError: it is not; with what was answered.
        """
        status, said = self._ask("POST", self.path, body)
        if status != OK:
            raise LoadError(f"{self}: the first request: {_answer(status, said)}")

    def sender(
        self, bodies: Sequence[bytes], rate: float, expected: ExpectedAnswers | None = None
    ) -> Callable[[float, int], Requests]:
        """Return what sends bodies in turn, at a rate, for a time, with a seed of its times.

        As many connections as requests in a second: a pause of that length holds none up. Where it
        is known what they have to be answered with, a sample is compared.
        """
        connections = max(LEAST_CONNECTIONS, min(CONNECTIONS, math.ceil(rate)))

        def send(seconds: float, seed: int) -> Requests:
            given = (self.address, self.path, bodies, rate, seconds, connections)
            return open_loop.send(*given, expected, seed=seed)

        return send

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=SECONDS)
        head = {} if body is None else {"Content-Type": "application/json"}
        with closing(connection):
            try:
                connection.request(method, path, body, head)
                response = connection.getresponse()
                return response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                raise LoadError(f"{self}: no answer: {one_line(str(error), SHOWN)}") from error


def patiently(ask: Callable[[], T], seconds: float) -> T:
    """Ask a server that may still be starting, again and again for some time.

    Raises:
        LoadError: what `ask` raised last.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except LoadError:
            if time.monotonic() >= end:
                raise
        time.sleep(RETRY_SECONDS)


def _answer(status: int, said: bytes) -> str:
    text = one_line(said[: 4 * SHOWN].decode(errors="replace"), SHOWN)
    return f"it was answered with {status}{text and ': '}{text}"
