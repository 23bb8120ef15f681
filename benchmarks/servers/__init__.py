"""Servers to compare with, each in a folder of this one, and how they are started.

To add one: a folder with its code and its pinned requirements, and a line of `PEERS`. The code runs
in an environment of its own, with the folder and this one first among its packages.
"""

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ssept.environments import environment
from ssept.serving.launch.supervised import ADDRESS, HttpServerProcess
from ssept.serving.load.bodies import INFER_PATH
from ssept.serving.load.target import PREDICT

FOLDER = Path(__file__).parent
START_SECONDS = 120  # Ray starts a cluster first
UVICORN = ("{bin}/python", "-m", "uvicorn", "app:app", "--no-access-log", "--lifespan=off")
AT = (f"--host={ADDRESS}", "--port={port}")


@dataclass(frozen=True, kw_only=True)
class PeerServer:
    """A server of a folder of benchmarks/servers/.

    Attributes:
        folder: with its code.
        command: what starts it; {bin} is the folder of its programs, {port} and {workers} numbers.
        variables: of its environment, with the same names in them, and {home}: a folder of its own.
        megabytes: about what its environment takes; 0 for one that runs in this Python's.
        path: that requests are posted to; it says in which protocol.
    """

    folder: str
    command: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    megabytes: int = 0
    path: str = PREDICT

    def python(self) -> Path:
        """Return the Python that runs it; its environment is made in the cache at first.

        Raises:
            SseptError: the environment cannot be made.
        """
        if not self.megabytes:
            return Path(sys.executable)
        requirements = FOLDER / self.folder / "requirements.txt"
        return environment(self.folder, requirements, self.megabytes)


PEERS = {
    "fastapi": PeerServer(folder="fastapi", command=(*UVICORN, *AT, "--workers={workers}")),
    "empty": PeerServer(folder="empty", command=(*UVICORN, *AT, "--workers={workers}")),
    "granian": PeerServer(
        folder="granian",
        command=(
            "{bin}/granian",
            "--interface=asgi",
            *AT,
            "--workers={workers}",
            "app:app",
        ),
    ),
    "bentoml": PeerServer(
        folder="bentoml",
        command=("{bin}/bentoml", "serve", "service:Recommendations", *AT),
        variables={"BENTOML_HOME": "{home}", "BENTOML_DO_NOT_TRACK": "True"},
        megabytes=270,
    ),
    "litserve": PeerServer(folder="litserve", command=("{bin}/python", "server.py"), megabytes=230),
    "ray_serve": PeerServer(
        folder="ray_serve",
        command=("{bin}/python", "app.py"),
        variables={"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"},  # 5 s else, for a busy machine
        megabytes=570,
    ),
    "mlserver": PeerServer(
        folder="mlserver",
        command=("{bin}/mlserver", "start", "."),
        variables={
            "MLSERVER_HOST": ADDRESS,
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": "0",
            "MLSERVER_METRICS_ENDPOINT": "",
            "MLSERVER_PARALLEL_WORKERS": "0",  # with one the request goes through a queue more
        },
        megabytes=400,
        path=INFER_PATH,
    ),
}


class PeerProcess(HttpServerProcess):
    """A running server of `PEERS`, at a port that was free when it was started."""

    def __init__(
        self, peer: PeerServer, workers: int, log: Path, variables: Mapping[str, str]
    ) -> None:
        """Start it; the log's folder is its home."""
        with socket.socket() as free:
            free.bind((ADDRESS, 0))
            self.port = free.getsockname()[1]
        python, folder = peer.python(), FOLDER / peer.folder
        names = {"bin": python.parent, "port": self.port, "workers": workers, "home": log.parent}
        own = {name: value.format(**names) for name, value in peer.variables.items()}
        fixed = {
            "HOME": str(log.parent),
            "PORT": str(self.port),
            "WORKERS": str(workers),
            "PYTHONPATH": f"{FOLDER}:{folder}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [word.format(**names) for word in peer.command]
        given = {**os.environ, **fixed, **own, **variables}
        super().__init__(peer.folder, command, given, log, place=folder)

    def _is_ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(self.address) == 0


@contextmanager
def peer_running(
    name: str, workers: int, log: Path, variables: Mapping[str, str]
) -> Iterator[PeerProcess]:
    """Run a server of `PEERS` for the time of the block, which begins when it listens.

    Raises:
        ServerError: it does not; with the last lines of its log.
    """
    server = PeerProcess(PEERS[name], workers, log, variables)
    with server.ready_within(START_SECONDS):
        yield server
