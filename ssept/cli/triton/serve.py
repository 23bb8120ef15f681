"""`ssept triton serve`: Triton's server on this machine, until Ctrl-C."""

import argparse
import signal
from pathlib import Path

from ssept.files import cache_folder
from ssept.serving.launch.supervised import ADDRESS
from ssept.serving.triton.command import DEFAULT_PORTS, IMAGE, Ports
from ssept.serving.triton.server import free_ports, running
from ssept.signals import interrupted_by

HELP = "run Triton's server on a model repository until Ctrl-C"
EXAMPLES = {
    "serve a repository on the default ports": "ssept triton serve repository",
    "serve it on free ports": "ssept triton serve repository --ports=free",
    "run NVIDIA's container, and accept other machines": (
        "ssept triton serve repository --docker --address=0.0.0.0"
    ),
}
FREE = "free"
HIGHEST_PORT = 65535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("repository", type=Path, metavar="REPO", help="the model repository")
    parser.add_argument(
        "--ports",
        type=_ports,
        default=DEFAULT_PORTS,
        metavar="HTTP,GRPC,METRICS",
        help=f"ports to listen on (default: 8000,8001,8002), or `{FREE}` for free ones",
    )
    parser.add_argument(
        "--address",
        default=ADDRESS,
        help="the address to listen on; with --docker, 0.0.0.0 accepts every machine that can "
        "reach this one",
    )
    parser.add_argument(
        "--trusted-network",
        action="store_true",
        help="let the server of PyPI, which has known faults, accept other machines: only on a "
        "network where all clients are trusted, for example between containers",
    )
    parser.add_argument(
        "--log",
        type=Path,
        metavar="FILE",
        help="the server's log, overwritten (default: in the cache)",
    )
    parser.add_argument(
        "--docker", action="store_true", help="run NVIDIA's container instead of the server of PyPI"
    )
    parser.add_argument("--image", default=IMAGE, help="the container image")
    parser.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    ports: Ports = arguments.ports or free_ports()
    log = arguments.log or cache_folder() / "triton" / f"{ports.http}.log"
    image = arguments.image if arguments.docker else None
    try:
        # SIGINT too: a shell script starts its background commands with SIGINT ignored.
        with (
            interrupted_by(signal.SIGINT, signal.SIGTERM),
            running(
                arguments.repository,
                log,
                ports,
                arguments.address,
                image,
                trusted_network=arguments.trusted_network,
            ) as it,
        ):
            for model in it.models():
                print(f"{model['name']} version {model['version']} {model['state']}")
            print(f"HTTP {it.http}, gRPC {it.grpc}, metrics {it.metrics}")
            print(f"log: {log}; press Ctrl-C to stop the server", flush=True)
            it.wait()
    except KeyboardInterrupt:
        print("stopped")
    return 0


def _ports(text: str) -> Ports | None:
    """Read three port numbers, or None for free ones."""
    if text == FREE:
        return None
    numbers = text.split(",")
    if len(numbers) == 3 and all(
        number.isdecimal() and 0 < int(number) <= HIGHEST_PORT for number in numbers
    ):
        return Ports(*map(int, numbers))
    raise argparse.ArgumentTypeError(f"{text}: expected three port numbers, or {FREE}")
