"""Triton's server as a process on this machine: started, checked and stopped."""

import contextlib
import json
import re
import socket
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssept.errors import ServerError
from ssept.files.owned import mark
from ssept.serving.launch.supervised import (
    ADDRESS,
    DIRECT,
    HTTP_SECONDS,
    SHOWN_LINES,
    SupervisedProcess,
)
from ssept.serving.triton.command import DEFAULT_PORTS, Launch, Ports, container, local

# What it logs of a model or a port that it fails with, among errors that mean nothing here.
FAILURE = re.compile(r'^E\d{4} .*?\] "((?:Poll )?failed .*)"$', re.MULTILINE)
TABLE = "|+"  # begins a line of the tables of models and options that it logs
GPU_METRICS = ("nv_gpu_", "nv_energy_")
PREFIX = "ssept-triton-"  # of names of servers
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108


class TritonServer(SupervisedProcess):
    """A running server.

    Attributes:
        pid: of the server's process.
        ports: where it listens.
        log: the file that it writes.
    """

    def __init__(self, launch: Launch, address: str, ports: Ports, log: Path, folder: Path) -> None:
        """Start it; its folder is deleted with it."""
        super().__init__(
            "tritonserver",
            launch.command,
            launch.variables,
            log,
            shared_memory=launch.name,
            folder=folder,
            place=launch.place,
            umask=launch.umask,
            afterwards=launch.afterwards,
        )
        self._name = launch.name
        self._address = address
        self.ports = ports

    @property
    def http(self) -> str:
        """Host and port of HTTP, as tritonclient and perf_analyzer want it."""
        return f"{self._address}:{self.ports.http}"

    @property
    def grpc(self) -> str:
        """Host and port of gRPC."""
        return f"{self._address}:{self.ports.grpc}"

    @property
    def metrics(self) -> str:
        """The address of its Prometheus metrics."""
        return f"http://{self._address}:{self.ports.metrics}/metrics"

    def models(self) -> list[dict[str, str]]:
        """Return `name`, `version` and `state` of each model version in the repository."""
        found: list[dict[str, str]] = self._ask("/v2/repository/index", b"")
        return found

    def gpu_metrics(self) -> dict[str, float]:
        """Return its GPU metrics of Prometheus by name and label; none if it sees no GPU."""
        with DIRECT.open(self.metrics, timeout=HTTP_SECONDS) as answer:
            lines = answer.read().decode().splitlines()
        pairs = [line.rpartition(" ") for line in lines if line.startswith(GPU_METRICS)]
        return {name: float(value) for name, _, value in pairs}

    def hide_shared_memory(self) -> None:
        """Make its segments private: Triton makes them readable to all, whatever the umask."""
        for segment in SHARED_MEMORY.glob(f"{self._name}*"):
            segment.chmod(0o600)

    def _is_ready(self) -> bool:
        try:
            if self._ask("/v2")["name"] != self._name:
                return False
            self._ask("/v2/health/ready")
        except (OSError, ValueError, KeyError):
            return False
        return True

    def _ask(self, path: str, body: bytes | None = None) -> Any:
        """Send GET, or POST with a body, and return the answer's JSON; None for an empty answer."""
        request = urllib.request.Request(f"http://{self.http}{path}", body)
        with DIRECT.open(request, timeout=HTTP_SECONDS) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def _explaining(self, log: str) -> list[str]:
        """Return the failures in the log, or else its last lines."""
        # A traceback of the Python backend is one line with escaped ends.
        failures = [match[1].partition("\\n")[0] for match in FAILURE.finditer(log)]
        last = [line for line in log.splitlines() if line and line[0] not in TABLE]
        return failures or last[-SHOWN_LINES:]


def free_ports() -> Ports:
    """Return three ports that nothing listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind((ADDRESS, 0))
        return Ports(*(one.getsockname()[1] for one in sockets))


@contextlib.contextmanager
def running(
    repository: Path,
    log: Path,
    ports: Ports = DEFAULT_PORTS,
    address: str = ADDRESS,
    image: str | None = None,
    *,
    trusted_network: bool = False,
) -> Iterator[TritonServer]:
    """Run a server of a model repository for the time of the block.

    Args:
        repository: the folder of model folders.
        log: the file for what the server says; it stays.
        ports: where to listen; `free_ports()` for some that are free.
        address: the interface to listen on; one of this machine's own alone for the server of PyPI.
        image: a container's, to run that; None for the server of PyPI.
        trusted_network: whether the server of PyPI may listen beyond this machine.

    Raises:
        ServerError: it does not get ready: a broken repository, a port that is taken, an address
            that others reach, no name of an image.
        SseptError: its environment cannot be made.
    """
    if not repository.is_dir() or not any(path.is_dir() for path in repository.iterdir()):
        raise ServerError(
            f"{repository}: contains no folder of a model; `ssept triton repository` writes one"
        )
    _check_free(address, ports)
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        mark(folder)
        if image is not None:
            launch = container(repository, ports, address, image, folder.name)
        else:
            launch = local(repository, ports, address, folder, trusted_network=trusted_network)
        server = TritonServer(launch, address, ports, log, folder)
        with server.ready_within(launch.start_seconds):
            server.hide_shared_memory()
            yield server


def _check_free(address: str, ports: Ports) -> None:
    """Refuse a port that another server listens on: Triton shares that of the metrics silently."""
    for name, port in asdict(ports).items():
        with socket.socket() as one:
            # Connections of a server that has ended do not count.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind((address, port))
            except OSError as error:
                raise ServerError(
                    f"the {name} port {address}:{port} cannot be used: {error.strerror}; stop the "
                    "program that listens there, or choose other ports"
                ) from error
