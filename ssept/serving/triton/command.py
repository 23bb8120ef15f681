"""Commands that start Triton's server: the program of PyPI's wheel, or NVIDIA's container."""

import csv
import io
import os
import re
import secrets
import shutil
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path

from ssept.errors import ServerError
from ssept.serving.triton.addresses import is_loopback
from ssept.serving.triton.environment import tools

IMAGE = "nvcr.io/nvidia/tritonserver:26.09-py3"  # 2.73.0, as the clients of the triton extra
IMAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")
MODELS = ("target=/models", "readonly")  # of the mount
RELEASE = "24.10"  # of the server that PyPI has
CLOSED = "shared-memory,logging,trace"  # what it offers, and is of no use here
OWNER_ALONE = 0o077  # the umask
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
        name: the server's id, by which a client recognises it.
        command, variables: the program and its environment variables.
        place: the folder to start it in; None for the current one.
        umask: the permission bits that its files must not have; -1 for this process's umask.
        afterwards: commands to run when it has ended.
        start_seconds: how long it may take to be ready.
    """

    name: str
    command: list[str]
    variables: dict[str, str]
    place: Path | None = None
    umask: int = -1
    afterwards: list[list[str]] = field(default_factory=list)
    start_seconds: float = START_SECONDS


def local(
    repository: Path, ports: Ports, address: str, folder: Path, *, trusted_network: bool = False
) -> Launch:
    """Return how to start the tritonserver of PyPI, in its own environment.

    That release has faults which let whoever reaches it read and change its shared memory, and a
    page in a browser of this machine does reach it. So it listens for this machine alone, its files
    are its owner's alone, and nobody registers shared memory.

    Args:
        folder: an empty one, for its backend directory; its name is the server's.
        trusted_network: whether it may listen beyond this machine all the same.

    Raises:
        ServerError: another machine could reach it at this address, and its network is not trusted.
        SseptError: the environment cannot be made.
    """
    if not (trusted_network or is_loopback(address)):
        raise ServerError(
            f"--address {address}: the tritonserver of PyPI is {RELEASE}, which has known faults: "
            "it may listen only on this machine, 127.0.0.1; for other machines run the container "
            "(--docker), or add --trusted-network if every client on the network is trusted"
        )
    of, key = tools(), secrets.token_hex()  # which nobody knows
    backends, empty = folder / "backends", folder / "empty"
    empty.mkdir()
    of.copy_backends(backends)
    prefix = f"shm-region-prefix-name={folder.name}"
    command = [
        str(of.server),
        f"--id={folder.name}",
        f"--model-repository={repository.resolve()}",
        f"--backend-directory={backends}",
        f"--http-restricted-api={CLOSED}:ssept={key}",
        f"--grpc-restricted-protocol={CLOSED}:ssept={key}",
        *(f"--backend-config={backend},{prefix}" for backend in ("python", "onnxruntime")),
        *(f"--{kind}-address={address}" for kind in asdict(ports)),
        *(f"--{kind}-port={port}" for kind, port in asdict(ports).items()),
    ]
    # Its backend's processes import from the folder that they are started in.
    return Launch(folder.name, command, of.server_variables(), empty, OWNER_ALONE)


def container(repository: Path, ports: Ports, address: str, image: str, name: str) -> Launch:
    """Return how to start a temporary container with the server, with all GPUs of the machine.

    Args:
        repository: the model repository, which it reads only.
        ports, address: where the machine listens for it.
        image: of the container.
        name: of the container, and the server's own.

    Raises:
        ServerError: Docker is not installed, or the image's name is invalid.
    """
    if not IMAGE_NAME.fullmatch(image):
        raise ServerError(
            f"--image {image!r}: expected the name of a container's image, such as {IMAGE}"
        )
    if not shutil.which("docker"):
        raise ServerError("docker is not installed: install it, or leave out --docker")
    published = [
        f"--publish={address}:{port}:{inside}"
        for port, inside in zip(astuple(ports), astuple(DEFAULT_PORTS), strict=True)
    ]
    command = [
        *("docker", "run", "--rm", f"--name={name}", *published),
        f"--mount={_line('type=bind', f'source={repository.resolve()}', *MODELS)}",
        *(["--gpus=all"] if shutil.which("nvidia-smi") else []),
        *(image, "tritonserver", f"--id={name}", "--model-repository=/models"),
    ]
    # Killed, the program `docker` leaves its container running.
    removal = ["docker", "rm", "--force", name]
    return Launch(
        name,
        command,
        dict(os.environ),
        afterwards=[removal],
        start_seconds=FETCH_SECONDS,
    )


def _line(*fields: str) -> str:
    """Format a mount for Docker, which reads CSV: a path may have commas and quotes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(fields)
    return text.getvalue()
