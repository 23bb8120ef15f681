"""Two ways to start Triton's server: the program of PyPI's wheel, or NVIDIA's container."""

import os
import shutil
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path

from ssept.errors import ServerError
from ssept.serving.triton.environment import tools

IMAGE = "nvcr.io/nvidia/tritonserver:24.10-py3"  # holds the server that PyPI has, 2.51.0
START_SECONDS = 120
FETCH_SECONDS = 3600  # the image of several GB may have to be fetched first


@dataclass(frozen=True)
class Ports:
    """Where the server listens; the defaults are Triton's own."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002


DEFAULT_PORTS = Ports()


@dataclass(frozen=True)
class Launch:
    """How a server is started.

    Attributes:
        name: the server's own, which tells it from another one on the same port.
        command, variables: the program and its environment variables.
        afterwards: commands to run when it has ended.
        start_seconds: how long it may take to be ready.
    """

    name: str
    command: list[str]
    variables: dict[str, str]
    afterwards: list[list[str]] = field(default_factory=list)
    start_seconds: float = START_SECONDS


def local(repository: Path, ports: Ports, address: str, folder: Path) -> Launch:
    """The tritonserver of PyPI, in the environment of its own.

    Args:
        folder: an empty one, for its backend directory; its name is the server's.

    Raises:
        SseptError: the environment cannot be made.
    """
    of = tools()
    of.copy_backends(folder)
    prefix = f"shm-region-prefix-name={folder.name}"
    command = [
        str(of.server),
        f"--id={folder.name}",
        f"--model-repository={repository.resolve()}",
        f"--backend-directory={folder}",
        *(f"--backend-config={backend},{prefix}" for backend in ("python", "onnxruntime")),
        *(f"--{kind}-address={address}" for kind in asdict(ports)),
        *(f"--{kind}-port={port}" for kind, port in asdict(ports).items()),
    ]
    return Launch(folder.name, command, of.server_variables())


def container(repository: Path, ports: Ports, address: str, image: str, name: str) -> Launch:
    """The server in a container that is gone when it ends; with all GPUs where there are any.

    Args:
        repository: the model repository, which it reads only.
        ports, address: where the machine listens for it.
        image: of the container.
        name: of the container, and the server's own.

    Raises:
        ServerError: there is no Docker.
    """
    if not shutil.which("docker"):
        raise ServerError("there is no docker here: install it, or leave --docker out")
    published = [
        f"--publish={address}:{port}:{inside}"
        for port, inside in zip(astuple(ports), astuple(DEFAULT_PORTS), strict=True)
    ]
    command = [
        *("docker", "run", "--rm", f"--name={name}", *published),
        f"--mount=type=bind,source={repository.resolve()},target=/models,readonly",
        *(["--gpus=all"] if shutil.which("nvidia-smi") else []),
        *(image, "tritonserver", f"--id={name}", "--model-repository=/models"),
    ]
    # Killed, the program `docker` leaves its container running.
    removal = ["docker", "rm", "--force", name]
    return Launch(name, command, dict(os.environ), [removal], FETCH_SECONDS)
